"""Baselines through stand-in programs: the exact commands, environments and files they receive, the
films that are kept of what they write, and every way in which they fail."""

import json
import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from stand_in_baselines import PANEL_COLOURS, calls_of, checkout, ended, write
from typer.testing import CliRunner

from openmocha.cli import app
from openmocha.curation.faces import Face
from openmocha.evaluation.baselines import program as program_module
from openmocha.evaluation.baselines.aniportrait import missing_silence_s
from openmocha.evaluation.baselines.first_frame import crop_box, first_frame
from openmocha.evaluation.baselines.panel import cut_panel, panel_box
from openmocha.evaluation.baselines.program import last_lines
from openmocha.evaluation.baselines.run import run_baseline
from openmocha.evaluation.mochabench import Item
from openmocha.evaluation.score_table import write_run
from openmocha.media import load_image, read_film, write_film

WIDTH, HEIGHT = 192, 128
FACE = Face(0.60, 0.20, 0.80, 0.50, 1, 0.1, 0, 0.7, 0.45)  # middle at pixel (134.4, 44.8)


def one_face(frames: list[np.ndarray]) -> list[list[Face]]:
    small = Face(0.1, 0.1, 0.2, 0.2, 1, 0.1, 0, 0.15, 0.18)
    return [[small, FACE] for _ in frames]


def no_face(frames: list[np.ndarray]) -> list[list[Face]]:
    return [[] for _ in frames]


def write_wav(path: Path, seconds: float, rate: int = 44_100) -> None:
    """A stereo recording as the benchmark's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(seconds * rate)) / rate
    tone = (8000 * np.sin(2 * np.pi * 220 * time_s)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([tone, -tone], axis=1).tobytes())


def columns(width: int, height: int) -> np.ndarray:
    """A picture whose red says the column and whose green says the row."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.arange(width)[None]
    picture[..., 1] = np.arange(height)[:, None]
    picture[..., 2] = 128
    return picture


def item_of(
    folder: Path, name: str = "1_man", seconds: float = 0.5, prompt: str = "A man."
) -> Item:
    speech = folder / f"benchmark/speeches/1p_emotion/{name}_speech.wav"
    write_wav(speech, seconds)
    return Item(1, "1p_emotion", name, prompt, speech, None, None)


