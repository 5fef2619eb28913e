"""The command line: what it makes, and one clear line with exit code 2 for every bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_media import bad_speech_files, tone, write_wav
from typer.testing import CliRunner

from openmocha.cli import app
from openmocha.media import load_image, read_film

PROMPT = "A close-up of a woman with red hair. She speaks to the camera."


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result, message, folder):
    """One line with the reason, exit code 2, no new file."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert message in result.stderr, result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "Traceback" not in result.output and result.stdout == ""
    assert not [name for name in os.listdir(folder) if "film" in name or name.endswith(".part")]


@pytest.fixture
def folder(tmp_path):
    """Where a user works: a good recording beside where the film will be."""
    write_wav(tmp_path / "talk.wav", [tone(1.0)])
    return tmp_path


def test_generate_writes_film_sheet_and_json(tiny_folder, folder):
    arguments = (PROMPT, "--speech", folder / "talk.wav", "--output", folder / "film.mp4",
                 "--model", tiny_folder, "--size", "96x64", "--steps", 1, "--seed", 5,
                 "--text-guidance", 2, "--speech-guidance", 3.5, "--sheet", "--json")  # fmt: skip
    result = run("generate", *arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    film = read_film(folder / "film.mp4")
    assert film.frames.shape == (24, 64, 96, 3) and film.speech is not None
    assert {key: told[key] for key in film.metadata} == film.metadata
    expected = {"seed": 5, "prompt": PROMPT, "num_inference_steps": 1, "num_frames": 24}
    expected |= {"text_guidance_scale": 2.0, "speech_guidance_scale": 3.5, "width": 96}
    assert expected.items() <= told.items()
    assert told["output"] == str(folder / "film.mp4") and told["warnings"] == []
    assert (folder / "film.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(os.listdir(folder)) == ["film.mp4", "film.png", "talk.wav"]


def test_generate_from_a_script(tiny_folder, folder):
    write_wav(folder / "short.wav", [tone(0.3)])
    (folder / "scene.yaml").write_text(
        "characters: {Person1: A woman, Person2: A man}\n"
        "clips:\n"
        "  - {text: Person1 talks., speech: short.wav}\n"
        "  - {text: Person2 talks., speech: short.wav}\n"
    )
    arguments = ("generate", "--script", folder / "scene.yaml", "--output", folder / "film.mp4",
                 "--model", tiny_folder, "--steps", 1)  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    film = read_film(folder / "film.mp4")
    assert [take["words"] for take in film.metadata["takes"]] == ["A woman talks.", "A man talks."]
    assert run(*arguments, "--together").exit_code == 0
    (take,) = read_film(folder / "film.mp4").metadata["takes"]
    assert take["words"] == film.metadata["prompt"]
    assert film.metadata["prompt"].startswith("Two video clips.\n\nCharacters: A woman (Person1).")
    assert len(film.frames) == 20  # 0.3 s, a pause of 0.2 s, 0.3 s: 19.2 frames


def test_silent_speech_is_a_warning_and_a_film(tiny_folder, folder):
    write_wav(folder / "silent.wav", [np.zeros(16_000)])
    result = run("generate", PROMPT, "--speech", folder / "silent.wav", "--steps", 1,
                 "--output", folder / "film.mp4", "--model", tiny_folder, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: the speech is silent")
    assert len(json.loads(result.stdout)["warnings"]) == 1
    assert len(read_film(folder / "film.mp4").frames) == 24


def test_every_bad_speech(tmp_path, folder):
    (tmp_path / "in").mkdir()
    for file, message in bad_speech_files(tmp_path / "in").values():
        result = run("generate", PROMPT, "--speech", file, "--output", folder / "film.mp4")
        refused(result, message, folder)


def test_long_speech_makes_a_long_film_with_a_sheet(tiny_folder, folder):
    write_wav(folder / "long.wav", [tone(4.0)])
    made = run("generate", PROMPT, "--speech", folder / "long.wav", "--model", tiny_folder,
               "--output", folder / "film.mp4", "--steps", 1, "--sheet", "--seed", 0)  # fmt: skip
    assert made.exit_code == 0, made.output
    film = read_film(folder / "film.mp4")
    assert len(film.frames) == 96 and film.metadata["num_frames"] == 96
    assert load_image(folder / "film.png").shape == (2 * 68 - 4, 6 * 68 - 4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "the prompt is empty"),
        (["  \n"], "the prompt is empty"),
        ([], "the prompt is empty"),
        ([PROMPT, "--script", "scene.yaml"], "give either a prompt or --script"),
        (["--script", "none.yaml"], "none.yaml does not exist"),
        (["A man.\nPerson2 nods."], "Person2 is used in line 2 of the prompt"),
        ([PROMPT, "--model", "toom"], "unknown model 'toom'; did you mean toon?"),
        ([PROMPT, "--model", "./no/folder"], "no/folder does not exist"),
        ([PROMPT, "--size", "100x100"], "multiples of 16"),
        ([PROMPT, "--size", "0x0"], "multiples of 16"),
        ([PROMPT, "--size", "-64x64"], "is not WIDTHxHEIGHT"),
        ([PROMPT, "--size", "big"], "is not WIDTHxHEIGHT"),
        ([PROMPT, "--size", "100000x64"], "is not WIDTHxHEIGHT"),
        ([PROMPT, "--size", "8192x8192"], "from 64 to 512"),
        ([PROMPT, "--output", "none/film.mp4"], "output folder none does not exist"),
        ([PROMPT, "--output", "film.avi"], "must end in .mp4"),
        ([PROMPT, "--output", "/dev/null"], "must end in .mp4"),
        ([PROMPT, "--device", "abacus"], "device 'abacus'"),
    ],
)
def test_bad_requests(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    refused(run("generate", *arguments), message, folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["word " * 300], "the prompt has 302 tokens (300 words); the limit is 256"),
        ([PROMPT, "--steps", 0], "steps is 0"),
        ([PROMPT, "--text-guidance", "nan"], "text_guidance_scale is nan"),
        ([PROMPT, "--speech-guidance", -1], "speech_guidance_scale is -1.0"),
    ],
)
def test_bad_requests_that_the_model_refuses(tiny_folder, folder, arguments, message):
    output = ("--output", folder / "film.mp4", "--model", tiny_folder)
    refused(run("generate", *arguments, *output), message, folder)


