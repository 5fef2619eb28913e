"""Films longer than a pass: which frames each pass knows, hears and shows."""

import numpy as np
import pytest
import torch

from openmocha.backbones.backbone import Conditions
from openmocha.continuation import HELD_ABOVE, HOLD, holding_scene, passes, scene_of
from openmocha.filming import denoise
from openmocha.media import read_film
from openmocha.models.config import MoChaConfig

PROMPT = "A close-up of a woman with red hair. She speaks to the camera."

TWO_SHOTS = """Two video clips.

Characters: A woman(Person1) with red hair. A man(Person2) in a suit.

First clip: Person1 speaks to the camera.

Second clip: Person2 speaks to the camera."""


def voice(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (0.3 * rng.standard_normal(round(seconds * 16_000))).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("longest", [5, 8, 32])
@pytest.mark.parametrize("overlap", [2, 3, 4])
def test_passes_show_every_latent_frame_once(longest, overlap):
    for total in range(1, 80):
        shown, before = [], None
        for one in passes(total, longest, overlap):
            assert 1 <= one.stop - one.start <= longest
            assert one.known == (overlap if before else 0)
            if before is not None:
                assert one.start == before.stop - overlap  # what is known are its last ones
            first, last = one.shown
            shown += range(one.start + first, one.start + last)
            assert one.stop == total or last < one.stop - one.start  # a right neighbour is there
            assert one.start == 0 or first > 0  # and a left one
            before = one
        assert shown == list(range(total))
    with pytest.raises(ValueError, match="8 latent frames cannot share 8"):
        list(passes(40, 8, 8))


def test_a_part_hears_what_it_hears_in_the_whole_film():
    config = MoChaConfig(
        layers=1, width=8, ffn=8, heads=1, text_widths=(8,), speech_layers=1, speech_width=8
    )
    whole, windows = config.heard_by(0, 20, 80)
    assert whole == slice(0, 80)
    for start, stop in ((0, 8), (5, 13), (12, 20)):
        part, inside = config.heard_by(start, stop, 80)
        assert torch.equal(inside + part.start, windows[start:stop])
        reach = config.speech_stack
        assert part.start <= max(0, int(windows[start].min()) - reach)
        assert part.stop >= min(80, int(windows[stop - 1].max()) + reach + 1)


def test_a_long_film_is_what_its_passes_are_by_hand(longer):
    speech = voice(3.0)  # 72 frames, 18 latent frames: passes of 8, 8 and 8
    film = longer(PROMPT, speech, seed=5)
    assert film.frames.shape == (72, 64, 64, 3) and len(film.speech) == 48_000
    backbone, sampling = longer.backbone, longer.sampling
    with torch.inference_mode():
        words, no_words = backbone.encode_text(PROMPT), backbone.encode_text("")
        tokens = backbone.encode_speech(speech, 72)
        generator = torch.Generator().manual_seed(5)
        known, scene, latents = None, None, torch.zeros(1, 16, 0, 8, 8)
        for start, stop in ((0, 8), (5, 13), (10, 18)):
            heard, windows = backbone.heard(tokens, start, stop)
            conditions = Conditions(words, no_words, heard, windows, known, scene=scene)
            noise = torch.randn((1, 16, 8, 8, 8), generator=generator)
            made = denoise(backbone, noise, conditions, sampling)
            if known is not None:
                assert torch.equal(made[:, :, :3], known)
            latents = torch.cat([latents[:, :, :start], made], dim=2)
            known = made[:, :, -3:]
            scene = made.mean(2, keepdim=True) if scene is None else scene  # of the first pass
        pixels = backbone.decode(latents)
    whole = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(film.frames - whole).max() <= 1  # the decoder's batches differ


def test_a_scene_draws_what_is_made_anew_towards_it_and_moves_nothing():
    generator = torch.Generator().manual_seed(0)
    velocity, latents = torch.randn((2, 1, 5, 8, 3, 4), generator=generator).unbind()
    scene = torch.randn((1, 5, 1, 3, 4), generator=generator)
    held = holding_scene(velocity, latents, 0.8, scene, known=2)
    assert torch.equal(held[:, :, :2], velocity[:, :, :2])
    before, after = ((latents - 0.8 * v)[:, :, 2:] for v in (velocity, held))
    away, left = (scene_of(clean) - scene for clean in (before, after))
    torch.testing.assert_close(left, (1 - HOLD * 6 / 8) * away)  # six of eight frames are new
    torch.testing.assert_close(after - scene_of(after), before - scene_of(before))
    below = HELD_ABOVE - 0.01
    assert torch.equal(holding_scene(velocity, latents, below, scene, known=2), velocity)


def test_a_scene_is_held_where_there_is_one_shot_only(longer, monkeypatch):
    plain = type(longer.backbone).velocity

    def watching(backbone, latents, sigma, conditions, sampling):
        seen.append(conditions.scene is not None)
        return plain(backbone, latents, sigma, conditions, sampling)

    monkeypatch.setattr(type(longer.backbone), "velocity", watching)

    def scenes_of(prompt: str) -> list[bool]:
        seen.clear()
        longer(prompt, voice(3.0), seed=5, together=True)
        return list(seen)

    seen: list[bool] = []
    assert scenes_of(PROMPT) == [False] * 2 + [True] * 4  # two steps of each of three passes
    assert scenes_of(TWO_SHOTS) == [False] * 6


def test_frames_are_written_as_they_come(longer, tmp_path):
    steps, pieces = [], []
    film = longer.stream(PROMPT, voice(3.0), seed=5, progress=lambda *step: steps.append(step))
    assert not steps and film.num_frames == 72  # nothing is made before it is asked for
    film.save(tmp_path / "a.mp4", watch=lambda frames: pieces.append((len(frames), steps[-1])))
    assert pieces == [(28, (2, 6)), (20, (4, 6)), (24, (6, 6))]
    read = read_film(tmp_path / "a.mp4")
    assert len(read.frames) == 72 and read.metadata["num_frames"] == 72
    assert read.metadata["seed"] == 5
    for again in (film.finish, lambda: film.save(tmp_path / "b.mp4")):
        with pytest.raises(ValueError, match="made already"):
            again()
    assert not (tmp_path / "b.mp4").exists()


def test_an_image_is_known_in_the_first_pass_and_shown(longer):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    film = longer(PROMPT, voice(3.0), image, seed=5)
    with torch.inference_mode():
        first = longer.backbone.encode_image(image, 64, 64)
    assert film.frames.shape[0] == 72
    assert (film.frames != longer(PROMPT, voice(3.0), seed=5).frames).any()
    one_latent = longer(PROMPT, None, image, num_frames=4, seed=5)
    expected = ((longer.backbone.decode(first)[0].clamp(-1, 1) + 1) * 127.5).round()
    assert np.abs(one_latent.frames - expected.permute(0, 2, 3, 1).detach().numpy()).max() <= 1


def test_a_pass_too_short_to_share_is_refused_before_any_work(longer):
    longer.sampling = longer.sampling.with_given(num_frames=8)
    try:
        with pytest.raises(ValueError, match="passes of 2 latent frames cannot share 2"):
            longer.stream(PROMPT, voice(3.0))
    finally:
        longer.sampling = longer.sampling.with_given(num_frames=32)


def test_films_without_speech_go_on_too(longer):
    film = longer(PROMPT, num_frames=50, seed=1)
    assert film.frames.shape[0] == 52 and film.speech is None
