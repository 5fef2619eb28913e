"""Curation as a whole: every kind of bad file, all engines alike, kills at random moments."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from openmocha.curation.engines import Engine, run
from openmocha.curation.manifest import read_manifest
from openmocha.curation.measure import Source, measure, stored
from openmocha.curation.pipeline import curate, list_sources
from openmocha.curation.probe import Unfit, content_id
from openmocha.curation.settings import Settings, Shards, settings_for
from openmocha.media import SPEECH_RATE_HZ, FilmWriter, write_film

HISS = (0.05 * np.random.default_rng(0).standard_normal(3 * SPEECH_RATE_HZ)).astype(np.float32)


def grey_film(path: Path, level: int = 90, num_frames: int = 72, **options) -> None:
    frames = np.full((num_frames, 96, 128, 3), level, np.uint8)
    frames[:, 40:60, 40:60] = np.random.default_rng(level).integers(0, 255, (num_frames, 20, 20, 3))
    write_film(path, frames, HISS, **options)


@pytest.fixture(scope="module")
def toon_films(tmp_path_factory) -> Path:
    """Three short programmes: good ones, and a few faults."""
    pytest.importorskip("skia", exc_type=ImportError)
    pytest.importorskip("espeakng_loader")
    from openmocha.toon import programmes

    folder = tmp_path_factory.mktemp("programmes")
    seeds = (0, 4, 2)
    for number, kinds in enumerate((("talk", "music", "talk"), ("dialogue",), ("frozen", "talk"))):
        rng, scenes, first = np.random.default_rng(seeds[number]), [], 0
        for kind in kinds:
            scenes.append(programmes.plan_scene(rng, kind, first, "train"))
            first += scenes[-1].truth.num_frames
        sound = np.concatenate([scene.sound for scene in scenes])
        with FilmWriter(folder / f"{number}.mp4", 128, 128, sound) as film:
            for scene in scenes:
                for pixels in programmes.draw_scene(scene, 128, 128):
                    film.write(pixels[None])
    return folder


# --- bad input -----------------------------------------------------------------------------------


def make_bad_films(folder: Path) -> dict[str, str]:
    """One file of each kind, and how its reason begins."""
    grey_film(folder / "fine.mp4")
    whole = (folder / "fine.mp4").read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no film at all")
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    middle = bytearray(whole)
    middle[len(whole) // 3 : 2 * len(whole) // 3] = bytes(len(whole) // 3)
    (folder / "damaged.mp4").write_bytes(middle)
    write_film(folder / "mute.mp4", np.zeros((72, 96, 128, 3), np.uint8))
    grey_film(folder / "short.mp4", num_frames=12)
    write_film(folder / "tiny.mp4", np.zeros((72, 32, 32, 3), np.uint8), HISS)
    os.link(folder / "fine.mp4", os.path.join(os.fsencode(folder), b"same \xe9.mp4"))
    grey_film(folder / "ten a second.mp4", num_frames=30, fps=10)
    (folder / "a folder.mp4").mkdir()
    sound_only(folder / "sound.m4a")
    high_dynamic_range(folder / "hdr.mp4")
    return {
        "empty.mp4": "empty file",
        "text.mp4": "cannot be opened",
        "truncated.mp4": "damaged",
        "mute.mp4": "no sound",
        "sound.m4a": "no picture",
        "short.mp4": "shorter than",
        "tiny.mp4": "smaller than",
        "hdr.mp4": "HDR picture",
        "fine.mp4": "noise without speech",
        "ten a second.mp4": "noise without speech",
    }


def sound_only(path: Path) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=SPEECH_RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(HISS[None], format="fltp", layout="mono")
        frame.sample_rate = SPEECH_RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def high_dynamic_range(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        video.codec_context.color_trc = 16  # PQ
        audio = container.add_stream("aac", rate=SPEECH_RATE_HZ, layout="mono")
        for _ in range(72):
            pixels = np.zeros((96, 128, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sound = av.AudioFrame.from_ndarray(HISS[None], format="fltp", layout="mono")
        sound.sample_rate = SPEECH_RATE_HZ
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))


def test_every_bad_file_gets_its_reason_and_stops_nothing(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    wanted = make_bad_films(films)
    curated = curate([films], tmp_path / "dataset", Settings())
    reasons = {Path(row["path"]).name: row["reason"] for row in read_manifest(curated.folder)}
    assert not curated.kept and curated.set_aside == 0
    for name, beginning in wanted.items():
        assert reasons[name].startswith(beginning), (name, reasons[name])
    # the damaged one may be concealed by the decoder, but it ends with a reason all the same
    assert reasons["damaged.mp4"]
    assert reasons["same \\udce9.mp4"] == "same file as another"
    assert set(reasons) == {*wanted, "damaged.mp4", "same \\udce9.mp4"}


def test_rotated_and_odd_films_are_seen_upright(tmp_path):
    from openmocha.curation.watch import decoded, picture

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (4, 96, 128, 3), np.uint8)
    write_film(tmp_path / "plain.mp4", frames)
    _, frame = next(decoded(tmp_path / "plain.mp4"))
    turned = type("Turned", (), {"rotation": 90, "width": frame.width, "height": frame.height,
                                 "to_ndarray": frame.to_ndarray})()  # fmt: skip
    upright = picture(turned)
    assert upright.shape == (128, 96, 3)
    np.testing.assert_array_equal(upright, np.rot90(frame.to_ndarray(format="rgb24")))


def test_a_full_disk_is_the_machines_fault_and_not_remembered(tmp_path, monkeypatch):
    grey_film(tmp_path / "film.mp4")
    source = Source(tmp_path / "film.mp4", content_id(tmp_path / "film.mp4"), tmp_path / "work",
                    Settings())  # fmt: skip
    import openmocha.curation.measure as module

    def full(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(module, "write_bytes", full)
        assert measure(source) == "set aside: No space left on device"
    assert measure(source) is None


def test_folders_that_cannot_be_read_are_rows_of_the_manifest(tmp_path, monkeypatch):
    """Root reads everything, so the system is made to refuse."""
    films = tmp_path / "films"
    (films / "secret" / "below").mkdir(parents=True)
    grey_film(films / "fine.mp4")
    grey_film(films / "secret" / "never seen.mp4")
    scandir = os.scandir

    def refused(place="."):
        if Path(place).name == "secret":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    curated = curate([films], tmp_path / "dataset", Settings())
    reasons = {Path(row["path"]).name: row["reason"] for row in curated.rows}
    assert reasons == {"fine.mp4": "noise without speech", "secret": "folder cannot be read"}
    again = curate([films], tmp_path / "dataset", Settings())
    assert again.rows == curated.rows


def test_files_that_cannot_be_read_are_rows_of_the_manifest(tmp_path, monkeypatch):
    import av

    grey_film(tmp_path / "locked.mp4")

    def refused(*given, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refused)
    source = list_sources([tmp_path / "locked.mp4"], tmp_path / "data", Settings())[0]
    assert measure(source) == "cannot be opened: Permission denied"


def test_places_that_are_not_there_are_an_error_before_the_work(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        curate([tmp_path / "nowhere"], tmp_path / "dataset", Settings())


# --- resuming ------------------------------------------------------------------------------------


def test_a_finished_step_is_never_done_again_and_a_setting_redoes_only_what_it_must(tmp_path):
    grey_film(tmp_path / "film.mp4")
    source = list_sources([tmp_path / "film.mp4"], tmp_path / "data", Settings())[0]
    assert measure(source) is None
    first = {p: p.stat().st_mtime_ns for p in source.folder.iterdir()}
    assert measure(source) is None
    assert {p: p.stat().st_mtime_ns for p in source.folder.iterdir()} == first
    slower = replace(source, settings=replace(source.settings, looks_per_s=6.0))
    assert measure(slower) is None
    added = {p for p in source.folder.iterdir()} - first.keys()
    assert [p.name.split("-")[0] for p in added] == ["watch"]
    assert {p: p.stat().st_mtime_ns for p in first} == first


def test_a_film_that_is_renamed_keeps_its_measurements(tmp_path):
    grey_film(tmp_path / "film.mp4")
    before = content_id(tmp_path / "film.mp4")
    (tmp_path / "film.mp4").rename(tmp_path / "other.mp4")
    assert content_id(tmp_path / "other.mp4") == before
    with open(tmp_path / "other.mp4", "ab") as file:
        file.write(b"x")
    assert content_id(tmp_path / "other.mp4") != before


def test_an_unfit_film_is_remembered_as_such(tmp_path):
    source = Source(tmp_path / "film.mp4", "ab" * 16, tmp_path / "work", Settings())
    source.folder.mkdir(parents=True)
    calls = []

    def step() -> bytes:
        calls.append(1)
        raise Unfit("damaged")

    assert [stored(source, "watch", 1, step) for _ in range(3)] == ["damaged"] * 3
    assert len(calls) == 1


# --- engines -------------------------------------------------------------------------------------


class OneMachine:
    """Stands in for Ray where it is not installed: keeps what it is asked for, runs it here."""

    def __init__(self) -> None:
        self.asked = {}
        self.data = self
        self.context = SimpleNamespace()
        self.DataContext = SimpleNamespace(get_current=lambda: self.context)

    def is_initialized(self) -> bool:
        return False

    def init(self, **options) -> None:
        self.asked |= options

    def put(self, value):
        return value

    def get(self, value):
        return value

    def ActorPoolStrategy(self, size: int):  # noqa: N802
        return f"{size} actors"

    def from_items(self, items, override_num_blocks):
        assert override_num_blocks == len(items)  # a dead worker costs one film
        self.items = items
        return self

    def map_batches(self, worker, fn_constructor_args, **options):
        self.asked |= options
        self.worker = worker(*fn_constructor_args)
        return self

    def iter_rows(self):
        for item in self.items[:-1]:  # the last one's worker dies
            batch = self.worker({"number": np.array([item["number"]])})
            yield {name: values[0] for name, values in batch.items()}


def test_gpus_and_batches_reach_rays_actors(monkeypatch):
    from openmocha.curation import engines

    ray = OneMachine()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(engines, "_start", lambda: None)
    engine = Engine("ray", 3, "head:6379", gpus=0.5)
    assert list(run(engine, square, [2, 3, 4])) == [(2, 4), (3, 9), (4, None)]
    assert ray.asked["num_gpus"] == 0.5 and ray.asked["compute"] == "3 actors"
    assert ray.asked["batch_size"] == 1 and ray.asked["address"] == "head:6379"
    assert ray.context.max_errored_blocks == -1
    list(run(Engine("ray", 2), square, [1, 2]))
    assert ray.asked["num_gpus"] is None  # 0 would be another kind of actor


def test_gpus_without_a_cluster_are_refused(tmp_path):
    from typer.testing import CliRunner

    from openmocha.cli import app

    told = CliRunner().invoke(
        app, ["curate", str(tmp_path), "-o", str(tmp_path / "data"), "--gpus", "1"]
    )
    assert told.exit_code == 2 and "--cluster local" in told.stderr


def square(number: int) -> int:
    return number * number


def die_if_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(marker: str) -> str:
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def test_engines_give_the_same_results():
    items = list(range(12))
    wanted = [(i, i * i) for i in items]
    assert list(run(Engine("one"), square, items)) == wanted
    assert sorted(run(Engine("cores", 2), square, items)) == wanted


def test_a_worker_that_dies_takes_nothing_with_it(tmp_path):
    results = dict(run(Engine("cores", 2), die_if_three, list(range(8))))
    assert results == {i: None if i == 3 else i for i in range(8)}
    markers = [str(tmp_path / f"{i}") for i in range(4)]
    assert dict(run(Engine("cores", 2), die_once, markers)) == dict.fromkeys(markers, "alive")


def test_a_toon_programme_becomes_shards_that_train(toon_films, tmp_path):
    from openmocha.curation.report import write_report
    from openmocha.training.samples import Records
    from openmocha.training.stages import Crop

    settings = replace(settings_for("auto"), shards=Shards(clips_per_shard=2), clip_files=True)
    one = curate([toon_films], tmp_path / "one", settings)
    reasons = sorted(str(row["reason"]) for row in one.rows if not row.get("part_of"))
    assert reasons == ["None", "None", "None", "None", "frozen picture", "music without speech"]
    assert {row["shot"] for row in one.kept if row.get("parts")} == {"two-clip"}
    assert {row["faces"] for row in one.rows} == {"toon"}
    assert sorted(os.listdir(tmp_path / "one" / "clips")) == sorted(
        row["clip_file"] for row in one.kept
    )
    records = Records(tmp_path / "one" / "shards")
    assert sorted(records.rows["source"]) == sorted(
        "dialogue" if row.get("parts") else row["shot"] for row in one.kept
    )
    for row in one.kept:
        pool = records.pool("dialogue" if row.get("parts") else row["shot"], Crop(8, 1))
        record = records.read(int(pool[0][0]))
        assert np.isfinite(record["latents"].astype(np.float32)).all()
        assert len(record["speech_tokens"]) >= 96
    page = write_report(tmp_path / "one").read_text()
    assert "4 clips kept" in page and "frozen picture" in page and "data:image/jpeg" in page

    shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "one" / "shards").glob("clips-*")}
    again = curate([toon_films], tmp_path / "one", settings)
    assert again.rows == one.rows
    assert {p: p.stat().st_mtime_ns for p in shards} == shards and len(shards) == 8
    two = curate([toon_films], tmp_path / "two", settings, Engine("cores", 2))
    assert same_folders(tmp_path / "one", tmp_path / "two")
    assert two.rows == one.rows


def same_folders(a: Path, b: Path, *skipped: str) -> bool:
    """Whether two datasets hold the same files with the same bytes, the report aside."""
    contents = [
        {
            str(p.relative_to(folder)): p.read_bytes()
            for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name not in ("report.html", ".lock", *skipped)
        }
        for folder in (a, b)
    ]
    assert contents[0].keys() == contents[1].keys()
    different = [name for name in contents[0] if contents[0][name] != contents[1][name]]
    assert not different, different
    return True


def test_ray_gives_the_same_dataset(toon_films, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (pip install 'openmocha[cluster]')")
    script = (
        "import sys; from pathlib import Path; from openmocha.curation.pipeline import curate;"
        "from openmocha.curation.engines import Engine;"
        "from openmocha.curation.settings import settings_for;"
        "curate([Path(sys.argv[1])], Path(sys.argv[2]), settings_for('toon'), Engine('ray', 2))"
    )
    subprocess.run([sys.executable, "-c", script, toon_films, tmp_path / "ray"], check=True)
    curate([toon_films], tmp_path / "one", settings_for("toon"))
    assert same_folders(tmp_path / "one", tmp_path / "ray")


@pytest.mark.end_to_end
def test_kills_at_random_moments_lose_nothing(toon_films, tmp_path):
    """Worker, driver or the whole run, 20 times; then a rerun ends as if nothing had been."""
    rng = random.Random(0)
    command = [shutil.which("openmocha", path=str(Path(sys.executable).parent)), "curate",
               str(toon_films), "-o", str(tmp_path / "killed"), "--faces", "toon",
               "--workers", "2"]  # fmt: skip
    kills = 0
    while kills < 20:
        running = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + rng.uniform(0.5, 7.0)
        while time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.02)
        if running.poll() is None:
            kills += kill_something(rng, running.pid)
        elif running.returncode == 0 and kills < 15:
            shutil.rmtree(tmp_path / "killed")  # it came to its end: from the beginning again
        if running.poll() is None and rng.random() < 0.5:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "0 set aside" in finished.stderr
    curate([toon_films], tmp_path / "whole", settings_for("toon"))
    assert same_folders(tmp_path / "whole", tmp_path / "killed")


def kill_something(rng: random.Random, driver: int) -> int:
    """Kill -9 a worker (if there is one), the driver, or all of them."""
    victim = rng.choice(["worker", "driver", "all"])
    children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    try:
        if victim == "all":
            os.killpg(driver, signal.SIGKILL)
        elif victim == "worker" and children:
            os.kill(int(rng.choice(children)), signal.SIGKILL)
        else:
            os.kill(driver, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def test_two_curations_of_one_dataset_do_not_mix(tmp_path):
    from openmocha.curation.pipeline import only_one

    with only_one(tmp_path):
        with pytest.raises(ValueError, match="another curation is at work"):
            with only_one(tmp_path):
                pass
    with only_one(tmp_path):
        pass


def test_the_command_says_what_came_of_it(tmp_path):
    from typer.testing import CliRunner

    from openmocha.cli import app

    films = tmp_path / "films"
    films.mkdir()
    grey_film(films / "film.mp4")
    told = CliRunner().invoke(
        app, ["curate", str(films), "-o", str(tmp_path / "data"), "--workers", "1", "--json"]
    )
    assert told.exit_code == 0, told.output
    result = json.loads(told.stdout.strip().splitlines()[-1])
    assert result["kept"] == 0 and result["rows"] == 1
    page = (tmp_path / "data" / "report.html").read_text()
    assert "noise without speech" in page
    wrong = CliRunner().invoke(app, ["curate", "tune", str(films)])
    assert wrong.exit_code == 2 and "no manifest" in wrong.stderr
