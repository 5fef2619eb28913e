"""The judge, the cut detector, and the statistics of the benchmarks."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are scripts beside the package, not part of it

from benchmarks import loudness  # noqa: E402
from benchmarks.intervals import bootstrap_mean, wilson  # noqa: E402
from openmocha.evaluation.toon_scores import closed_on_pressed, pearson  # noqa: E402
from openmocha.toon import labels  # noqa: E402
from openmocha.toon.cuts import find_cut  # noqa: E402
from openmocha.toon.films import make_film  # noqa: E402
from openmocha.toon.judge import (  # noqa: E402
    Judge,
    JudgeConfig,
    Window,
    crop_around,
    letterbox,
    load_judge,
)
from openmocha.toon.judge_motion import SHORTEST, ActionReader, camera_move, movement  # noqa: E402
from openmocha.toon.stories import make_story  # noqa: E402
from openmocha.training.judge import r_squared  # noqa: E402
from openmocha.training.judge_actions import (  # noqa: E402
    accuracy,
    mirrored,
    read_stories,
    train_actions,
    varied,
)
from openmocha.training.judge_losses import (  # noqa: E402
    compressed,
    degrade,
    finder_loss,
    mouth_loss,
    one_person,
    person_loss,
    scene_loss,
)

WEIGHTS = ROOT / "openmocha/weights/toon/judge"
SMALL = JudgeConfig(
    widths=(8, 8, 8),
    blocks=(0, 1, 0),
    width=16,
    person_widths=(8, 8),
    face_widths=(8, 8),
    mouth_widths=(8, 8),
)


def films() -> object:
    """openmocha.toon.films, or a skip where drawing is impossible."""
    try:
        import skia  # noqa: F401
    except ImportError as error:
        pytest.skip(
            f"drawing needs skia and the system's libEGL and libGL ({error}); on Debian: "
            "apt-get install libegl1 libgl1"
        )
    from openmocha.toon import films

    return films


def test_pearson_is_the_cosine_of_centred_series() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    assert pearson(x, 3 * x - 7) == pytest.approx(1)
    assert pearson(x, -x) == pytest.approx(-1)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert pearson(x, np.ones(50)) == 0


def test_bootstrap_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    mean, low, high = bootstrap_mean(list(values))
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / math.sqrt(400)
    assert high - mean == pytest.approx(half, rel=0.1)
    assert mean - low == pytest.approx(half, rel=0.1)


def test_wilson_interval_known_values() -> None:
    # 81 of 263 is Newcombe's (1998) example: 0.2553 to 0.3662.
    share, low, high = wilson(81, 263)
    assert (share, low, high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=1e-4)
    # All right: the lower bound is n / (n + z^2).
    assert wilson(100, 100)[1:] == pytest.approx((100 / (100 + 1.959964**2), 1.0))


def test_loudness_predictor_finds_the_delay_it_was_given() -> None:
    rng = np.random.default_rng(2)
    speech = (
        rng.normal(size=16000 * 2) * np.repeat(rng.random(48) ** 2, 16000 * 2 // 48 + 1)[:32000]
    )
    opening = np.roll(loudness.loudness(speech, 48) ** 0.5, 2)
    _, sigma, shift = loudness.fit([(speech, opening)])
    assert (sigma, shift) == (0.5, 2)


def test_pause_frames_are_long_and_keep_away_from_words() -> None:
    from benchmarks.real_speech import pauses

    voice = np.ones(40)
    voice[10:16] = 0  # 0.25 s: too short
    voice[20:30] = 0  # 0.42 s: a pause
    voice[32:] = 0  # to the end of the film
    assert np.flatnonzero(pauses(voice)).tolist() == [*range(22, 28), *range(34, 40)]


def test_lips_that_close_on_phones_are_compared_with_all_moments_of_speech() -> None:
    from benchmarks.real_speech import closed_on

    opening, spoken = np.full(48, 0.5), np.ones(48, bool)
    spoken[:10] = False
    opening[20] = 0.1
    on, off, unheard = (21 / 24, 22 / 24), (30 / 24, 31 / 24), (10 / 24, 11 / 24)
    row = closed_on([on, off, unheard], opening, spoken)
    assert row["labials"] == 2  # the third begins before anybody speaks
    assert row["closed_on_labials"] == 0.5
    # three frames each, of which 36 stretches are speech; three of them show the closed frame
    assert row["closed_anywhere"] == pytest.approx(3 / 36)
    assert closed_on([unheard], opening, spoken)["closed_on_labials"] is None


def test_labials_are_heard_where_both_recognisers_hear_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import labials

    words, loop = [(0.1, 0.2), (0.5, 0.6), (0.8, 0.9)], [(0.15, 0.3), (0.58, 0.7)]
    monkeypatch.setattr(labials, "labials_of_words", lambda sound: words)
    monkeypatch.setattr(labials, "labials_of_loop", lambda sound: loop)
    assert labials.heard_labials(np.ones(16000, np.float32)) == [(0.1, 0.2)]


def test_cuts_of_a_scene_are_its_largest_changes() -> None:
    from benchmarks.scenes import largest_changes, renamed

    frames = np.zeros((80, 4, 4, 3), np.uint8)
    for value, start in ((40, 20), (90, 23), (200, 50)):
        frames[start:] = value
    assert sorted(largest_changes(frames, 2)) == [23, 50]  # 20 is too near to 23
    assert renamed("Person1 and Person2") == "Person3 and Person4"


def test_cut_is_found_and_motion_is_not_one() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 255, (2, 64, 64, 3)).astype(np.float32)
    blocks = [np.kron(scene[:8, :8], np.ones((8, 8, 1))) for scene in (first, second)]
    film = np.stack([blocks[int(t >= 37)] for t in range(80)]).astype(np.uint8)
    assert find_cut(film) == 37
    assert find_cut(film[:37]) is None
    panned = np.stack([np.roll(film[0], t, axis=1) for t in range(80)])
    assert find_cut(panned) is None


def test_cuts_of_drawn_films() -> None:
    make_film = films().make_film  # type: ignore[attr-defined]
    for seed in range(3):
        film = make_film(seed, "dialogue", split="test")
        assert find_cut(film.frames) == film.truth.cut_frame
    moving = (s for s in range(100) if make_story(s, "close-up").clips[0].camera != "static")
    film = make_film(next(moving), "close-up")
    assert find_cut(film.frames) is None


def test_labels_of_a_clip_say_what_the_story_says() -> None:
    for seed in range(50):
        story = make_story(seed, "medium")
        clip = story.clips[0]
        found = labels.clip_labels(story, clip)
        for person, cast in enumerate(clip.cast):
            character = story.characters[cast.character]
            words = labels.PERSON_ATTRIBUTES["clothes_colour"]
            assert words[found["clothes_colour"][person]] == character.clothes_colour
            if character.species != "person" or character.hair_style == "bald":
                assert found["hair_colour"][person] == labels.NO_ANSWER
        assert (found["species"][len(clip.cast) :] == labels.NO_ANSWER).all()
        assert labels.FRAME_ATTRIBUTES["shot"][found["shot"]] == clip.shot


def test_what_no_picture_tells_is_not_asked() -> None:
    hidden = {"age": 0, "position": 0}
    for seed in range(60):
        story = make_story(seed, "medium")
        clip = story.clips[0]
        told, seen = labels.clip_labels(story, clip), labels.visible_labels(story, clip)
        assert all(np.array_equal(told[n], seen[n]) for n in told if n not in hidden)
        for person, cast in enumerate(clip.cast):
            animal = story.characters[cast.character].species != "person"
            panned = clip.camera in ("pan left", "pan right")
            for name, unseen in (("age", animal), ("position", panned)):
                hidden[name] += unseen
                expected = labels.NO_ANSWER if unseen else told[name][person]
                assert seen[name][person] == expected and told[name][person] >= 0
    assert min(hidden.values()) > 5


def test_crops_are_centred_on_the_box_and_scaled_by_it() -> None:
    frames = torch.linspace(-1, 1, 128).expand(1, 3, 128, 128).contiguous()  # brightness = x
    boxes = torch.tensor([[[0.25, 0.5, 0.45, 0.6], [0.5, 0.5, 0.6, 0.7]]])
    crops = crop_around(frames, boxes, Window(size=32, side=1.5))
    assert crops.shape == (2, 3, 32, 32)
    for crop, centre in zip(crops, (0.35, 0.55), strict=True):
        # the middle of pixel i is (i + 0.5) / 128 and shows i / 127 of the way from -1 to 1
        expected = 2 * (centre * 128 - 0.5) / 127 - 1
        assert crop.mean().item() == pytest.approx(expected, abs=1e-3)
        width = (crop[0, 0, -1] - crop[0, 0, 0]).item() / 2 * 127 / 128
        assert width == pytest.approx(0.2 * 1.5 * 31 / 32, abs=1e-3)


def test_letterbox_keeps_shape_and_says_where_pixels_went() -> None:
    frames = np.full((1, 64, 96, 3), 255, np.uint8)
    images, (left, top), scale = letterbox(frames)
    assert images.shape == (1, 3, 128, 128)
    assert (left, top) == (0, 21) and scale == pytest.approx(128 / 96)
    assert (images[0, 0, 21:106] == 1).all() and (images[0, 0, :21] == -1).all()


def test_saved_judge_reads_bit_equal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    judge = Judge(SMALL)
    judge.load_state_dict({k: v.bfloat16().float() if v.is_floating_point() else v
                           for k, v in judge.state_dict().items()})  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3)).astype(np.uint8)
    before = judge.read(frames)
    judge.save_pretrained(tmp_path)
    after = load_judge(tmp_path).read(frames)
    for name, value in dataclasses.asdict(before).items():
        again = getattr(after, name)
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        for key, part in parts:
            np.testing.assert_array_equal(part, again if key is None else again[key])


def test_judge_refuses_what_are_no_frames() -> None:
    with pytest.raises(ValueError, match="expects uint8"):
        Judge(SMALL).read(np.zeros((2, 3, 8, 8), np.float32))


def test_config_with_unknown_keys_is_refused(tmp_path: Path) -> None:
    Judge(SMALL).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"depth": 3}')
    with pytest.raises(ValueError, match="depth"):
        load_judge(tmp_path)


def test_speaker_is_whose_mouth_moves() -> None:
    judged = Judge(SMALL).read(np.zeros((8, 32, 32, 3), np.uint8))
    mouth = np.zeros((8, 2, 4), np.float32)
    mouth[:, 0, 0] = 0.9  # wide open and still
    mouth[::2, 1, 0] = 0.3
    two = dataclasses.replace(judged, mouth=mouth, second_person=np.ones(8))
    assert two.speaker() == 1
    assert dataclasses.replace(two, second_person=np.zeros(8)).speaker() == 0


def test_camera_is_read_from_the_trend_of_the_boxes() -> None:
    rng = np.random.default_rng(4)
    along = np.linspace(0, 1, 96)
    still = np.tile([50.0, 60.0, 70.0, 80.0], (96, 1)) + rng.normal(0, 1, (96, 1))
    sideways = np.array([1.0, 0.0, 1.0, 0.0])
    assert camera_move(still, 128) == "static"
    assert camera_move(still - 20 * along[:, None] * sideways, 128) == "pan right"
    assert camera_move(still + 20 * along[:, None] * sideways, 128) == "pan left"
    closer = still + 4 * along[:, None] * np.array([-1.0, 0.0, 1.0, 0.0])
    assert camera_move(closer, 128) == "zoom in"
    assert camera_move(closer[::-1], 128) == "zoom out"


def test_movement_is_counted_in_mouths_wherever_the_mouth_is() -> None:
    pose = np.zeros((40, len(labels.POSE)), np.float32)
    nod = 2 * np.sin(np.arange(40))
    boxes = np.array([50.0, 60.0, 70.0, 66.0]) + nod[:, None] * np.array([0.0, 1.0, 0.0, 1.0])
    moved = movement(pose, boxes)
    assert moved.shape == (40, len(labels.POSE) + 3)
    sideways, down, size = moved[:, -3:].T
    assert not sideways.any() and not size.any()
    np.testing.assert_allclose(down, (nod - np.median(nod)) / 20, atol=1e-6)
    np.testing.assert_allclose(movement(pose, 2 * boxes + 30), moved, atol=1e-6)
    assert movement(pose[:5], boxes[:5]).shape[0] == SHORTEST
    gone = boxes.copy()
    gone[7, 2] = gone[7, 0] - 3  # a box turned inside out
    assert np.abs(movement(pose, gone)[:, -3:]).max() < 4


def test_a_mirror_turns_heads_and_changes_arms() -> None:
    rng = np.random.default_rng(5)
    moved = rng.normal(size=(48, len(labels.POSE) + 3))
    seen = mirrored(moved)
    assert np.array_equal(mirrored(seen), moved)
    name = labels.POSE.index
    assert np.array_equal(seen[:, name("yaw")], -moved[:, name("yaw")])
    assert np.array_equal(seen[:, name("pitch")], moved[:, name("pitch")])
    assert np.array_equal(seen[:, name("left bend")], moved[:, name("right bend")])
    assert np.array_equal(seen[:, -3:-1], moved[:, -3:-1] * [-1, 1])
    steps = [np.abs(np.diff(varied(rng, moved), axis=0)).mean(1) for _ in range(60)]
    within = np.array([step[np.arange(47) % 4 != 3].mean() / step[3::4].mean() for step in steps])
    assert 8 < (within < 0.8).sum() < 32  # a third is held


def test_actions_are_learnt_from_what_the_judge_reads() -> None:
    films()
    judge = Judge(SMALL)
    here, there = (read_stories(judge, range(2), workers) for workers in (1, 2))
    train_actions(judge, num_stories=2, steps=60)
    learnt = here[1:]  # the first is kept apart
    assert accuracy(judge.action.eval(), learnt) == 1
    for (moved, action), (again, same) in zip(here, there, strict=True):
        assert np.allclose(moved, again, atol=1e-5) and action == same


def test_nods_and_shakes_of_any_head_can_be_told_apart() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(6)

    def clips(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        which = rng.integers(2, size=number)
        moved = rng.normal(0, 0.05, (number, 48, len(labels.POSE) + 3))
        beats = rng.uniform(1.6, 2.2, (number, 1)) * np.arange(48) / 24 + rng.random((number, 1))
        moved[np.arange(number), :, 1 - which] += 0.2 * np.sin(2 * np.pi * beats)
        return torch.from_numpy(moved.astype(np.float32)), torch.from_numpy(which)

    reader = ActionReader()
    optimizer = torch.optim.Adam(reader.parameters(), lr=3e-3)
    for _ in range(60):
        moved, which = clips(32)
        loss = torch.nn.functional.cross_entropy(reader(moved), which)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved, which = clips(64)
    assert (reader.eval()(moved).argmax(-1) == which).float().mean() > 0.95


def test_compression_keeps_means_and_loses_detail() -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 3, 32, 32)
    nothing_lost = compressed(frames, threshold=0.0)
    torch.testing.assert_close(nothing_lost, frames, atol=1e-5, rtol=0)
    blocks = compressed(frames, threshold=100.0)  # only the mean of each block is left
    torch.testing.assert_close(blocks[0, 0, :8, :8], frames[0, 0, :8, :8].mean().expand(8, 8))


def test_degraded_frames_keep_their_colours() -> None:
    torch.manual_seed(0)
    frames = torch.full((16, 3, 128, 128), 0.5)
    degraded = degrade(frames.clone())
    assert (degraded.mean((2, 3)) - 0.5).abs().max() <= 0.5 * 0.04 + 0.03 + 0.01


def test_losses_fall_on_one_batch_of_drawn_frames() -> None:
    films()
    from openmocha.training.judge_pool import draw_shard

    torch.manual_seed(0)
    shard = draw_shard(0, "train", 0, frames=16)
    batch = {name: torch.from_numpy(values) for name, values in shard.items()}
    judge = Judge(SMALL)
    stages = (
        (judge, scene_loss),
        (judge.finder, finder_loss),
        (judge.near, person_loss),
        (judge.mouth, mouth_loss),
    )
    for network, loss_of in stages:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        losses = []
        for _ in range(15):
            loss, _ = loss_of(network, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_one_person_is_one_that_is_there() -> None:
    batch = {name: torch.zeros(64, 2, 4) for name in ("boxes", "mouth", "pose")}
    batch |= {name: torch.tensor([[1, 2]]).expand(64, 2) for name in labels.PERSON_ATTRIBUTES}
    batch["mouth"][:32, 1] = torch.nan  # one person in the first half, two in the second
    torch.manual_seed(0)
    chosen = one_person(batch | {"frames": torch.zeros(64)})["species"][:, 0]
    assert (chosen[:32] == 1).all()
    assert 5 < (chosen[32:] == 2).sum() < 27


def test_shards_depend_on_their_number_alone() -> None:
    films()
    from openmocha.training.judge_pool import draw_shard

    first, again = (draw_shard(0, "test", 3, frames=8) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])


@pytest.mark.skipif(not WEIGHTS.exists(), reason="no judge is shipped in openmocha/weights/toon")
def test_shipped_judge_reads_mouths_of_close_ups() -> None:
    make_film = films().make_film  # type: ignore[attr-defined]
    judge = load_judge(WEIGHTS)
    guesses, truths = [], []
    for seed in range(16):
        start = 8 * (seed % 12)
        film = make_film(seed, "close-up", split="test", frames=range(start, start + 24))
        guesses.append(judge.read(film.frames).mouth[:, 0, 0])
        truths.append(film.truth.mouth[start : start + 24, 0])
    guess, truth = (torch.from_numpy(np.concatenate(part)) for part in (guesses, truths))
    # The figure itself is benchmarks.toon_stories' to measure; this notices a judge gone wrong.
    assert r_squared(guess, truth) >= 0.93


def test_lips_close_on_p_b_m_in_the_truth_and_not_in_a_mouth_that_stays_open() -> None:
    asked, heard = [], 0
    for seed in range(6):
        truth = make_film(seed, ("close-up", "dialogue")[seed % 2], frames=range(1)).truth
        asked += closed_on_pressed(truth.mouth[:, 0], truth)
        heard += sum(phone.ipa[0] in "pbm" for phone in truth.phones)
        assert not any(closed_on_pressed(np.full(len(truth.mouth), 0.5), truth))
        assert closed_on_pressed(truth.mouth[:0, 0], truth) == []  # nothing of them is shown
    assert all(asked) and 6 < len(asked) <= heard
