"""Each filter drops what it is for, for its own reason, and nothing else; so do duplicates,
conversations, settings and labels."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from openmocha.curation import judge
from openmocha.curation.clips import Clip, Film
from openmocha.curation.duplicates import band_pairs, drop_duplicates
from openmocha.curation.filters import FILTERS, reason_to_drop
from openmocha.curation.judge import answers, conversation, same_place, same_scene, spoken_over
from openmocha.curation.listen import Heard
from openmocha.curation.manifest import read_manifest, schema, write_manifest
from openmocha.curation.settings import Settings, Thresholds, load_settings, settings_for
from openmocha.curation.tune import labelled, sweep_labels, tune
from openmocha.curation.watch import Watched

GOOD = {
    "duration_s": 5.0, "speech_share": 0.8, "level_db": -20.0, "dynamic_range_db": 35.0,
    "flatness": 0.3, "most_faces": 1.0, "num_people": 1, "face_share": 1.0, "face_height": 0.4,
    "difference": 2.0, "camera_flow": 0.02, "speaker": 0, "lip_score": 0.9, "lip_lag": 0,
    "lip_shifted": 0.9,
}  # fmt: skip

UNREAD = {"speaker": None, "lip_score": None}  # nobody's lips move
FAULTS = [
    ({"duration_s": 1.0}, "scene too short"),
    ({"speech_share": 0.0, "level_db": -70.0}, "silence"),
    ({"speech_share": 0.0, "flatness": 0.05} | UNREAD, "music without speech"),
    ({"speech_share": 0.02, "flatness": 0.6} | UNREAD, "noise without speech"),
    (
        {"speech_share": 0.18, "flatness": 0.05, "dynamic_range_db": 8.0} | UNREAD,
        "music without speech",
    ),
    ({"speech_share": 0.18} | UNREAD, "little speech"),
    ({"speech_share": 0.25, "dynamic_range_db": 8.0} | UNREAD, "background too loud"),
    ({"speech_share": 0.02, "dynamic_range_db": 8.0}, "background too loud"),  # lips follow it
    ({"dynamic_range_db": 8.0}, "background too loud"),
    ({"num_people": 4, "most_faces": 4.0}, "crowd"),
    ({"face_share": 0.1, "num_people": 0}, "no face"),
    ({"face_share": 0.6}, "face not always seen"),
    ({"face_height": 0.05}, "face too small"),
    ({"difference": 0.0}, "frozen picture"),
    ({"camera_flow": 2.0}, "camera too shaky"),
    ({"speaker": None, "lip_score": None}, "lips at rest"),
    ({"lip_score": -0.3, "lip_lag": 9, "lip_shifted": 0.9}, "sound shifted"),
    ({"lip_score": -0.3, "lip_lag": 9, "lip_shifted": 0.2}, "lips do not match"),
    ({"lip_score": -0.3, "lip_lag": 1, "lip_shifted": 0.9}, "lips do not match"),
]


@pytest.mark.parametrize(("change", "reason"), FAULTS)
def test_each_fault_has_its_own_reason(change, reason):
    assert reason_to_drop(GOOD, Thresholds()) is None
    assert reason_to_drop(GOOD | change, Thresholds()) == reason


def test_clips_too_short_to_judge_pass_the_lips():
    assert reason_to_drop(GOOD | {"lip_score": None}, Thresholds()) is None


def test_every_filter_is_needed():
    """Without any one filter some fault passes, or gets another's reason."""
    for left_out in FILTERS:
        others = [f for f in FILTERS if f is not left_out]

        def first(columns, filters=others):
            return next((r for f in filters if (r := f(columns, Thresholds()))), None)

        assert any(first(GOOD | change) != reason for change, reason in FAULTS), left_out


# --- duplicates ----------------------------------------------------------------------------------


def clip(name, picture, sound, duration_s=5.0):
    return {
        "clip_id": name,
        "reason": None,
        "duration_s": duration_s,
        "picture_hash": f"{picture:016x}",
        "sound_hash": f"{sound:016x}",
    }


def test_near_duplicates_agree_in_picture_and_in_sound():
    base = 0x0123456789ABCDEF
    rows = [
        clip("b", base, base),
        clip("a", base ^ 0b10011, base ^ 0b1111, 5.1),  # longer: this one stays
        clip("same picture, other words", base, ~base & (2**64 - 1)),
        clip("same sound, other picture", ~base & (2**64 - 1), base),
        clip("another length", base, base, 7.0),
    ]
    drop_duplicates(rows, 6)
    assert [row["reason"] for row in rows] == ["near-duplicate", None, None, None, None]
    assert rows[0]["duplicate_of"] == "a"


