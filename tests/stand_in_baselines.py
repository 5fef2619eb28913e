"""Stand-ins for the repositories of SadTalker, AniPortrait and Hallo3: the files that must be
there, and programs that note what they were called with and write a film of the real ones' shape.

A program does what the file `behave` beside it says for its n-th call (the last line for all later
ones): make, fail, nothing, hang, rubbish, two.
"""

import json
import stat
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = """
import json, os, subprocess, sys, time
from pathlib import Path

repo = Path(__file__).resolve().parents[{depth}]
calls = repo / "calls.jsonl"
number = len(calls.read_text().splitlines()) if calls.exists() else 0
arguments = sys.argv[1:]
given = {{"arguments": arguments, "cwd": os.getcwd(), "python": sys.executable,
         "environment": dict(os.environ)}}
for flag in ("--config", "--input-file"):
    if flag in arguments:
        given[flag] = Path(arguments[arguments.index(flag) + 1]).read_text()
with calls.open("a") as file:
    file.write(json.dumps(given) + "\\n")
behaviours = (repo / "behave").read_text().split()
behaviour = behaviours[min(number, len(behaviours) - 1)]
print("loading weights", flush=True)
for step in range(3):
    print(f"step {{step}}", end="\\r", file=sys.stderr, flush=True)
if behaviour == "fail":
    print("RuntimeError: CUDA out of memory", file=sys.stderr)
    sys.exit(1)
if behaviour == "nothing":
    print("Can't get the coeffs of the input")
    sys.exit(0)
if behaviour == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (repo / "child").write_text(str(child.pid))
    time.sleep(60)
sys.path.insert(0, {tests!r})
from stand_in_baselines import {make}
for path in {make}(repo, arguments, "two" if behaviour == "two" else ""):
    if behaviour == "rubbish":
        path.write_bytes(b"no film")
"""


def checkout(folder: Path, system: str, behave: str = "make") -> Path:
    """A folder that looks like a checkout of a system with its weights and environment."""
    make: dict[str, Any] = {"sadtalker": sadtalker, "aniportrait": aniportrait, "hallo3": hallo3}
    entry, weights = ENTRIES[system]
    for name in weights:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / entry).parent.mkdir(parents=True, exist_ok=True)
    depth = entry.count("/")
    (folder / entry).write_text(
        PROGRAM.format(depth=depth, make=make[system].__name__, tests=str(Path(__file__).parent))
    )
    (folder / "behave").write_text(behave)
    if system == "aniportrait":
        (folder / "configs/prompts").mkdir(parents=True)
        (folder / "configs/prompts/animation_audio.yaml").write_text(ANIPORTRAIT_CONFIG)
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nSTAND_IN_PYTHON="{python}" exec "{sys.executable}" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return folder


def calls_of(repo: Path) -> list[dict[str, Any]]:
    """What a program was called with, call by call."""
    file = repo / "calls.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


ANIPORTRAIT_CONFIG = """\
pretrained_base_model_path: './pretrained_model/stable-diffusion-v1-5'
denoising_unet_path: "./pretrained_model/denoising_unet.pth"
audio_inference_config: "./configs/inference/inference_audio.yaml"
weight_dtype: 'fp16'
test_cases:
  "./configs/inference/ref_images/lyl.png":
    - "./configs/inference/audio/lyl.wav"
"""

ENTRIES = {
    "sadtalker": (
        "inference.py",
        [
            "checkpoints/mapping_00109-model.pth.tar",
            "checkpoints/SadTalker_V0.0.2_256.safetensors",
        ],
    ),
    "aniportrait": (
        "scripts/audio2vid.py",
        [
            "pretrained_model/stable-diffusion-v1-5/unet.safetensors",
            "pretrained_model/denoising_unet.pth",
        ],
    ),
    "hallo3": (
        "hallo3/sample_video.py",
        [
            f"pretrained_models/{part}/weights"
            for part in (
                "hallo3", "cogvideox-5b-i2v-sat", "t5-v1_1-xxl", "wav2vec", "audio_separator",
                "face_analysis",
            )
        ],
    ),
}  # fmt: skip

