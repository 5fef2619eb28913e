"""Speech tokens: the demo's features exactly, in time with the frames, at any length; training."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from openmocha.models import speech_encoder
from openmocha.models.speech_encoder import SAMPLE_RATE_HZ, SpeechEncoder, toon_config

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeak-ng is not installed: pip install openmocha[voices]",
)


@pytest.fixture(scope="module")
def toon() -> SpeechEncoder:
    torch.manual_seed(0)
    return SpeechEncoder.from_config(toon_config()).eval()


def base_like() -> SpeechEncoder:
    """wav2vec2-base's layout (group norm, seven convolutions), 3 layers x 16."""
    from transformers import Wav2Vec2Config

    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(1)
    return SpeechEncoder.from_config(config).eval()


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(num_samples).astype(np.float32)


def test_base_checkpoint_features_are_the_interpolated_hidden_states(tmp_path: Path) -> None:
    """Saved, loaded, and compared with transformers' own hidden states, interpolated by hand."""
    encoder = base_like()
    encoder.save_pretrained(tmp_path)
    loaded = SpeechEncoder.from_pretrained(tmp_path)
    assert (loaded.layers, loaded.width) == (3, 16)
    assert (loaded.stride, loaded.receptive_field) == (320, 400)
    speech = noise(16000) * 0.1 + 0.02
    tokens = loaded.encode(speech, 24)
    wave = torch.from_numpy((speech - speech.mean()) / np.sqrt(speech.var() + 1e-7))
    with torch.no_grad():
        states = encoder.model(wave[None], output_hidden_states=True).hidden_states
    assert len(states) == 4  # the first is the convolutions' output, which MoCha does not read
    stacked = torch.stack(states[1:], dim=2)[0]  # (S, layers, width)
    position = np.linspace(0, len(stacked) - 1, 24)
    for frame in (0, 7, 23):
        low = min(int(position[frame]), len(stacked) - 2)
        share = float(position[frame] - low)
        want = (1 - share) * stacked[low] + share * stacked[low + 1]
        assert torch.allclose(tokens[frame], want, atol=1e-5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared with the reference features")
@pytest.mark.parametrize("case", ["a", "b"])
def test_agrees_with_the_official_demo(case: str) -> None:
    """Features that MoCha-Demo's own code made with a tiny 12-layer checkpoint."""
    reference = SHARED / "reference" / "mocha_demo"
    cases = load_file(reference / "cases.safetensors")
    encoder = SpeechEncoder.from_pretrained(reference / "wav2vec2_tiny")
    features = cases[f"audio_features/{case}/out/features"]
    tokens = encoder.encode(cases[f"audio_features/{case}/in/waveform_16k"], len(features))
    assert (tokens - features).abs().max() <= 5e-5


def test_toon_shape_and_size(toon: SpeechEncoder) -> None:
    assert (toon.layers, toon.width, toon.stride) == (6, 128, 320)
    assert sum(p.numel() for p in toon.parameters()) < 2e6
    tokens = toon.encode(noise(85333), 128)
    assert tokens.shape == (128, 6, 128) and tokens.dtype == torch.float32


def test_level_and_offset_do_not_matter(toon: SpeechEncoder) -> None:
    speech = noise(32000)
    louder = toon.encode(speech * 0.3 + 0.1, 48)
    assert torch.allclose(louder, toon.encode(speech, 48), atol=1e-3)


@pytest.mark.parametrize("num_samples", [16000, 85333, 85333 + 200])
def test_outer_frames_look_at_outer_sound(toon: SpeechEncoder, num_samples: int) -> None:
    """Encoder frames, once aligned, are centred on the video frames they are read for."""
    num_frames = round(num_samples / SAMPLE_RATE_HZ * 24)
    wave = torch.arange(1.0, num_samples + 1)
    padded = toon._aligned(wave, num_frames)
    left = int((padded == 0).long().argmin())  # samples of silence before the recording
    num = toon.num_encoder_frames(len(padded))
    first = toon.receptive_field / 2 - left
    last = first + (num - 1) * toon.stride
    half_frame = num_samples / num_frames / 2
    assert first == pytest.approx(half_frame, abs=2)
    assert last == pytest.approx(num_samples - half_frame, abs=toon.stride / 2 + 2)


def test_long_recordings_in_chunks_lose_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """With attention left out, chunks must agree with the whole, frame by frame."""

    class Ears(SpeechEncoder):
        def forward(self, speech: Tensor) -> Tensor:
            features = self.model.feature_extractor(speech)
            return features.transpose(1, 2)[:, :, None].expand(-1, -1, self.layers, -1)

    ears = Ears(SpeechEncoder.from_config(toon_config()).model).eval()
    speech = noise(60000)
    whole = ears.encode(speech, 90)
    monkeypatch.setattr(speech_encoder, "CHUNK_FRAMES", 50)
    monkeypatch.setattr(speech_encoder, "CONTEXT_FRAMES", 7)
    assert torch.allclose(ears.encode(speech, 90), whole, atol=1e-5)


def test_half_precision_weights_load_as_float32(toon: SpeechEncoder, tmp_path: Path) -> None:
    toon.save_pretrained(tmp_path, torch.bfloat16)
    assert (tmp_path / "model.safetensors").stat().st_size < 4e6
    loaded = SpeechEncoder.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    speech = noise(32000)
    difference = loaded.encode(speech, 48) - toon.encode(speech, 48)
    assert difference.abs().mean() < 0.05


def test_mistakes_are_explained(toon: SpeechEncoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no speech encoder in"):
        SpeechEncoder.from_pretrained(tmp_path / "missing")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert'"):
        SpeechEncoder.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="one channel"):
        toon.encode(np.zeros((2, 16000), np.float32), 24)
    with pytest.raises(ValueError, match="at least 1490"):
        toon.encode(noise(1000), 2)
    with pytest.raises(ValueError, match="NaN"):
        toon.encode(np.full(16000, np.nan, np.float32), 24)


@needs_espeak
def test_labels_are_in_time_with_the_sound() -> None:
    """In scenes of two speakers: loud where somebody speaks, and the change where B begins."""
    from openmocha.training.speech_scenes import FrameGrid, draw_scene, draw_turn

    grid = FrameGrid(64000, 320, 1490)
    rng = np.random.default_rng(4)
    turns = [draw_turn(rng, "train") for _ in range(2)]
    turns = [replace(turns[0], person=0), replace(turns[1], person=5)]
    scene = draw_scene(turns, grid, rng, augmented=False)
    assert scene.mouth.shape == (grid.num_frames, 4)
    speaking = scene.speaking > 0.5
    assert scene.loudness[speaking].mean() > scene.loudness[~speaking].mean() + 0.5
    opening = scene.mouth[:, 0]
    assert opening[speaking].mean() > 3 * opening[~speaking].mean()
    begins = int(scene.second.argmax())
    assert 0 < begins and int(scene.change.argmax()) == begins and scene.second[begins:].all()
    assert set(scene.person[begins:].tolist()) == {5}
    # 20 ms of sound around a frame: silent in the gap before the second speaker
    centre = int(grid.centres_s()[begins] * SAMPLE_RATE_HZ)
    assert scene.speech[centre - 800 : centre - 400].abs().max() < 0.05


@needs_espeak
def test_training_learns_saves_and_goes_on(tmp_path: Path) -> None:
    """Two steps, a folder that loads, and a second run that starts where the first ended."""
    from openmocha.training.speech_encoder import train_speech_encoder

    def train(steps: int) -> SpeechEncoder:
        return train_speech_encoder(
            tmp_path, time_budget_s=600, workers=0, steps=steps, batch=2, evaluation_crops=2
        )

    trained = train(2)
    loaded = SpeechEncoder.from_pretrained(tmp_path / "final")
    speech = noise(20000)
    assert (loaded.encode(speech, 30) - trained.encode(speech, 30)).abs().mean() < 0.05
    train(3)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r.get("final")] == [2, 3]
