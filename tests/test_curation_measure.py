"""Curation's measurements against truths that are known: made films, made sounds, made tracks."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openmocha.curation import clips as clips_module
from openmocha.curation.clips import Clip, Film, Person, clips, joined, scenes, tracks
from openmocha.curation.cut import clip_frames, clip_speech, crop_around, frame_times
from openmocha.curation.describe import (
    Context,
    camera_of,
    colour_name,
    measure_clip,
)
from openmocha.curation.lips import (
    FOLDS,
    SHIPPED_TOON,
    LipReader,
    compare,
    correlations,
    fit,
    fold_of,
    mel_context,
    read_lips,
)
from openmocha.curation.listen import (
    HOP_S,
    MEL_RATE_HZ,
    WINDOW_S,
    Heard,
    band_levels,
    flatness,
    listen,
    log_mel,
    mel_filters,
    num_mel_frames,
)
from openmocha.curation.settings import Thresholds
from openmocha.curation.spoken import speech_spans, spoken
from openmocha.curation.watch import Watched, flow_summary, watch
from openmocha.media import SPEECH_RATE_HZ, FilmWriter, load_speech, write_film

COLOURS = ((200, 30, 30), (30, 160, 40), (40, 60, 220))


def striped(num_frames: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Frames that say their number: the grey level of the left half rises by 2 each frame."""
    frames = np.full((num_frames, *size, 3), 128, np.uint8)
    frames[:, :, : size[1] // 2] = (2 * np.arange(num_frames) % 250)[:, None, None, None]
    return frames


def film_of(
    face_rows: list[tuple[int, float, float]], num_looks: int, levels: np.ndarray | None = None
) -> Film:
    """A film of `num_looks` looks, 12 a second, with faces as (look, x, y) of their middle."""
    seconds = num_looks / 12
    frame_s = np.arange(round(24 * seconds)) / 24
    faces = [(x - 0.1, y - 0.1, x + 0.1, y + 0.1, 1, 0.5, 0, x, y) for _, x, y in face_rows]
    watched = Watched(
        frame_s=frame_s,
        content=np.zeros(len(frame_s), np.float32),
        look_s=np.arange(num_looks) / 12,
        difference=np.ones(num_looks, np.float32),
        flow=np.zeros((num_looks, 4), np.float32),
        face_look=np.array([look for look, _, _ in face_rows], np.int32),
        faces=np.array(faces, np.float32).reshape(-1, 9),
        thumbnail_s=np.arange(max(1, int(2 * seconds))) / 2,
        thumbnails=np.full((max(1, int(2 * seconds)), 18, 32, 3), 90, np.uint8),
        end_s=np.array(seconds),
    )
    num = round(seconds / WINDOW_S)
    levels = np.full(num, -20.0) if levels is None else levels
    num_mel = round(seconds * MEL_RATE_HZ)
    bands = np.repeat(levels, 4)[: round(seconds / HOP_S), None].astype(np.int8).repeat(4, axis=1)
    heard = Heard(np.ones(num), levels, np.zeros(num), np.zeros((num_mel, 20)), bands)
    return Film(watched, heard)


# --- sound ---------------------------------------------------------------------------------------


def test_mel_frames_do_not_depend_on_the_pieces_they_come_in(tmp_path):
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal(6 * SPEECH_RATE_HZ)).astype(np.float32)
    write_film(tmp_path / "film.mp4", striped(144), sound)
    heard = listen(tmp_path / "film.mp4")
    whole = load_speech(tmp_path / "film.mp4")
    padded = np.concatenate([np.zeros(400), whole, np.zeros(9000)]).astype(np.float32)
    mel = log_mel(padded, -400, range(len(heard.mel) - 12))
    np.testing.assert_allclose(heard.mel[: len(mel)], mel, atol=1e-3)
    assert len(heard.mel) >= num_mel_frames(len(whole))


def test_a_tone_lies_in_its_mel_band():
    time_s = np.arange(SPEECH_RATE_HZ) / SPEECH_RATE_HZ
    mel = log_mel(np.sin(2 * np.pi * 1000 * time_s).astype(np.float32), 0, range(2, 20))
    frequencies = np.fft.rfftfreq(800, 1 / SPEECH_RATE_HZ)
    bands = mel_filters()
    nearest = int(bands[:, np.argmin(abs(frequencies - 1000))].argmax())
    assert (mel.argmax(axis=1) == nearest).all()


