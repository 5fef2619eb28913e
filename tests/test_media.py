"""Media in and out: bad speech of every kind, films whole or not at all, contact sheets."""

import errno
import io
import os
import signal
import struct
import subprocess
import sys
import time
import wave

import av
import numpy as np
import pytest

from openmocha import media
from openmocha.contact_sheet import SheetFrames, contact_sheet, write_png
from openmocha.media import FilmWriter, load_speech, read_film, write_film
from openmocha.whole_file import check_output, write_bytes


def tone(seconds=1.0, rate=16_000, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(
        "float32"
    )


def write_wav(path, channels, rate=16_000, width=2):
    samples = np.stack(channels, axis=1)
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], width, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def write_float_wav(path, samples, rate=16_000):
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1, rate,
                       rate * 4, 4, 32)  # fmt: skip
    path.write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)
    return path


def moving_bar(num_frames=24, height=64, width=96):
    frames = np.full((num_frames, height, width, 3), (40, 80, 160), np.uint8)
    for t in range(num_frames):
        frames[t, :, 2 * t : 2 * t + 16] = (220, 180, 40)
    return frames


# --- speech --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_speech_of_any_rate_keeps_its_pitch_level_and_length(tmp_path, rate):
    speech = load_speech(write_wav(tmp_path / "a.wav", [tone(1.0, rate)], rate))
    assert speech.dtype == np.float32 and abs(len(speech) - 16_000) <= 1
    middle = slice(2_000, 14_000)
    assert np.abs(speech[:16_000] - tone()[: len(speech)])[middle].max() < 2e-3


def test_channels_are_averaged(tmp_path):
    left, right = tone(hz=300), tone(hz=700)
    speech = load_speech(write_wav(tmp_path / "a.wav", [left, right]))
    assert np.abs(speech - (left + right) / 2).max() < 1e-4


def test_speech_of_a_video_file(tmp_path):
    write_film(tmp_path / "a.mp4", moving_bar(), tone(1.0))
    speech = load_speech(tmp_path / "a.mp4")
    assert np.corrcoef(speech[2_000:14_000], tone()[2_000:14_000])[0, 1] > 0.99


