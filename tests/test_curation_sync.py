"""SyncNet in a curation: its scores of a clip, LatentSync's rule, conversations, asked once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmocha.curation import sync
from openmocha.curation.engines import Engine
from openmocha.curation.filters import syncnet
from openmocha.curation.settings import Settings, Thresholds
from openmocha.curation.sync import SyncJob, best_of, score_clip, sync_of, sync_rows
from openmocha.media import SPEECH_RATE_HZ, FilmWriter

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

FACE = (20.0, 8.0, 140.0, 128.0, 0.99)


class Loudness:
    """An embedder that sees how bright a crop is and hears how loud the sound is."""

    def embed_lips(self, crops):
        levels = crops.float().mean(dim=(1, 2, 3)) / 255
        windows = levels.unfold(0, 5, 1)
        return torch.nn.functional.pad(10 * windows, (0, 1019))

    def embed_speech(self, mfcc, num_windows):
        energy = mfcc[0].float()  # the logarithm of the energy, 100 a second
        frames = energy[: len(energy) // 4 * 4].reshape(-1, 4).mean(dim=1)
        low, high = frames.min(), frames.max()
        levels = (frames - low) / (high - low + 1e-6)
        windows = torch.nn.functional.pad(levels, (0, 5 + num_windows)).unfold(0, 5, 1)
        return torch.nn.functional.pad(10 * windows[:num_windows], (0, 1019))


def scorer():
    from openmocha.evaluation.syncnet.scoring import SyncScorer

    return SyncScorer(Loudness(), lambda frames: [np.array([FACE]) for _ in frames])


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Five seconds at 25 a second that are bright a moment after they are loud."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    rng = np.random.default_rng(0)
    levels = np.repeat(rng.integers(0, 2, 32), 4)[:125].astype(np.float32)
    shown = np.roll(levels, 5)  # lips 5 frames after the sound
    frames = np.broadcast_to((30 + 200 * shown)[:, None, None, None], (125, 144, 160, 3))
    noise = rng.standard_normal(5 * SPEECH_RATE_HZ).astype(np.float32)
    sound = noise * (0.001 + 0.1 * np.repeat(levels, SPEECH_RATE_HZ // 25))
    with FilmWriter(path, 160, 144, sound.astype(np.float32), fps=25) as writer:
        writer.write(frames.astype(np.uint8))
    return path


def test_a_clip_is_scored_by_itself_with_the_sign_of_its_offset(film):
    for start_s, end_s in ((0.0, 3.6), (1.4, 5.0)):
        found = score_clip(film, start_s, end_s, scorer())
        assert found["sync_offset"] == 5 and found["sync_c"] > 2


def test_a_clip_without_a_face_has_no_score(film):
    blind = replace(scorer(), find_faces=lambda frames: [np.zeros((0, 5))] * len(frames))
    assert score_clip(film, 0.0, 2.4, blind) == {"sync_c": None, "sync_offset": None}
    assert best_of([(1.0, 3), (4.0, -2)]) == {"sync_c": 4.0, "sync_offset": -2}


def test_latentsyncs_rule():
    limits = Thresholds()
    good = {"sync_c": 3.0, "sync_offset": -6}
    assert syncnet(good, limits) is None
    assert syncnet(good | {"sync_c": 2.9}, limits) == "SyncNet: lips do not match"
    assert syncnet(good | {"sync_offset": 7}, limits) == "SyncNet: sound shifted"
    assert syncnet({"sync_c": None, "sync_offset": None}, limits) is None


def row(name: str, **changes):
    return {"path": "film.mp4", "clip_id": name, "start_s": 0.0, "end_s": 4.0, "faces": "photo",
            "reason": None,
            **changes}  # fmt: skip


def test_kept_clips_are_asked_about_and_conversations_go_with_a_half(tmp_path, monkeypatch):
    answers = {"good": 5.0, "bad": 1.0, "half": 6.0, "other half": 0.5, "fine": 4.0, "too": 4.0}
    asked = []

    def score(path, start_s, end_s, scorer):
        asked.append(path.name)
        return {"sync_c": answers[path.name], "sync_offset": 0}

    monkeypatch.setattr(sync, "_scorer", lambda weights: None)
    monkeypatch.setattr(sync, "score_clip", score)
    rows = [row(name, path=name) for name in ("good", "bad")]
    rows += [row("half", path="half", part_of="both"), row("other half", path="other half",
             part_of="both"), row("both", path="both", parts=["half", "other half"])]  # fmt: skip
    rows += [row(name, path=name, part_of="two") for name in ("fine", "too")]
    rows += [row("two", path="two", parts=["fine", "too"]), row("gone", reason="crowd")]
    rows += [row("drawn", path="drawn", faces="toon")]
    settings = replace(Settings(), syncnet="weights")
    found = sync_rows(rows, tmp_path, settings, Engine("one"), lambda words: None)
    reasons = {r["clip_id"]: r["reason"] for r in found}
    wrong = "SyncNet: lips do not match"
    assert reasons == {"good": None, "bad": wrong, "half": None, "other half": wrong,
                       "both": wrong, "fine": None, "too": None, "two": None,
                       "gone": "crowd", "drawn": None}  # fmt: skip
    assert sorted(asked) == ["bad", "fine", "good", "half", "other half", "too"]
    assert ["part_of" in r for r in found] == [False] * 5 + [True, True, False, False, False]
    again = [row("good", path="good")]
    sync_rows(again, tmp_path, settings, Engine("one"), lambda words: None)
    assert len(asked) == 6 and again[0]["sync_c"] == 5.0


def test_what_cannot_be_cut_out_has_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(sync, "_scorer", lambda weights: scorer())
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(b"no film")
    job = SyncJob(torn, 0.0, 4.0, "weights", tmp_path / "answer.json")
    assert sync_of(job)["reason"].startswith("damaged picture")
    assert job.answer.exists()


def test_without_weights_nothing_changes(tmp_path):
    rows = [row("a")]
    assert sync_rows(rows, tmp_path / "sync", Settings(), Engine("one"), print) == [row("a")]
    assert not (tmp_path / "sync").exists()


def test_weights_that_are_absent_are_said_before_the_work(tmp_path):
    settings = replace(Settings(), syncnet=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="syncnet_v2"):
        sync_rows([row("a")], tmp_path / "sync", settings, Engine("one"), print)