def test_the_search_finds_every_pair_within_six_bits():
    import random

    rng = random.Random(0)
    for _ in range(300):
        bits = rng.getrandbits(64)
        other = bits
        for place in rng.sample(range(64), 6):
            other ^= 1 << place
        assert set(band_pairs(bits)) & set(band_pairs(other))
    with pytest.raises(ValueError, match="expected 0 to 6"):
        drop_duplicates([], 7)


# --- conversations -------------------------------------------------------------------------------


def test_two_clips_over_a_cut_make_a_conversation():
    first = GOOD | {"reason": None, "scene": 3, "start_s": 1.0, "end_s": 3.0, "film_id": "f",
                    "clip_id": "x", "speech_s": [[1.0, 2.5]]}  # fmt: skip
    second = first | {"scene": 4, "start_s": 3.0, "end_s": 6.0, "clip_id": "y",
                      "speech_s": [[3.5, 5.5]]}  # fmt: skip
    assert answers(first, second)
    assert not answers(first, second | {"scene": 3})  # a long scene cut at a pause
    assert not answers(first, second | {"reason": "no face"})
    assert not answers(first | {"num_people": 2}, second)
    both = conversation(first, second)
    assert (both["start_s"], both["end_s"], both["cut_s"]) == (1.0, 6.0, 3.0)
    assert both["speech_s"] == [[1.0, 2.5], [3.5, 5.5]]
    assert both["parts"] == ["x", "y"] and both["shot"] == "two-clip"


def scene(number: int, colour: int, spoken: bool = True) -> Clip:
    """A second of one colour with a person in its middle, heard to its ends or in its middle."""
    shown = np.full((4, 18, 32, 3), 128, np.uint8)
    shown[:2], shown[2:] = colour, 200 - colour  # two films of two clips each
    shown[:, 6:, 11:21] = 40 + 60 * number
    voice = np.ones(400, bool)
    voice[100 * number + 30 : 100 * number + 70] = False
    voice = voice if spoken else ~voice
    bands = np.repeat(np.where(voice, -20, -70)[:, None], 4, axis=1).astype(np.int8)
    speech = voice[(np.arange(125) * 3.2).astype(int)].astype(float)
    faces = np.tile([0.4, 0.4, 0.6, 0.6, 1, 0.5, 0, 0.5, 0.5], (48, 1)).astype(np.float32)
    watched = Watched(
        np.arange(96) / 24, np.zeros(96), np.arange(48) / 12, np.ones(48), np.zeros((48, 4)),
        np.arange(48), faces, np.arange(8) / 2, shown.repeat(2, axis=0), np.array(4.0),
    )  # fmt: skip
    heard = Heard(speech, np.full(125, -20.0), np.zeros(125), np.zeros((96, 20)), bands)
    return Clip(Film(watched, heard), number, float(number), number + 1.0)


def test_speech_that_goes_on_over_a_cut_speaks_for_one_scene():
    a, b = scene(0, 60), scene(1, 60)
    assert spoken_over(a, b) and not spoken_over(a, scene(1, 60, spoken=False))
    assert same_scene(a, b) == pytest.approx(same_place(a, b) + 0.2, abs=0.01)
    quiet = same_scene(scene(0, 60, spoken=False), scene(1, 60, spoken=False))
    assert quiet == pytest.approx(same_place(a, b), abs=0.01)


def test_of_two_pairs_that_share_a_clip_the_surer_one_is_the_conversation(monkeypatch):
    rows = [
        GOOD | {"reason": None, "scene": n, "start_s": float(n), "end_s": n + 1.0, "film_id": "f",
                "clip_id": str(n), "speech_s": []}
        for n in range(4)
    ]  # fmt: skip
    sure = {(0, 1): 0.6, (1, 2): 0.9, (2, 3): 0.4}
    found = [scene(n, 60) for n in range(4)]
    monkeypatch.setattr(judge, "same_scene", lambda a, b: sure[a.scene, b.scene])
    monkeypatch.setattr(judge, "other_person", lambda a, b: True)
    added = judge.conversations(rows, found, Thresholds())
    assert [row["parts"] for row in added] == [["1", "2"]]
    assert ["part_of" in row for row in rows] == [False, True, True, False]


# --- manifest, settings, labels ------------------------------------------------------------------