def source_run(folder: Path, *items: Item, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A run with films whose first frame differs from the later ones."""
    frames = np.stack([columns(*size), *[np.full((size[1], size[0], 3), 255, np.uint8)] * 3])
    for item in items:
        (folder / "run" / item.category).mkdir(parents=True, exist_ok=True)
        write_film(folder / "run" / f"{item.name}.mp4", frames)
    return folder / "run"


def record_of(output: Path) -> dict:
    return json.loads((output / "baseline.json").read_text())


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setattr(program_module, "PATIENCE_S", 2.0)
    return tmp_path


# --- exact commands and films --------------------------------------------------------------------


def test_sadtalker_gets_its_command_and_the_whole_frame(tmp: Path):
    item, repo, output = item_of(tmp), checkout(tmp / "SadTalker", "sadtalker"), tmp / "out"
    run = source_run(tmp, item)
    kept = {}

    def look(words: str) -> None:
        kept["words"] = words

    result = run_baseline("sadtalker", repo, [item], output, run=run, say=look)
    assert result == {"items": 1, "done": 1, "failed": 0}
    (call,) = calls_of(repo)
    work = output / ".work/1p_emotion/1_man"
    image = call["arguments"][call["arguments"].index("--source_image") + 1]
    assert call["arguments"] == [
        "--driven_audio", str(item.speech), "--source_image", image,
        "--result_dir", str(work / "results"), "--preprocess", "full", "--still",
        "--enhancer", "gfpgan",
    ]  # fmt: skip
    assert Path(image).parent == work and Path(image).stem.startswith("1_man-")
    assert call["cwd"] == str(repo)
    environment = call["environment"]
    assert environment["STAND_IN_PYTHON"] == str(repo / ".venv/bin/python")
    assert environment["PATH"].split(os.pathsep)[0] == str(repo / ".venv/bin")
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"} & set(environment)
    film = read_film(output / "1p_emotion/1_man.mp4")
    assert film.frames.shape == (12, 104, 192, 3) and film.fps == 25 and film.speech is not None
    entry = record_of(output)["items"][item.name]
    assert entry["command"] == [str(repo / ".venv/bin/python"), "inference.py", *call["arguments"]]
    assert entry["crop"] == {"rule": "full", "box": [0, 0, WIDTH, HEIGHT]}
    assert entry["film"] == {"size": [192, 104], "fps": 25.0, "frames": 12, "sound": "aac"}
    assert entry["exit_code"] == 0 and entry["duration_s"] > 0
    assert not work.exists() and "1/1 1p_emotion/1_man: done" in kept["words"]


def test_aniportrait_gets_its_config_and_its_third_panel_is_kept_with_its_sound(tmp: Path):
    item = item_of(tmp, seconds=5.3)
    repo, output = checkout(tmp / "Ani Portrait", "aniportrait"), tmp / "out"
    run_baseline(
        "aniportrait", repo, [item], output, run=source_run(tmp, item), find_faces=one_face
    )
    (call,) = calls_of(repo)
    work = output / ".work/1p_emotion/1_man"
    assert call["arguments"] == [
        "--config", str(work / "aniportrait.yaml"), "-W", "512", "-H", "512", "-acc",
    ]  # fmt: skip
    config, own = (
        yaml.safe_load(text)
        for text in (
            call["--config"],
            (repo / "configs/prompts/animation_audio.yaml").read_text(),
        )
    )
    ((image, speeches),) = config.pop("test_cases").items()
    del own["test_cases"]
    assert config == own and speeches == [str(item.speech)] and Path(image).parent == work
    assert call["cwd"] == str(repo)
    entry = record_of(output)["items"][item.name]
    assert entry["command"][1:3] == ["-m", "scripts.audio2vid"]
    assert "silence_added_s" not in entry and entry["crop"]["rule"] == "person-square"
    film = read_film(output / "1p_emotion/1_man.mp4")
    assert film.frames.shape == (157, 512, 512, 3) and film.fps == 30
    # everywhere the third panel's own colour: no padding, nothing of its neighbours
    for number in (0, 78, 156):  # the outermost pixels took on colour when the strip was encoded
        off = abs(film.frames[number].astype(np.int16) - PANEL_COLOURS[2])
        assert off[2:-2, 2:-2].max() <= 4 and off.max() <= 25
    strip_sound = 16_000 * 157 // 30
    assert film.speech is not None and abs(len(film.speech) - strip_sound) < 3000
    assert abs(film.speech[8000:40_000]).max() > 0.2
    assert not list((repo / "output").rglob("*_0304.mp4"))


def test_hallo3_gets_one_line_per_item_and_the_variables_of_a_single_process(tmp: Path):
    item = item_of(tmp, prompt="Two video clips.\n\nFirst clip:  She talks.")
    repo, output = checkout(tmp / "hallo3", "hallo3"), tmp / "out"
    run_baseline("hallo3", repo, [item], output, run=source_run(tmp, item))
    (call,) = calls_of(repo)
    work = output / ".work/1p_emotion/1_man"
    assert call["arguments"] == [
        "--base", "./configs/cogvideox_5b_i2v_s2.yaml", "./configs/inference.yaml",
        "--seed", "42", "--input-file", str(work / "in.txt"), "--output-dir", str(work / "results"),
    ]  # fmt: skip
    (line,) = call["--input-file"].splitlines()
    prompt, image, speech = line.split("@@")
    assert prompt == "Two video clips. First clip: She talks."
    assert Path(image).parent == work and speech == str(item.speech)
    variables = {name: call["environment"][name] for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    assert variables == {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    assert call["environment"]["LOCAL_WORLD_SIZE"] == "1"
    entry = record_of(output)["items"][item.name]
    assert entry["command"][1] == "hallo3/sample_video.py"
    assert entry["prompt_on_one_line"] == prompt and entry["crop"]["rule"] == "full"
    assert entry["film"]["frames"] == 13 and entry["film"]["sound"] == "mp3"
    assert read_film(output / "1p_emotion/1_man.mp4").speech is not None


def test_hallo3_refuses_a_prompt_that_holds_its_separator(tmp: Path):
    item = item_of(tmp, prompt="Write to a@@b.")
    repo, output = checkout(tmp / "hallo3", "hallo3"), tmp / "out"
    result = run_baseline("hallo3", repo, [item], output, run=source_run(tmp, item))
    assert result["failed"] == 1 and not calls_of(repo)
    assert '"@@"' in record_of(output)["items"][item.name]["reason"]


def test_the_command_makes_films_and_says_how_many(tmp: Path):
    item = item_of(tmp)
    (tmp / "benchmark/benchmark.csv").write_text(
        "idx_in_category,category,context_id,prompt\n"
        '1,1p_emotion,1_man,"""A man."""\n2,1p_emotion,2_mute,"""A mute."""\n'
    )
    repo = checkout(tmp / "SadTalker", "sadtalker")
    command = [
        "bench", "baseline", "sadtalker", "--repo", repo, "--benchmark", tmp / "benchmark",
        "--from", source_run(tmp, item), "--output", tmp / "out", "--crop", "person-square",
        "--faces", "toon", "--limit-s", 60, "--json",
    ]  # fmt: skip
    told = CliRunner().invoke(app, [str(word) for word in command])
    assert told.exit_code == 1
    counts = {"items": 2, "done": 1, "failed": 1}
    assert json.loads(told.stdout) == {"output": str(tmp / "out"), **counts}
    assert "2/2 1p_emotion/2_mute: failed: its speech" in told.stderr
    record = record_of(tmp / "out")
    assert (record["crop"], record["faces"]) == ("person-square", "toon")
    assert (tmp / "out/1p_emotion/1_man.mp4").is_file()
    del command[5:7]  # without --benchmark
    told = CliRunner().invoke(app, [str(word) for word in command])
    assert told.exit_code == 2 and "which benchmark?" in told.stderr
    write_run(command[6], {"benchmark": str(tmp / "benchmark")})  # of --from
    told = CliRunner().invoke(app, [str(word) for word in command])
    assert told.exit_code == 1 and json.loads(told.stdout)["done"] == 1
    command[4] = tmp / "nothing"
    told = CliRunner().invoke(app, [str(word) for word in command])
    assert told.exit_code == 2 and told.stderr.startswith("error: ")
    assert len(told.stderr.splitlines()) == 1 and "is no checkout of SadTalker" in told.stderr


# --- pictures and crops --------------------------------------------------------------------------


def given_image(
    tmp: Path, system: str, size: tuple[int, int], **settings
) -> tuple[np.ndarray, dict]:
    """The picture that a system was given, kept because the program fails."""
    item, repo, output = item_of(tmp), checkout(tmp / system, system, "fail"), tmp / "out"
    run = source_run(tmp, item, size=size)
    run_baseline(system, repo, [item], output, run=run, **settings)
    (image,) = (output / ".work/1p_emotion/1_man").glob("*.png")
    return load_image(image), record_of(output)["items"][item.name]


def test_the_picture_is_the_cropped_first_frame_not_a_later_one(tmp: Path):
    image, entry = given_image(
        tmp, "sadtalker", (WIDTH, HEIGHT), crop="head-square", find_faces=one_face
    )
    # 2.5 times 0.3 of 128 is 96; 134.4 - 48 = 86.4; 44.8 - 48 is above the picture
    assert entry["crop"]["box"] == [86, 0, 182, 96]
    assert entry["crop"]["face"] == [0.6, 0.2, 0.8, 0.5]
    expected = columns(WIDTH, HEIGHT)[0:96, 86:182].astype(int)
    assert image.shape == (96, 96, 3) and abs(image.astype(int) - expected).mean() < 6
    assert entry["first_frame"]["source"] == str(tmp / "run/1p_emotion/1_man.mp4")
    assert entry["first_frame"]["size"] == [WIDTH, HEIGHT]
    assert len(entry["first_frame"]["sha256"]) == len(entry["image_sha256"]) == 64


def test_an_upright_frame_is_given_to_hallo3_as_a_square(tmp: Path):
    image, entry = given_image(tmp, "hallo3", (HEIGHT, WIDTH), find_faces=one_face)
    assert image.shape == (HEIGHT, HEIGHT, 3) and entry["crop"]["rule"] == "person-square"
    assert entry["crop"]["box"] == [0, 3, 128, 131]  # 0.35 of 192 is 67.2, less 64


def test_first_frames_of_the_benchmark_are_used_where_no_run_is_given(tmp: Path):
    from openmocha.contact_sheet import write_png

    item, repo = item_of(tmp), checkout(tmp / "repo", "sadtalker", "fail")
    write_png(tmp / "first.png", columns(64, 48))
    item = Item(**{**vars(item), "first_frame": tmp / "first.png"})
    run_baseline("sadtalker", repo, [item], tmp / "out")
    (image,) = (tmp / "out/.work/1p_emotion/1_man").glob("*.png")
    np.testing.assert_array_equal(load_image(image), columns(64, 48))
    assert record_of(tmp / "out")["first_frames_from"] == "the benchmark"


@pytest.mark.parametrize(
    ("crop", "size", "face", "box"),
    [
        ("full", (976, 528), FACE, (0, 0, 976, 528)),
        ("person-square", (976, 528), FACE, (419, 0, 947, 528)),  # 683.2 - 264
        ("person-square", (976, 528), FACE._replace(x0=0.0, x1=0.1), (0, 0, 528, 528)),
        ("person-square", (976, 528), FACE._replace(x0=0.9, x1=1.0), (448, 0, 976, 528)),
        ("person-square", (976, 528), None, (224, 0, 752, 528)),
        ("person-square", (528, 976), FACE, (0, 78, 528, 606)),  # 341.6 - 264
        ("head-square", (976, 528), FACE, (485, 0, 881, 396)),  # side 2.5 * 158.4
        ("head-square", (528, 976), FACE._replace(y0=0.0, y1=0.9), (0, 175, 528, 703)),
    ],
)
def test_crop_boxes(crop, size, face, box):
    assert crop_box(crop, *size, face) == box


def test_a_head_square_without_a_face_fails_and_the_run_goes_on(tmp: Path):
    items = [item_of(tmp, "1_cat"), item_of(tmp, "2_dog")]
    repo = checkout(tmp / "repo", "sadtalker")
    result = run_baseline(
        "sadtalker", repo, items, tmp / "out", run=source_run(tmp, items[1]), crop="head-square",
        find_faces=no_face,
    )  # fmt: skip
    entries = record_of(tmp / "out")["items"]
    assert result["failed"] == 2 and not calls_of(repo)
    assert "there is no film" in entries["1p_emotion/1_cat"]["reason"]
    assert "no face is found" in entries["1p_emotion/2_dog"]["reason"]


def test_the_first_frame_of_a_turned_film_is_upright(tmp: Path):
    """Phones store a rotation instead of turning the picture."""
    with av.open(str(tmp / "plain.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        frame = av.VideoFrame.from_ndarray(columns(WIDTH, HEIGHT), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = bytearray((tmp / "plain.mp4").read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # the matrix of the track's header
    turn = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turn)
    (tmp / "turned.mp4").write_bytes(content)
    assert first_frame(tmp / "plain.mp4").shape == (HEIGHT, WIDTH, 3)
    assert first_frame(tmp / "turned.mp4").shape == (WIDTH, HEIGHT, 3)


# --- sound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 4.99, 5.0, 5.3, 9.5, 9.98, 10.0, 10.1, 15.0])
def test_silence_makes_pieces_that_can_be_joined(seconds: float):
    """More than one piece of 5 s, and frames left over for the last."""
    full = seconds + missing_silence_s(seconds)
    assert full > 5 and np.ceil(round(full * 30, 6)) % 150 != 0
    if seconds in (5.3, 9.5, 10.1):
        assert missing_silence_s(seconds) == 0


def test_aniportrait_is_given_silence_after_five_seconds_and_its_film_is_cut_back(tmp: Path):
    item = item_of(tmp, seconds=0.5)
    repo, output = checkout(tmp / "repo", "aniportrait"), tmp / "out"
    run_baseline("aniportrait", repo, [item], output, run=source_run(tmp, item), find_faces=no_face)
    entry = record_of(output)["items"][item.name]
    assert entry["silence_added_s"] == pytest.approx(4.6) and entry["crop"]["face"] is None
    film = read_film(output / "1p_emotion/1_man.mp4")
    assert len(film.frames) == 15
    assert film.speech is not None and len(film.speech) < 0.6 * 16_000
    assert entry["film"]["frames"] == 15


def test_a_config_with_head_poses_needs_no_silence(tmp: Path):
    item, repo = item_of(tmp), checkout(tmp / "repo", "aniportrait", "fail")
    config = repo / "configs/prompts/animation_audio.yaml"
    config.write_text("pose_temp: './pose_temp.npy'\n" + config.read_text())
    run_baseline(
        "aniportrait", repo, [item], tmp / "out", run=source_run(tmp, item), find_faces=no_face
    )
    ((_, speeches),) = yaml.safe_load(calls_of(repo)[0]["--config"])["test_cases"].items()
    assert speeches == [str(item.speech)]


def test_speech_that_is_no_wav_is_written_as_one(tmp: Path):
    item, repo = item_of(tmp), checkout(tmp / "repo", "hallo3", "fail")
    speech = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.5
    write_film(tmp / "speech.mp4", np.zeros((24, 64, 64, 3), np.uint8), speech)
    item = Item(**{**vars(item), "speech": tmp / "speech.mp4"})
    run_baseline("hallo3", repo, [item], tmp / "out", run=source_run(tmp, item))
    given = Path(calls_of(repo)[0]["--input-file"].strip().split("@@")[2])
    with wave.open(str(given)) as file:
        assert file.getparams()[:3] == (1, 2, 16_000)
        written = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    middle = slice(4000, 12_000)
    assert np.corrcoef(written[middle], speech[middle])[0, 1] > 0.99


# --- strips --------------------------------------------------------------------------------------


def test_the_third_panel_of_the_usual_strip():
    assert panel_box(1544, 516, 2) == (1030, 2, 1542, 514)
    assert panel_box(3 * 256 + 8, 260, 0) == (2, 2, 258, 258)
    with pytest.raises(ValueError, match="the film is 1545x516"):
        panel_box(1545, 516, 2)


def test_panels_are_the_strips_own_pixels_encoded_once_more(tmp: Path):
    write(tmp / "strip.mp4", list(PANEL_COLOURS), (96, 64), 30, 12, "aac", padding=2)
    strip = read_film(tmp / "strip.mp4")
    for panel in range(3):
        cut_panel(tmp / "strip.mp4", panel, tmp / f"{panel}.mp4", end_s=10.0)
        film = read_film(tmp / f"{panel}.mp4")
        left, top, right, bottom = panel_box(strip.frames.shape[2], strip.frames.shape[1], panel)
        own = strip.frames[:, top:bottom, left:right].astype(int)
        assert film.frames.shape == own.shape and abs(film.frames - own).max() <= 3
        assert film.fps == 30
        np.testing.assert_array_equal(film.speech, strip.speech)  # copied, not encoded again


def test_a_panel_is_kept_up_to_a_time(tmp: Path):
    write(tmp / "strip.mp4", list(PANEL_COLOURS), (96, 64), 30, 30, "aac", padding=2)
    cut_panel(tmp / "strip.mp4", 2, tmp / "film.mp4", end_s=0.5)
    film = read_film(tmp / "film.mp4")
    assert len(film.frames) == 15 and film.speech is not None
    assert 0.5 * 16_000 <= len(film.speech) < 0.5 * 16_000 + 1024  # whole pieces of AAC


# --- failures ------------------------------------------------------------------------------------


def test_failures_are_kept_with_what_was_said_and_the_run_goes_on_and_resumes(tmp: Path):
    items = [item_of(tmp, f"{n}_item") for n in range(5)]
    repo = checkout(tmp / "repo", "sadtalker", "fail nothing rubbish two make")
    run, output = source_run(tmp, *items), tmp / "out"
    result = run_baseline("sadtalker", repo, items, output, run=run)
    assert result == {"items": 5, "done": 1, "failed": 4}
    entries = list(record_of(output)["items"].values())
    reasons = [entry.get("reason", "done") for entry in entries]
    assert reasons[0] == "ended with exit code 1" and reasons[-1] == "done"
    assert "left no film (expected one file, found none)" in reasons[1]
    assert "cannot be decoded" in reasons[2]
    assert "found 2026_01_02_03.04.05.mp4, 2026_01_02_03.04.06.mp4" in reasons[3]
    assert [entry["exit_code"] for entry in entries] == [1, 0, 0, 0, 0]
    assert entries[0]["last_lines"][-1].endswith("RuntimeError: CUDA out of memory")
    assert "Can't get the coeffs of the input" in entries[1]["last_lines"]
    assert all(entry["status"] == "failed" and entry["command"] for entry in entries[:4])
    assert [path.stem for path in output.glob("1p_emotion/*")] == ["4_item"]

    (repo / "behave").write_text("make")
    again = run_baseline("sadtalker", repo, items, output, run=run)
    assert again == {"items": 5, "done": 5, "failed": 0}
    assert len(calls_of(repo)) == 5 + 4  # the one that was done is not made again
    (output / "1p_emotion/4_item.mp4").unlink()
    run_baseline("sadtalker", repo, items, output, run=run)
    assert len(calls_of(repo)) == 10


def test_the_time_limit_ends_a_program_and_what_it_started(tmp: Path):
    item, repo = item_of(tmp), checkout(tmp / "repo", "sadtalker", "hang")
    run = source_run(tmp, item)
    run_baseline("sadtalker", repo, [item], tmp / "out", run=run, limit_s=2)
    entry = record_of(tmp / "out")["items"][item.name]
    assert entry["reason"] == "ran past the time limit of 2 s" and entry["exit_code"] is None
    assert 2 <= entry["duration_s"] < 10 and "loading weights" in entry["last_lines"]
    assert ended(int((repo / "child").read_text()))


def test_a_strip_that_is_none_is_a_failure(tmp: Path):
    item, repo = item_of(tmp, seconds=5.3), checkout(tmp / "repo", "aniportrait", "rubbish")
    result = run_baseline(
        "aniportrait", repo, [item], tmp / "out", run=source_run(tmp, item), find_faces=no_face
    )
    assert result["failed"] == 1
    assert "cannot be decoded" in record_of(tmp / "out")["items"][item.name]["reason"]
    assert not list((tmp / "out/1p_emotion").iterdir())


def test_last_lines_are_the_last_and_bars_their_last_state(tmp: Path):
    log = tmp / "log.txt"
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(9000)) + b"1%\r50%\r100%\n\xff end")
    lines = last_lines(log)
    assert lines[-3:] == ["line 8999", "100%", "\ufffd end"] and len(lines) == 20


def test_an_interrupt_ends_the_program(tmp: Path, monkeypatch: pytest.MonkeyPatch):
    import subprocess

    item, repo = item_of(tmp), checkout(tmp / "repo", "sadtalker", "hang")
    wait = subprocess.Popen.wait
    waits = []

    def interrupt(process, timeout=None):
        waits.append(timeout)
        if len(waits) == 1:
            while not (repo / "child").exists() or not (repo / "child").read_text():
                pass
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    monkeypatch.setattr("openmocha.evaluation.baselines.run.commit_of", lambda repo: None)
    with pytest.raises(KeyboardInterrupt):
        run_baseline("sadtalker", repo, [item], tmp / "out", run=source_run(tmp, item))
    assert ended(int((repo / "child").read_text()))


# --- users' mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["sadtalker", "aniportrait", "hallo3"])
def test_what_is_not_installed_is_named_with_where_it_comes_from(tmp: Path, system: str):
    urls = {
        "sadtalker": "https://github.com/OpenTalker/SadTalker",
        "aniportrait": "https://github.com/Zejun-Yang/AniPortrait",
        "hallo3": "https://github.com/fudan-generative-vision/hallo3",
    }
    item = item_of(tmp)
    with pytest.raises(FileNotFoundError, match=f"clone {urls[system]} and give"):
        run_baseline(system, tmp / "nothing", [item], tmp / "out")
    repo = checkout(tmp / "repo", system)
    with pytest.raises(FileNotFoundError, match="no Python at /no/python; .* --python"):
        run_baseline(system, repo, [item], tmp / "out", python=Path("/no/python"))
    weights = {
        "sadtalker": "checkpoints/SadTalker_V0.0.2_256.safetensors",
        "aniportrait": "pretrained_model/denoising_unet.pth",
        "hallo3": "pretrained_models/t5-v1_1-xxl",
    }
    (repo / weights[system]).rename(repo / "elsewhere")
    with pytest.raises(
        FileNotFoundError, match=f"{weights[system]} is not .* README of {urls[system]}"
    ):
        run_baseline(system, repo, [item], tmp / "out")
    (repo / ".venv/bin/python").unlink()
    with pytest.raises(FileNotFoundError, match=r"no Python at .*/repo/\.venv/bin/python"):
        run_baseline(system, repo, [item], tmp / "out")
    assert not (tmp / "out").exists()


def test_wrong_settings_are_refused(tmp: Path):
    item, repo = item_of(tmp), checkout(tmp / "repo", "sadtalker")
    with pytest.raises(ValueError, match="there is no baseline 'emo'; expected sadtalker, ani"):
        run_baseline("emo", repo, [item], tmp / "out")
    with pytest.raises(ValueError, match="crop is 'face'; expected full, person-square, head-sq"):
        run_baseline("sadtalker", repo, [item], tmp / "out", crop="face")
    with pytest.raises(ValueError, match="faces are 'anime'"):
        run_baseline("sadtalker", repo, [item], tmp / "out", faces="anime")
    with pytest.raises(ValueError, match="the time limit is 0 s"):
        run_baseline("sadtalker", repo, [item], tmp / "out", limit_s=0)
    with pytest.raises(FileNotFoundError, match="is no folder; give the run"):
        run_baseline("sadtalker", repo, [item], tmp / "out", run=tmp / "none")


def test_a_run_is_of_one_setting_and_of_one_process(tmp: Path):
    import fcntl

    item, repo, output = item_of(tmp), checkout(tmp / "repo", "sadtalker", "fail"), tmp / "out"
    run = source_run(tmp, item)
    run_baseline("sadtalker", repo, [item], output, run=run)
    with pytest.raises(ValueError, match="begun with crop 'as released', now it is 'full'"):
        run_baseline("sadtalker", repo, [item], output, run=run, crop="full")
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is making films"):
            run_baseline("sadtalker", repo, [item], output, run=run)
    (output / "baseline.json").write_text("[]")
    with pytest.raises(ValueError, match="is no record of a baseline"):
        run_baseline("sadtalker", repo, [item], output, run=run)


def test_the_commit_of_a_checkout_is_recorded(tmp: Path):
    import subprocess

    item, repo = item_of(tmp), checkout(tmp / "repo", "sadtalker", "fail")
    git = ["git", "-C", str(repo), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "inference.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    run = source_run(tmp, item)
    run_baseline("sadtalker", repo, [item], tmp / "out", run=run)
    assert record_of(tmp / "out")["commit"] == head.strip()
    with (repo / "inference.py").open("a") as file:
        file.write("\n# changed\n")
    with pytest.raises(ValueError, match=r"begun with commit .*\+changes"):
        run_baseline("sadtalker", repo, [item], tmp / "out", run=run)