def bad_speech_files(folder):
    """name -> (file, what the message must say); also used by the tests of the command line."""
    silent_film = folder / "silent.mp4"
    write_film(silent_film, moving_bar(2))
    (folder / "empty.wav").touch()
    (folder / "noise.wav").write_bytes(bytes(range(256)) * 40)
    (folder / "text.wav").write_text("this is no recording\n" * 50)
    whole = io.BytesIO()
    with av.open(whole, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        samples = (tone(2.0) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (folder / "broken.flac").write_bytes(whole.getvalue()[:300] + b"\xff" * 4_000)
    nan = tone()
    nan[8_000:8_010] = np.nan
    infinite = tone()
    infinite[100] = np.inf
    return {
        "missing": (folder / "none.wav", "does not exist"),
        "folder": (folder, "is a folder"),
        "empty": (folder / "empty.wav", "is empty (0 bytes)"),
        "corrupt": (folder / "noise.wav", "cannot be decoded"),
        "broken": (folder / "broken.flac", "cannot be decoded"),
        "not audio": (folder / "text.wav", "cannot be decoded"),
        "no sound": (silent_film, "has no sound"),
        "zero length": (write_wav(folder / "zero.wav", [tone(0)]), "0 s long"),
        "short": (write_wav(folder / "short.wav", [tone(0.19)]), "0.190 s long; at least 0.2 s"),
        "NaN": (write_float_wav(folder / "nan.wav", nan), "NaN"),
        "infinite": (write_float_wav(folder / "inf.wav", infinite), "the first at 0.0"),
    }


def test_bad_speech_is_refused_with_the_reason(tmp_path):
    for name, (file, message) in bad_speech_files(tmp_path).items():
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            load_speech(file)
        assert message in str(error.value), (name, str(error.value))
        assert "\n" not in str(error.value)


def test_the_shortest_speech_allowed(tmp_path):
    assert len(load_speech(write_wav(tmp_path / "a.wav", [tone(0.2)]))) == 3_200


def test_silence_is_told_from_speech():
    noise = np.random.default_rng(0).uniform(-5e-4, 5e-4, 16_000).astype("float32")
    assert media.is_silent(np.zeros(16_000, np.float32)) and media.is_silent(noise)
    assert not media.is_silent(0.01 * tone())


def test_joined_speeches_have_a_pause_between_them():
    joined = media.join_speeches([tone(0.5), tone(0.3)], gap_s=0.2)
    assert len(joined) == 16_000
    assert (joined[8_000:11_200] == 0).all()
    assert (joined[:8_000] == tone(0.5)).all() and (joined[11_200:] == tone(0.3)).all()


# --- films ---------------------------------------------------------------------------------------


def test_film_comes_back_with_picture_sound_and_metadata(tmp_path):
    frames, speech = moving_bar(48), tone(2.0) * np.linspace(0, 1, 32_000, dtype=np.float32)
    metadata = {"prompt": "A “cat”\ntalks; é = 1 # \\", "seed": 7, "settings": {"steps": 30}}
    write_film(tmp_path / "a.mp4", frames, speech, metadata=metadata)
    film = read_film(tmp_path / "a.mp4")
    assert film.metadata == metadata and film.fps == 24
    assert film.frames.shape == frames.shape
    assert np.abs(film.frames.astype(int) - frames).mean() < 4
    lags = range(-1_200, 1_201, 60)
    at = slice(4_000, 28_000)
    fits = [np.corrcoef(speech[at], film.speech[4_000 + k : 28_000 + k])[0, 1] for k in lags]
    assert lags[int(np.argmax(fits))] == 0 and max(fits) > 0.99
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_streams_are_what_players_expect(tmp_path):
    write_film(tmp_path / "a.mp4", moving_bar(), tone(1.0), metadata={"prompt": "A cat."})
    with av.open(str(tmp_path / "a.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt) == ("h264", "yuv420p")
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 16_000, 1)
        assert container.metadata["title"] == "A cat."
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "the index comes first, for the web"


def test_pieces_make_the_same_film_as_the_whole(tmp_path):
    frames, speech = moving_bar(), tone(1.0)
    write_film(tmp_path / "whole.mp4", frames, speech)
    with FilmWriter(tmp_path / "pieces.mp4", 96, 64, speech) as film:
        for start in range(0, 24, 4):
            film.write(frames[start : start + 4])
    whole, pieces = read_film(tmp_path / "whole.mp4"), read_film(tmp_path / "pieces.mp4")
    assert (whole.frames == pieces.frames).all()
    assert (whole.speech == pieces.speech).all()


def test_speech_is_cut_to_the_film(tmp_path):
    write_film(tmp_path / "a.mp4", moving_bar(12), tone(3.0))
    assert abs(len(read_film(tmp_path / "a.mp4").speech) - 8_000) <= 1_024  # one AAC frame


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("no/a.mp4", FileNotFoundError, "output folder"),
        ("a.avi", ValueError, "must end in .mp4"),
        ("folder.mp4", IsADirectoryError, "is a folder"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, kind, message):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(kind, match=message):
        check_output(tmp_path / name, ".mp4")
    with pytest.raises(kind, match=message):
        write_film(tmp_path / name, moving_bar(2))
    assert os.listdir(tmp_path) == ["folder.mp4"]


def test_odd_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="97x64"):
        FilmWriter(tmp_path / "a.mp4", 97, 64)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_film_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older film")
    with pytest.raises(error), FilmWriter(path, 96, 64, tone()) as film:
        film.write(moving_bar(4))
        raise error
    assert os.listdir(tmp_path) == ["a.mp4"] and path.read_bytes() == b"an older film"


LIMITED = """
import resource, signal, sys
import numpy as np
from openmocha.media import write_film
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
noise = np.random.default_rng(0).integers(0, 256, (48, 64, 96, 3), dtype=np.uint8)
try:
    write_film(sys.argv[1], noise)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_write_that_fails_is_an_error_and_leaves_nothing(tmp_path, share):
    """A file size limit stands for the full disk, and lets the failure come at any moment."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 96, 3), dtype=np.uint8)
    write_film(tmp_path / "whole.mp4", noise)
    limit = int(share * (tmp_path / "whole.mp4").stat().st_size)
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "a.mp4"), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "could not be written" in result.stdout, result
    assert os.listdir(tmp_path) == ["whole.mp4"]


def test_full_disk(small_disk):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 96, 3), dtype=np.uint8)
    with pytest.raises(OSError, match="the disk is full; no part of it was left behind"):
        write_film(small_disk / "a.mp4", noise, tone(2.0))
    with pytest.raises(OSError, match="the disk is full"):
        write_png(small_disk / "a.png", np.concatenate(list(noise)))
    assert os.listdir(small_disk) == []


def test_other_programs_films_have_no_metadata_of_ours():
    assert media.parse_metadata("made with love") == {}
    assert media.parse_metadata("[1]") == {} and media.parse_metadata("") == {}


def test_what_is_no_film_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_film(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="has no picture"):
        read_film(write_wav(tmp_path / "a.wav", [tone()]))


def test_write_bytes_replaces_whole_files(tmp_path):
    (tmp_path / "a").write_text("old")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]
    with pytest.raises(OSError) as error:
        write_bytes(tmp_path / "no" / "a", b"new")
    assert error.value.errno is None or error.value.errno == errno.ENOENT


# --- contact sheet -------------------------------------------------------------------------------


def test_contact_sheet_shows_a_frame_per_half_second():
    frames = np.zeros((128, 16, 32, 3), np.uint8)
    frames[:] = np.arange(128)[:, None, None, None]
    kept = SheetFrames()
    for piece in (frames[:5], frames[5:61], frames[61:]):  # pieces need not fit half seconds
        kept(piece)
    sheet = contact_sheet(kept.kept)
    assert sheet.shape == (2 * 20 - 4, 6 * 36 - 4, 3)
    shown = [sheet[20 * row, 36 * column, 0] for row in range(2) for column in range(6)]
    assert shown == [0, 12, 24, 36, 48, 60, 72, 84, 96, 108, 120, 255]


def test_png_is_read_back_by_another_decoder(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", image)
    with av.open(str(tmp_path / "a.png")) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert (decoded == image).all()


STOPPED = """
import numpy as np, sys
from openmocha.media import FilmWriter
from openmocha.terminal import heed_interrupts
heed_interrupts()  # whoever runs tests in the background has SIGINT ignored
with FilmWriter(sys.argv[1], 96, 64) as film:
    print("writing", flush=True)
    while True:
        film.write(np.zeros((4, 64, 96, 3), np.uint8))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path, number):
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "a.mp4")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.1)
        assert len(os.listdir(tmp_path)) == 1
        process.send_signal(number)
        try:
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert os.listdir(tmp_path) == []