def test_the_manifest_gives_back_what_was_written(tmp_path):
    rows = [
        {"path": "/films/\udcffname.mp4", "film_id": "a", "reason": "empty file"},
        {"path": "/films/good.mp4", "film_id": "b", "clip_id": "c", "reason": None, "scene": 0,
         "speech_s": [[0.0, 1.5]], "face_boxes": [[0.1, 0.2, 0.3, 0.4]], "facing": ["left"]},
    ]  # fmt: skip
    write_manifest(rows, tmp_path / "manifest.parquet")
    first, second = read_manifest(tmp_path)
    assert first["path"] == "/films/\\udcffname.mp4" and first["scene"] is None
    assert {k: second[k] for k in rows[1]} == rows[1]
    assert set(first) == set(schema().names)
    with pytest.raises(AssertionError, match="without a place"):
        write_manifest([{"path": "x", "novel": 1}], tmp_path / "other.parquet")


def test_settings_are_read_from_yaml(tmp_path):
    file = tmp_path / "curate.yaml"
    file.write_text(
        "faces: toon\nthresholds: {longest_s: 8}\nshards: {clips_per_shard: 3}\n"
        "captions: {url: http://localhost:1/v1, model: m}\n"
    )
    settings = load_settings(file)
    wanted = replace(settings_for("toon").thresholds, longest_s=8)
    assert settings.thresholds == wanted and settings.shards.clips_per_shard == 3
    assert settings.captions is not None and settings.captions.model == "m"
    file.write_text("")
    assert load_settings(file) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thresholds: {longest: 8}", "did you mean longest_s"),
        ("faces: cartoon", "expected photo"),
        ("looks_per_s: fast", "expected a value like 12.0"),
        ("thresholds: 3", "must hold keys and values"),
        ("captions: {url: 'http://localhost:1/v1'}", "need url and model"),
        ("- a list", "keys and values"),
        ("a: [", "not YAML"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path, text, message):
    (tmp_path / "curate.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_settings(tmp_path / "curate.yaml")


def test_labels_say_what_a_threshold_costs():
    rows = [GOOD | {"path": "a.mp4", "start_s": 0.0, "end_s": 5.0},
            GOOD | {"path": "a.mp4", "start_s": 5.0, "end_s": 10.0, "face_height": 0.14},
            GOOD | {"path": "b.mp4", "start_s": 0.0, "end_s": 5.0}]  # fmt: skip
    labels = [{"path": "/x/a.mp4", "start_s": 0.0, "end_s": 5.0, "reason": ""},
              {"path": "/x/a.mp4", "start_s": 4.5, "end_s": 10.0, "reason": "far"}]  # fmt: skip
    pairs = labelled(rows, labels)
    assert [good for _, good in pairs] == [True, False]
    sweep = sweep_labels(pairs, Thresholds())["face_height"]
    at = {point["value"]: point for point in sweep}
    assert at[0.12] == {"value": 0.12, "good_kept": 1.0, "bad_dropped": 0.0}
    assert at[0.16] == {"value": 0.16, "good_kept": 1.0, "bad_dropped": 1.0}
    with pytest.raises(ValueError, match="paths"):
        labelled(rows, [labels[0] | {"path": "c.mp4"}])


def test_each_kind_of_films_is_tuned_by_its_own_thresholds(tmp_path):
    rows = [
        GOOD | {"path": f"{name}.mp4", "film_id": name, "clip_id": name, "faces": kind,
                "start_s": 0.0, "end_s": 5.0, "reason": None}
        for name, kind in (("a", "photo"), ("b", "toon"))
    ]  # fmt: skip
    write_manifest(rows, tmp_path / "manifest.parquet")
    settings = json.dumps(asdict(settings_for("auto")))
    (tmp_path / "settings.json").write_text(settings)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,start_s,end_s,reason\na.mp4,0,5,\nb.mp4,0,5,\n")
    found = tune(tmp_path, labels)
    assert set(found["sweeps"]) == {"photo", "toon"}
    kept = {
        kind: {point["value"]: point["good_kept"] for point in sweeps["lip_score"]}
        for kind, sweeps in found["sweeps"].items()
    }
    assert kept["photo"][0.9] == kept["toon"][0.9] == 1.0
    assert "lip_score (now 0.3)" in found["table"] and "lip_score (now 0.75)" in found["table"]
    labels.write_text("path,start_s,end_s,reason\nb.mp4,0,5,\n")
    assert set(tune(tmp_path, labels)["sweeps"]) == {"toon"}  # one kind has none: the other goes on
    labels.write_text("path,start_s,end_s,reason\nc.mp4,0,5,\n")
    with pytest.raises(ValueError, match="nothing to sweep over. photo: no clip lies"):
        tune(tmp_path, labels)