# --- what the programs write ---------------------------------------------------------------------

PANEL_COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))  # reference, pose, result


def after(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def sadtalker(repo: Path, arguments: list[str], two: str) -> list[Path]:
    """A film of 25 frames a second and AAC at 16 kHz, named after the second."""
    folder = Path(after(arguments, "--result_dir"))
    names = ["2026_01_02_03.04.05.mp4"] + (["2026_01_02_03.04.06.mp4"] if two else [])
    speech = after(arguments, "--driven_audio")
    for name in names:
        write(folder / name, [(90, 120, 150)], (192, 104), 25, int(seconds(speech) * 25), "aac")
    return [folder / name for name in names]


def aniportrait(repo: Path, arguments: list[str], two: str) -> list[Path]:
    """A strip of three panels in the program's own output folder, beside a film without sound that
    it removes at the end (left here, as a killed program leaves it)."""
    import yaml

    ((image, speeches),) = yaml.safe_load(Path(after(arguments, "--config")).read_text())[
        "test_cases"
    ].items()
    (speech,) = speeches
    folder = repo / "output/20260102/0304--seed_42-512x512"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{Path(image).stem}_{Path(speech).stem}_512x512_3_0304"
    frames = round(seconds(speech) * 30) - 2
    frames -= (frames - 1) % 3  # every third frame is made, the others interpolated
    (folder / f"{stem}_noaudio.mp4").write_bytes(b"")
    write(folder / f"{stem}.mp4", list(PANEL_COLOURS), (512, 512), 30, frames, "aac", padding=2)
    return [folder / f"{stem}.mp4"]


def hallo3(repo: Path, arguments: list[str], two: str) -> list[Path]:
    """A film of 25 frames a second and MP3, in a folder named after its picture and its audio."""
    ((_, image, speech),) = [
        line.split("@@") for line in Path(after(arguments, "--input-file")).read_text().splitlines()
    ]
    name = f"{Path(image).stem}-{Path(speech).stem}-seed_{after(arguments, '--seed')}"
    folder = Path(after(arguments, "--output-dir")) / name
    folder.mkdir(parents=True)
    write(
        folder / "000000_with_audio.mp4", [(60, 60, 60)], (144, 96), 25,
        -(-int(seconds(speech) * 1000) // 40), "mp3",
    )  # fmt: skip
    return [folder / "000000_with_audio.mp4"]


def seconds(speech: str) -> float:
    import wave

    with wave.open(speech) as file:
        return file.getnframes() / file.getframerate()


def write(
    path: Path,
    colours: list[tuple[int, int, int]],
    size: tuple[int, int],
    fps: int,
    num_frames: int,
    codec: str,
    padding: int = 0,
) -> None:
    """A film of flat panels side by side on black, with a tone; a bright spot marks frame 0."""
    import av
    import numpy as np

    width, height = size
    picture = np.zeros(
        (height + 2 * padding, len(colours) * (width + padding) + padding, 3), np.uint8
    )
    for number, colour in enumerate(colours):
        left = padding + number * (width + padding)
        picture[padding : padding + height, left : left + width] = colour
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "10"}
        audio = container.add_stream(codec, rate=16000, layout="mono")
        for _ in range(num_frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(16000 * num_frames // fps) / 8).astype(np.float32) * 0.3
        for start in range(0, len(tone), 1000):
            piece = tone[None, start : start + 1000]
            layout = "fltp" if codec == "aac" else audio.codec_context.format.name
            frame = av.AudioFrame.from_ndarray(piece.copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            if layout != "fltp":
                frame = av.AudioResampler(layout, "mono", 16000).resample(frame)[0]
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def ended(pid: int) -> bool:
    """Whether a process ends within two seconds: signals take their time."""
    for _ in range(100):
        stat_file = Path(f"/proc/{pid}/stat")
        if not stat_file.exists() or stat_file.read_text().split()[2] == "Z":
            return True
        time.sleep(0.02)
    return False
