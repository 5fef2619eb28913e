"""`faces: auto`: each film is asked what it is, and gets the settings of its kind."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmocha.curation import kind
from openmocha.curation.engines import Engine
from openmocha.curation.faces import Face
from openmocha.curation.lips import SHIPPED_TOON, LipReader
from openmocha.curation.pipeline import curate, lip_readers, list_sources, of_their_kinds
from openmocha.curation.settings import Thresholds, load_settings, settings_for, toon_thresholds
from openmocha.media import SPEECH_RATE_HZ, write_film

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
PHOTOGRAPHED = SHARED / "mochabench/mocha-generation"
SILENCE = np.zeros(2 * SPEECH_RATE_HZ, np.float32)


def noise_film(path: Path, seconds: float = 2.0) -> Path:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (round(24 * seconds), 96, 96, 3), np.uint8)
    write_film(path, frames, SILENCE)
    return path


def kinds_of(place: Path, work: Path) -> dict[str, str]:
    found = list_sources([place], work, settings_for("auto"))
    sources, failed = of_their_kinds(found, Engine("one"))
    assert not failed
    return {source.path.name: source.settings.faces for source in sources}


def test_drawn_films_are_known_as_such(tmp_path):
    pytest.importorskip("skia", exc_type=ImportError)
    pytest.importorskip("espeakng_loader")
    from openmocha.toon.films import make_film

    for number, (source, side) in enumerate((("close-up", 128), ("medium", 160))):
        film = make_film(number, source, split="test", width=side, height=side)
        write_film(tmp_path / f"{number}.mp4", film.frames[:72], SILENCE)
    assert kinds_of(tmp_path, tmp_path / "work") == {"0.mp4": "toon", "1.mp4": "toon"}


@pytest.mark.skipif(not PHOTOGRAPHED.exists(), reason=f"MoChaBench is not in {SHARED}")
def test_photographed_films_are_known_as_such(tmp_path):
    (film,) = PHOTOGRAPHED.rglob("4_man_reading.mp4")  # in it the finder of drawn faces is deceived
    assert kinds_of(film, tmp_path) == {"4_man_reading.mp4": "photo"}


def faces_seen(monkeypatch, presence: list[float], drawn: list[float]) -> None:
    """Looks at which the two finders are so sure; none is there where drawn is 0, presence -inf."""
    logits, certainties = iter(presence), iter(drawn)
    monkeypatch.setattr(kind, "photo_presence", lambda frame: next(logits))

    def find(frames):
        certainty = next(certainties)
        face = Face(0, 0, 1, 1, certainty, 0, 0, 0.5, 0.5)
        return [[face] if certainty else []]

    monkeypatch.setattr(kind, "_drawn_finder", lambda: find)


@pytest.mark.parametrize(
    ("presence", "drawn", "expected"),
    [
        ([19.0, 19.0, 19.0, 19.0], [0.9, 0.9, 0.9, 0.9], "toon"),
        ([21.0, 21.0, 21.0, 21.0], [0.9, 0.9, 0.9, 0.9], "photo"),
        (
            [-np.inf, -np.inf, 20.0, 20.0],
            [0.0, 0.0, 0.9, 0.9],
            "toon",
        ),  # faceless looks say nothing
        ([-np.inf, 20.0, 20.0, 20.0], [0.7, 0.7, 0.7, 0.7], "photo"),
        ([-np.inf] * 4, [0.0] * 4, "photo"),
    ],
)
def test_the_surer_finder_wins_and_is_asked_once(tmp_path, monkeypatch, presence, drawn, expected):
    film = noise_film(tmp_path / "film.mp4")
    faces_seen(monkeypatch, presence, drawn)
    assert kinds_of(film, tmp_path / "work") == {"film.mp4": expected}
    faces_seen(monkeypatch, [], [])
    assert kinds_of(film, tmp_path / "work") == {"film.mp4": expected}


def test_what_cannot_be_read_is_left_to_the_measuring(tmp_path):
    (tmp_path / "text.mp4").write_text("no film at all")
    (tmp_path / "empty.mp4").write_bytes(b"")
    expected = {"empty.mp4": "photo", "text.mp4": "photo"}
    assert kinds_of(tmp_path, tmp_path / "work") == expected


def test_settings_of_either_kind(tmp_path):
    config = tmp_path / "curate.yaml"
    config.write_text(
        "faces: auto\nlimits: {smallest_side: 64}\nthresholds: {longest_s: 8}\n"
        "drawn: {longest_s: 6}\nclip_files: true\n"
    )
    settings = load_settings(config)
    photo, drawn = settings.of("photo"), settings.of("toon")
    assert photo.thresholds == Thresholds(longest_s=8) and photo.faces == "photo"
    assert drawn.thresholds == replace(toon_thresholds(), longest_s=6)
    assert (drawn.faces, drawn.looks_per_s, drawn.lips) == ("toon", 24.0, "toon")
    assert drawn.limits == photo.limits == settings.limits
    assert settings_for("toon").of("photo") == settings_for("toon")


def test_two_copies_of_a_film_are_asked_once(tmp_path, monkeypatch):
    film = noise_film(tmp_path / "film.mp4")
    (tmp_path / "again.mp4").write_bytes(film.read_bytes())
    faces_seen(monkeypatch, [10.0] * 4, [0.9] * 4)  # there is no fifth look
    found = list_sources([tmp_path], tmp_path / "work", settings_for("auto"))
    sources, _ = of_their_kinds([s for s in found if s.path.suffix == ".mp4"], Engine("one"))
    assert [source.settings.faces for source in sources] == ["toon", "toon"]


def test_what_this_machine_could_not_look_at_waits_for_the_next_run(tmp_path, monkeypatch):
    film = noise_film(tmp_path / "film.mp4")

    def full(*_):
        raise OSError(28, "No space left on device")

    copy = tmp_path / "copy.mp4"
    copy.write_bytes(film.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(kind, "photo_presence", full)
        curated = curate([film, copy], tmp_path / "dataset", settings_for("auto"))
    reasons = ["set aside: No space left on device", "same file as another"]
    assert [row["reason"] for row in curated.rows] == reasons
    faces_seen(monkeypatch, [10.0] * 4, [0.9] * 4)
    again = curate([film], tmp_path / "dataset", settings_for("auto"))
    assert {row["faces"] for row in again.rows} == {"toon"} and again.set_aside == 0


def test_a_reader_of_drawn_mouths_is_not_taken_for_that_of_photographs(tmp_path):
    LipReader.load(SHIPPED_TOON).save(tmp_path / "lips.json")  # as older versions kept it
    readers = lip_readers(
        tmp_path, list_sources([], tmp_path, settings_for("photo")), Engine("one")
    )
    assert readers == {}
    film = noise_film(tmp_path / "film.mp4")
    sources = list_sources([film], tmp_path / "work", settings_for("photo"))
    assert lip_readers(tmp_path, sources, Engine("one"))["photo"].hidden is None