def test_flatness_tells_tones_from_noise_of_any_colour():
    rng = np.random.default_rng(1)
    white = rng.standard_normal((40, 512))
    red = np.cumsum(rng.standard_normal(40 * 512)).reshape(40, 512)
    time_s = np.arange(40 * 512).reshape(40, 512) / SPEECH_RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * time_s) for hz in (262, 330, 392, 524, 660))
    assert np.median(flatness(white)) > 0.55
    assert np.median(flatness(red - red.mean(axis=1, keepdims=True))) > 0.45
    assert np.median(flatness(chord)) < Thresholds().tonal < 0.45


def test_speech_ends_where_its_loudness_ends_not_where_the_detector_does():
    speech = np.r_[np.zeros(20), np.full(40, 0.9), np.full(6, 0.6), np.zeros(20)]
    levels = np.r_[np.full(20, -70.0), np.full(40, -20.0), np.full(26, -70.0)]
    assert np.flatnonzero(spoken(speech, levels, 0.5)).tolist() == list(range(20, 60))
    assert not spoken(np.full(10, 0.4), np.full(10, -20.0), 0.5).any()


def voice_film(voice_s: tuple[float, float], speech: np.ndarray, behind_db: float = -60.0) -> Film:
    """Eight seconds in which a voice is heard from when to when, and silero says what is given."""
    film = film_of([], 96)
    bands = np.full((800, 4), behind_db)
    bands[round(100 * voice_s[0]) : round(100 * voice_s[1]), 1] = -20.0
    levels = np.full(250, behind_db)
    levels[round(voice_s[0] / WINDOW_S) : round(voice_s[1] / WINDOW_S)] = -20.0
    heard = replace(film.heard, speech=speech, level_db=levels, bands=bands.astype(np.int8))
    return replace(film, heard=heard)


def test_edges_of_speech_are_where_the_sound_rises_and_falls():
    speech = np.zeros(250)
    speech[round(2.2 / WINDOW_S) : round(5.3 / WINDOW_S)] = 0.9  # silero wakes and sleeps late
    clip = Clip(voice_film((2.0, 5.07), speech), 0, 0.0, 8.0)
    assert speech_spans(clip, 0.5) == [(2.0, 5.07)]
    far = Clip(voice_film((1.6, 5.07), speech), 0, 0.0, 8.0)
    silero_s = round(2.2 / WINDOW_S) * WINDOW_S - 2 * WINDOW_S
    assert speech_spans(far, 0.5)[0][0] == pytest.approx(silero_s - 0.4, abs=0.011)  # not more


def test_silence_after_a_cut_is_no_speech_though_silero_goes_on():
    speech = np.zeros(250)
    speech[:5] = 0.9
    speech[round(2.0 / WINDOW_S) : round(5.0 / WINDOW_S)] = 0.9
    clip = Clip(voice_film((2.0, 5.0), speech), 0, 0.0, 8.0)
    assert speech_spans(clip, 0.5) == [(2.0, 5.0)]


def test_where_the_background_is_as_loud_as_the_voice_silero_alone_is_asked():
    speech = np.zeros(250)
    speech[50:150] = 0.9
    clip = Clip(voice_film((1.6, 4.8), speech, behind_db=-21.0), 0, 0.0, 8.0)
    slack_s = 2 * WINDOW_S
    assert speech_spans(clip, 0.5) == [pytest.approx((1.6 - slack_s, 4.8 + slack_s), abs=1e-3)]


def test_band_levels_are_those_of_the_tones_in_them():
    time_s = np.arange(SPEECH_RATE_HZ) / SPEECH_RATE_HZ
    tone = 0.1 * np.sin(2 * np.pi * 3500 * time_s).astype(np.float32)
    levels = band_levels(tone)
    assert levels.shape == (100, 4) and levels.dtype == np.int8
    assert np.abs(levels[:, 2] - 20 * np.log10(0.1 / np.sqrt(2))).max() <= 1.5
    assert levels[:, [0, 1, 3]].max() < -60
    assert (band_levels(np.zeros(1600, np.float32)) == -100).all()