@pytest.mark.parametrize("part", ["transformer", "vae", "speech_encoder"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "altered"])
def test_damaged_weights(tiny_folder, folder, tmp_path, part, fault):
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    weights = model / part / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if fault == "missing":
        weights.unlink()
    elif fault == "truncated":
        weights.write_bytes(content[: len(content) // 2])
    else:
        content[-3] ^= 4
        weights.write_bytes(content)
    result = run("generate", PROMPT, "--output", folder / "film.mp4", "--model", model)
    refused(result, fault, folder)
    assert str(weights) in result.stderr


def test_output_that_is_a_folder(folder):
    (folder / "dir.mp4").mkdir()
    refused(run("generate", PROMPT, "--output", folder / "dir.mp4"), "is a folder", folder)


def test_full_disk_while_writing(tiny_folder, folder, small_disk):
    (small_disk / "ballast").write_bytes(bytes(60_000))
    result = run("generate", PROMPT, "--speech", folder / "talk.wav", "--model", tiny_folder,
                 "--output", small_disk / "film.mp4", "--size", "128x64", "--steps", 1)  # fmt: skip
    refused(result, "the disk is full; no part of it was left behind", small_disk)


def test_errors_are_json_too(folder):
    result = run("generate", PROMPT, "--speech", folder / "none.wav", "--json")
    assert result.exit_code == 2
    assert "does not exist" in json.loads(result.stdout)["error"]


def test_wrong_options_are_usage_errors(folder):
    for arguments in (
        ["generate", PROMPT, "--seed", "-1"],
        ["generate", "--nonsense"],
        ["nothing"],
    ):
        assert run(*arguments).exit_code == 2


def test_models_are_listed_with_licences():
    rows = json.loads(run("models", "--json").stdout)
    assert [row["name"] for row in rows][:2] == ["toon", "CongWei1230/MoCha-Demo"]
    assert all(row["licence"] and row["accepts"] for row in rows)
    listed = run("models").stdout
    assert "excludes the EU" in listed and "GPU memory, GiB: fast" in listed


def test_render_refuses_what_cannot_be(folder):
    arguments = ("toon", "render", "--seed", 7, "--output")
    refused(run(*arguments, folder / "no" / "a.mp4"), "output folder", folder)
    refused(run(*arguments, folder / "a.mp4", "--size", "100x100"), "multiples of 16", folder)


def test_render_writes_film_truth_and_sheet(folder):
    pytest.importorskip("skia", reason="drawing needs libegl1 and libgl1", exc_type=ImportError)
    result = run("toon", "render", "--seed", 7, "--output", folder / "a.mp4", "--sheet", "--json")
    assert result.exit_code == 0, result.output
    truth = json.loads((folder / "a.json").read_text())
    assert truth["caption"] == json.loads(result.stdout)["caption"]
    assert len(read_film(folder / "a.mp4").frames) == len(truth["mouth"]) == 128
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_running_out_of_memory_is_one_line(folder, monkeypatch):
    def exhausted(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    monkeypatch.setattr("openmocha.media.load_speech", exhausted)
    result = run("generate", PROMPT, "--speech", folder / "talk.wav", "--output", folder / "a.mp4")
    refused(result, "out of memory", folder)


def test_a_file_that_is_not_there_is_named_in_words(folder):
    result = run("bench", "alignment", folder / "none.csv")
    refused(result, f"{folder / 'none.csv'}: no such file or directory", folder)


def test_help_is_quick_and_loads_no_torch():
    code = (
        "import sys; from openmocha.cli import main; sys.argv = ['openmocha', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'transformers', 'numpy', 'av') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.rstrip().endswith("[]") and "generate" in result.stdout
    # CPU time, and the least of three, so that a busy machine does not fail the test
    assert min(cpu_seconds_of_help() for _ in range(3)) < 0.5


def cpu_seconds_of_help() -> float:
    before = os.times().children_user + os.times().children_system
    subprocess.run([sys.executable, "-m", "openmocha", "--help"], capture_output=True, check=True)
    return os.times().children_user + os.times().children_system - before


def test_interrupting_an_import_is_exit_code_130(folder):
    """Libraries make their dataclasses by exec(); a slow machine is there when the signal comes."""
    (folder / "slow_import.py").write_text(
        "from openmocha import cli\n"
        "@cli.app.command()\n"
        "def wait(): exec('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-m", "slow_import", "wait"]
    assert subprocess.run(command, cwd=folder).returncode == 130


@pytest.mark.parametrize(("number", "delay_s"), [(signal.SIGINT, 0.1), (signal.SIGTERM, 6.0)])
def test_interrupting_leaves_nothing_behind(tiny_folder, folder, number, delay_s):
    # so large and fine that it is still denoising when the signal comes, on any machine
    film = ["--steps", 1000, "--size", "512x512", "--output", folder / "film.mp4"]
    arguments = [PROMPT, "--model", tiny_folder, *film]
    command = [sys.executable, "-m", "openmocha", "generate", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            # torch in its memory says that the command is at work, however busy the machine is
            while b"libtorch_cpu" not in Path(f"/proc/{process.pid}/maps").read_bytes():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
            time.sleep(delay_s)
            process.send_signal(number)
            assert process.wait(120) == 130
        finally:
            process.kill()
        assert "no half-written file was left behind" in process.stderr.read()
    assert os.listdir(folder) == ["talk.wav"]