def test_sound_that_starts_late_is_moved_to_its_place(tmp_path):
    import av

    click = np.zeros(3 * SPEECH_RATE_HZ, np.float32)
    click[SPEECH_RATE_HZ : SPEECH_RATE_HZ + 1600] = 0.8
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SPEECH_RATE_HZ, layout="mono")
        for number, pixels in enumerate(striped(96)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        piece = av.AudioFrame.from_ndarray(
            (click[None] * 32767).astype(np.int16), format="s16", layout="mono"
        )
        piece.sample_rate, piece.pts = SPEECH_RATE_HZ, SPEECH_RATE_HZ  # one second late
        container.mux(audio.encode(piece))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    loud = np.flatnonzero(listen(path).level_db > -20) * WINDOW_S
    assert abs(loud[0] - 2.0) < 0.05
    assert abs(np.flatnonzero(abs(clip_speech(path, 1.5, 16000)) > 0.1)[0] / 16000 - 0.5) < 0.05


def test_a_gap_in_the_sound_does_not_move_what_follows(tmp_path):
    import av

    path = tmp_path / "gap.mkv"
    loud = np.full((1, SPEECH_RATE_HZ // 2), 12000, np.int16)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("pcm_s16le", rate=SPEECH_RATE_HZ, layout="mono")
        for start in (0, 3 * SPEECH_RATE_HZ):
            piece = av.AudioFrame.from_ndarray(loud, format="s16", layout="mono")
            piece.sample_rate, piece.pts = SPEECH_RATE_HZ, start
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    speech = load_speech(path)
    assert len(speech) == pytest.approx(3.5 * SPEECH_RATE_HZ, abs=32)
    heard = np.flatnonzero(abs(speech) > 0.1) / SPEECH_RATE_HZ
    assert not ((heard > 0.52) & (heard < 2.98)).any() and heard.max() > 3.4


def test_a_clip_without_sound_is_measured_all_the_same():
    film = film_of([(look, 0.5, 0.5) for look in range(96)], 96)
    mute = replace(film, heard=replace(film.heard, mel=np.zeros((0, 20))))
    reader = LipReader(np.zeros((FOLDS, 180)), 0, "1")
    columns = measure_clip(Clip(mute, 0, 0.0, 8.0), Context("f", Thresholds(), reader))
    assert columns["lip_score"] is None and columns["num_people"] == 1


# --- picture -------------------------------------------------------------------------------------


def test_cuts_are_found_to_the_frame_and_flashes_are_not_scenes(tmp_path):
    frames = np.concatenate([np.full((40, 96, 128, 3), c, np.uint8) for c in COLOURS])
    write_film(tmp_path / "film.mp4", frames, np.zeros(5 * SPEECH_RATE_HZ, np.float32))
    watched = watch(tmp_path / "film.mp4", lambda f: [[] for _ in f], 12.0)
    assert [round(a * 24) for a, _ in scenes(watched, 27.0)] == [0, 40, 80]
    assert scenes(watched, 27.0)[-1][1] == pytest.approx(5.0)
    flash = replace(watched, content=np.zeros(120, np.float32))
    flash.content[[50, 52]] = 90.0  # within one colour
    assert [round(a * 24) for a, _ in scenes(flash, 27.0)] == [0]
    flash.content[[50, 52]], flash.content[[38, 40]] = 0.0, 90.0  # the colour changes after it
    assert [round(a * 24) for a, _ in scenes(flash, 27.0)] == [0, 38]


def test_a_modest_jump_in_a_still_picture_is_a_cut_and_in_a_lively_one_is_not():
    film = film_of([], 60)
    still, lively = np.full(120, 0.5, np.float32), np.full(120, 9.0, np.float32)
    still[60] = lively[60] = 20.0
    assert len(scenes(replace(film.watched, content=still), 27.0)) == 2
    assert len(scenes(replace(film.watched, content=lively), 27.0)) == 1


def test_flow_summary_tells_pan_from_zoom():
    moved = np.zeros((96, 128, 2), np.float32)
    moved[..., 0] = 0.1
    length, x, y, growth = flow_summary(moved)
    assert (length, x, y) == pytest.approx((0.1, 0.1, 0.0), abs=1e-6)
    assert growth == pytest.approx(0.0, abs=1e-6)
    away = np.stack(np.meshgrid(np.arange(128) - 63.5, np.arange(96) - 47.5), -1) / 128
    assert flow_summary((0.2 * away).astype(np.float32))[3] == pytest.approx(0.2, rel=0.05)
    assert camera_of(0.1, 0.0, 0.0) == "pan left"  # the picture goes right, the camera left
    assert camera_of(0.0, 0.0, 0.1) == "zoom in"
    assert camera_of(0.0, 0.001, 0.001) == "static"


def test_colours_have_the_names_people_give_them():
    assert [colour_name(np.array(c)) for c in COLOURS] == ["red", "green", "blue"]
    assert colour_name(np.array((128, 126, 130))) == "grey"


# --- clips ---------------------------------------------------------------------------------------


def test_long_scenes_are_cut_at_their_quietest_moments():
    levels = np.full(round(25 / WINDOW_S), -20.0)
    for at in (8.0, 16.4):
        levels[round(at / WINDOW_S)] = -60.0
    film = film_of([], 300, levels)
    spans = [(c.start_s, c.end_s) for c in clips(film, Thresholds(longest_s=10.0))]
    assert [round(start, 1) for start, _ in spans] == [0.0, 8.0, 16.4]
    assert spans[-1][1] == 25.0 and all(b - a <= 10.0 for a, b in spans)
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_people_are_followed_and_passers_by_are_left_out():
    left = [(look, 0.2 + 0.001 * look, 0.5) for look in range(48)]
    right = [(look, 0.8, 0.5) for look in range(48) if look not in (10, 11)]
    passer = [(look, 0.5, 0.9) for look in (5, 6)]
    film = film_of(sorted(right + left + passer), 48)
    clip = Clip(film, 0, 0.0, 4.0)
    assert len(tracks(clip)) == 3
    assert [len(p.looks) for p in clip.people] == [48, 46]
    assert clip.people[0].box[0] < clip.people[1].box[0]


def test_a_face_that_is_found_twice_or_lost_for_a_moment_stays_one():
    seen = [(look, 0.5, 0.5) for look in range(48) if not 20 <= look < 24]
    twice = seen + [(look, 0.54, 0.53) for look in range(10, 14)]
    film = film_of(sorted(twice), 48)
    assert [len(p.looks) for p in tracks(Clip(film, 0, 0.0, 4.0))] == [44]
    # one that jumps is at first somebody new, beside the one who is going
    film.watched.faces[film.watched.face_look >= 24, :4] += (0.13, 0, 0.13, 0)
    assert [len(p.looks) for p in tracks(Clip(film, 0, 0.0, 4.0))] == [24 - 4, 24]


def test_two_tracks_are_one_where_one_ends_as_the_other_begins():
    face = np.tile(np.array([0.4, 0.4, 0.6, 0.6, 1, 0.5, 0, 0.5, 0.5], np.float32), (30, 1))
    first, second = Person(np.arange(30), face), Person(np.arange(28, 58), face + 0.02)
    (one,) = joined([second, first], patience=6)
    assert one.looks.tolist() == list(range(58))
    aside = Person(np.arange(28, 58), face + 0.5)
    assert len(joined([first, aside], patience=6)) == 2
    later = Person(np.arange(40, 70), face)
    assert len(joined([first, later], patience=6)) == 2


def test_a_face_that_is_never_certain_is_nobody():
    film = film_of([(look, 0.5, 0.5) for look in range(24)], 48)
    assert len(Clip(film, 0, 0.0, 4.0).people) == 1
    film.watched.faces[:, 4] = 0.5
    assert len(Clip(film, 0, 0.0, 4.0).people) == 0


def test_a_face_far_away_is_somebody_else():
    assert not clips_module.close(np.array([0, 0, 0.1, 0.1]), np.array([0.5, 0, 0.6, 0.1]))


# --- lips ----------------------------------------------------------------------------------------


def talking(seed: int, num: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Mel frames, and a mouth that opens with one of their bands."""
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.standard_normal(num + 8), np.ones(5) / 5, "same")[4:-4]
    mel = 0.3 * rng.standard_normal((num, 20))
    mel[:, 7] += 3 * smooth
    return mel, smooth + 0.2 * rng.standard_normal(num)


def test_correlations_find_the_delay_of_a_copy():
    signal = talking(0)[1]
    late = np.concatenate([np.zeros(6), signal[:-6]])
    curve = correlations(signal, late, 26)
    assert int(curve.argmax()) - 26 == 6
    assert curve.max() > 0.95
    brute = np.corrcoef(signal[:-6], late[6:])[0, 1]
    assert curve[26 + 6] == pytest.approx(brute, abs=1e-9)


def test_lips_are_scored_by_a_fold_that_has_not_seen_their_film():
    films = [f"film {i}" for i in range(30)]
    samples = [(film, mel_context(mel), m) for i, film in enumerate(films)
               for mel, m in [talking(i)]]  # fmt: skip
    reader = fit(samples, pull=10.0)
    fold = fold_of(films[0])
    without = fit([s for s in samples if fold_of(s[0]) != fold], pull=10.0)
    np.testing.assert_allclose(reader.weights[fold], without.weights[fold])
    mel, opening = talking(99)
    guess = mel_context(mel) @ reader.weights[0]
    own, other = compare(guess, opening), compare(guess, talking(98)[1])
    assert own.lag == 0 and own.score > 0.9 > 0.5 > other.score
    moved = compare(guess, np.concatenate([np.zeros(10), opening[:-10]]))
    assert moved.lag == 10 and moved.score < 0.3 and moved.shifted > 0.9


def test_swapped_sound_in_the_sample_does_not_spoil_the_fit():
    rng = np.random.default_rng(0)
    samples = [(f"film {i}", mel_context(talking(i)[0]),
                talking(i if rng.random() < 0.6 else i + 500)[1]) for i in range(60)]  # fmt: skip
    reader = fit(samples, pull=10.0)
    scores = [compare(mel_context(m) @ reader.weights[0], o).score
              for m, o in (talking(i) for i in range(900, 920))]  # fmt: skip
    assert np.mean(np.array(scores) > 0.6) > 0.9


def test_lip_readers_are_stored_to_the_last_bit(tmp_path):
    reader = LipReader(np.random.default_rng(0).standard_normal((FOLDS, 180)), 7, "1-x")
    reader.save(tmp_path / "lips.json")
    once = LipReader.load(tmp_path / "lips.json")
    once.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "lips.json").read_bytes()
    (tmp_path / "lips.json").write_text("{}")
    with pytest.raises(ValueError, match="no lip reader"):
        LipReader.load(tmp_path / "lips.json")


def test_a_reader_with_a_hidden_layer_reads_what_a_linear_one_cannot(tmp_path):
    """Two units that answer to the same band from either side: together, its absolute value."""
    hidden = np.zeros((2, 181))
    hidden[0, 80 + 7], hidden[1, 80 + 7] = 1.0, -1.0
    hidden[:, -1] = -1.0
    reader = LipReader(np.tile([1.0, 1.0], (FOLDS, 1)), 3, "drawn", hidden)
    reader.save(tmp_path / "lips.json")
    loaded = LipReader.load(tmp_path / "lips.json")
    mel = np.zeros((60, 20))
    mel[:, 7] = np.tile([2.0, -2.0, 0.0], 20)
    found = loaded.guess("film", mel)
    scale = mel.std()  # the clip's mean is zero
    wanted = np.tanh(mel[:, 7] / scale - 1) + np.tanh(-mel[:, 7] / scale - 1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(loaded.guess("film", 5 * mel), found, atol=1e-4)
    (tmp_path / "lips.json").write_text('{"weights": [[1]], "num_clips": 1, "version": "1"}')
    with pytest.raises(ValueError, match="fit it again"):
        LipReader.load(tmp_path / "lips.json")


def test_the_shipped_reader_of_drawn_mouths_hears_them():
    pytest.importorskip("espeakng_loader")
    from openmocha.toon.films import FPS
    from openmocha.toon.mouths import mouth_track
    from openmocha.toon.stories import make_story
    from openmocha.toon.turns import spoken_turns

    reader, rs = LipReader.load(SHIPPED_TOON), []
    for seed in range(5000, 5004):
        turns = spoken_turns(make_story(seed, "close-up", "test"), 128, FPS)
        opening = mouth_track(turns[0].phones, 128, FPS)[:, 0]
        sound = np.pad(turns[0].speech + 1e-4, 400)
        guess = reader.guess("film", log_mel(sound, -400, range(128)))
        rs.append(np.corrcoef(guess, opening)[0, 1])
    assert min(rs) > 0.6 and np.mean(rs) > 0.75


def test_what_is_heard_beside_a_cut_is_not_held_against_the_lips():
    mel, opening = talking(7, 192)
    mel[-4:] += 9.0  # somebody else begins
    faces = [(look, 0.5, 0.5) for look in range(192)]
    film = film_of(faces, 192)
    film.watched.look_s[:] = np.arange(192) / 24
    film.watched.faces[:, 5] = opening
    longer = replace(film, heard=replace(film.heard, mel=np.concatenate([mel, mel])))
    weights = np.zeros(180)
    weights[80 + 7] = 1.0
    reader = LipReader(np.tile(weights, (FOLDS, 1)), 1, "1")
    whole = compare(reader.guess("f", mel), opening)
    clip = Clip(longer, 0, 0.0, 8.0)
    assert read_lips(reader, "f", clip, clip.people[0]).score > whole.score + 0.2


# --- cutting out ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("films") / "numbered.mp4"
    ramp = np.linspace(0, 0.5, 5 * SPEECH_RATE_HZ).astype(np.float32)
    with FilmWriter(path, 128, 96, ramp) as film:
        film.write(striped(120))
    return path


@pytest.mark.parametrize("start", [0, 37, 100])
def test_clips_are_cut_out_to_the_frame(numbered, start):
    times = frame_times(start / 24, (start + 12) / 24)
    frames = clip_frames(numbered, start / 24, times)
    levels = [float(f[:, 4:60].mean()) / 2 for f in frames]
    assert len(frames) == 12
    np.testing.assert_allclose(levels, np.arange(start, start + 12), atol=0.7)


def test_frames_of_another_rate_are_taken_when_they_are_shown(tmp_path):
    with FilmWriter(tmp_path / "slow.mp4", 128, 96, None, fps=12) as film:
        film.write(striped(24))
    frames = clip_frames(tmp_path / "slow.mp4", 0.0, frame_times(0.0, 1.0))
    levels = [float(f[:, 4:60].mean()) / 2 for f in frames]
    np.testing.assert_allclose(levels, np.arange(24) // 2, atol=0.6)


def uneven_film(path: Path) -> np.ndarray:
    """A film of odd size whose first 24 frames last 1/24 s each and the next 12 twice as long, as
    phones write them; returns when each is shown."""
    import av

    ticks = np.concatenate([np.arange(24), 24 + 2 * np.arange(12)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 129, 97, "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 24)
        for tick, pixels in zip(ticks, striped(36, (97, 129)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = int(tick), Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return ticks / 24


def test_frames_of_a_changing_rate_and_odd_size_are_seen_when_they_are_shown(tmp_path):
    shown_s = uneven_film(tmp_path / "film.mp4")
    watched = watch(tmp_path / "film.mp4", lambda frames: [[] for _ in frames], 12.0)
    np.testing.assert_allclose(watched.frame_s, shown_s, atol=1e-3)
    np.testing.assert_allclose(watched.look_s[:12], np.arange(12) / 12, atol=1e-3)
    frames = clip_frames(tmp_path / "film.mp4", 0.5, frame_times(0.5, 1.75))
    assert frames[0].shape == (97, 129, 3)
    levels = [float(f[:, 4:60].mean()) / 2 for f in frames]
    expected = [*range(12, 24), *(24 + np.arange(18) // 2)]
    np.testing.assert_allclose(levels, expected, atol=0.7)


def test_cropping_keeps_the_face_in_the_middle_where_it_can():
    rows, columns = crop_around([0.7, 0.2, 0.8, 0.5], 1000, 500, 1.0)
    assert (rows.start, rows.stop) == (0, 500)
    assert columns == slice(500, 1000)  # the middle would be 750
    assert crop_around([0.0, 0.2, 0.1, 0.5], 1000, 500, 1.0)[1] == slice(0, 500)
