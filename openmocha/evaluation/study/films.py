"""The films of a study: found in the runs of the systems, copied so that nothing tells their maker.

runs/<system>/<category>/<context_id>.mp4 -> study/films/<random name>.mp4

A copy holds the same picture and sound, packet by packet, without any metadata, with its index in
front (so that it starts at once), and with a date that all copies share. Trap films have the sound
of another film; one training film has its picture made coarse.
"""

import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmocha.evaluation.mochabench import read_benchmark
from openmocha.media import FilmWriter, load_speech

SAME_DATE = 1_600_000_000  # of every copy: a server tells the date of a file
PLAYED_EVERYWHERE = ("h264",)
SOUND_PLAYED_EVERYWHERE = ("aac", "mp3")
COARSE = 12  # a pixel of the coarse training film is this many wide and high


@dataclass(frozen=True)
class Item:
    """One prompt with its speech. `speech` is the same for items that share a recording."""

    name: str  # category/context_id
    prompt: str | None
    speech: str


@dataclass(frozen=True)
class Found:
    """The films that a study compares, and the items left out, with the reason."""

    films: dict[str, dict[str, Path]]  # system -> item -> file
    items: dict[str, Item]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Copy:
    """A film of the study, as raters see it."""

    file: str  # in study/films
    duration_s: float
    sha256: str


def find_films(runs: Sequence[Path], benchmark: Path | None = None) -> Found:
    """The items that every run has a film of; with a benchmark, of its items only.

    Raises ValueError for two runs of one name, a run without films, or no item in common, and
    what `read_benchmark` raises.
    """
    films: dict[str, dict[str, Path]] = {}
    for run in map(Path, runs):
        system = run.resolve().name
        if system in films:
            raise ValueError(
                f"two runs are called {system!r}; rename one folder: it names a system"
            )
        films[system] = _films_of(run)
    known = None if benchmark is None else _benchmark_items(benchmark)
    every = sorted(set().union(*films.values()) | set(known or ()))
    left_out = {name: reason for name in every if (reason := _reason(name, films, known))}
    names = [name for name in every if name not in left_out]
    if not names:
        raise ValueError(
            f"the runs {', '.join(films)} have no item in common; a study compares films of the "
            "same <category>/<context_id>.mp4"
        )
    items = {name: known[name] if known else Item(name, None, name) for name in names}
    chosen = {system: {name: found[name] for name in names} for system, found in films.items()}
    return Found(chosen, items, left_out)


def _films_of(run: Path) -> dict[str, Path]:
    if not run.is_dir():
        raise FileNotFoundError(f"run {run} is not a folder; expected <category>/<context_id>.mp4")
    found = {f"{path.parent.name}/{path.stem}": path for path in sorted(run.glob("*/*.mp4"))}
    if not found:
        raise ValueError(f"run {run} holds no films; expected <category>/<context_id>.mp4 in it")
    return found


def _benchmark_items(benchmark: Path) -> dict[str, Item]:
    items = {}
    for row in read_benchmark(benchmark):
        speech = row.name
        if row.speech.is_file():  # items share recordings, under different names
            speech = hashlib.sha256(row.speech.read_bytes()).hexdigest()
        items[row.name] = Item(row.name, row.prompt, speech)
    return items


def _reason(
    name: str, films: dict[str, dict[str, Path]], known: dict[str, Item] | None
) -> str | None:
    """Why an item cannot be compared; None if it can."""
    if known is not None and name not in known:
        return "not in the benchmark"
    missing = [system for system, found in films.items() if name not in found]
    return f"no film of {', '.join(missing)}" if missing else None


def without_damaged(found: Found) -> Found:
    """The same without the items of which a film cannot be decoded to its end.

    Raises ValueError where nothing is left.
    """
    left_out = {}
    for name in found.items:
        for films in found.films.values():
            if reason := damage(films[name]):
                left_out[name] = f"film {films[name]} is damaged ({reason})"
    items = {name: item for name, item in found.items.items() if name not in left_out}
    if not items:
        raise ValueError(f"every item has a damaged film, {next(iter(left_out.values()))}")
    kept = {system: {name: of[name] for name in items} for system, of in found.films.items()}
    return Found(kept, items, {**found.left_out, **left_out})


def damage(path: Path) -> str | None:
    """Why a film cannot be decoded to its end; None for a sound one. What is cut short or
    overwritten can often be opened and copied, and shows only here."""
    import av

    try:
        with av.open(str(path)) as film:
            for packet in film.demux(*film.streams.video, *film.streams.audio):
                packet.decode()
    except (av.error.FFmpegError, OSError) as error:
        return error.strerror or str(error)
    return None


# --- copies --------------------------------------------------------------------------------------


def plain_copy(source: Path, folder: Path) -> Copy:
    """A film without metadata. Raises ValueError for one that a phone would not play."""
    return mismatched_copy(source, source, folder)


def mismatched_copy(picture: Path, sound: Path, folder: Path) -> Copy:
    """The picture of one film with the sound of another, cut where the picture ends.

    Raises ValueError where either is corrupt, has no picture or no sound, or cannot be played by
    every browser.
    """
    import av

    check_playable(picture)
    check_playable(sound)
    path = folder / _random_name()
    try:
        _mux(picture, sound, path)
    except av.error.FFmpegError as error:
        path.unlink(missing_ok=True)
        raise ValueError(f"film {picture} cannot be copied ({error.strerror})") from error
    return _finished(path)


def _mux(picture: Path, sound: Path, path: Path) -> None:
    import av

    with av.open(str(picture)) as film, av.open(str(sound)) as other:
        sources = (film.streams.video[0], other.streams.audio[0])
        seconds = _seconds(film)
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as copy:
            streams = [copy.add_stream_from_template(source) for source in sources]
            for container, source, stream in zip((film, other), sources, streams, strict=True):
                for packet in container.demux(source):
                    late = source is sources[1] and _time(packet) >= seconds
                    if packet.dts is not None and not late:
                        packet.stream = stream
                        copy.mux(packet)


def coarse_copy(source: Path, folder: Path) -> Copy:
    """The film in blocks of COARSE x COARSE pixels: what visual quality 1 looks like."""
    import av
    from einops import repeat

    path = folder / _random_name()
    speech = load_speech(source)
    with av.open(str(source)) as film:
        stream = film.streams.video[0]
        size = (stream.width // 2 * 2, stream.height // 2 * 2)
        with FilmWriter(path, *size, speech, fps=float(stream.average_rate)) as copy:
            for frame in film.decode(stream):
                few = frame.to_ndarray(format="rgb24")[::COARSE, ::COARSE]
                many = repeat(few, "h w c -> (h a) (w b) c", a=COARSE, b=COARSE)
                copy.write(many[None, : size[1], : size[0]])
    plain = plain_copy(path, folder)  # the writer puts metadata in, a copy takes it out
    path.unlink()
    return plain


def check_playable(path: Path) -> None:
    """Raise ValueError unless the film is H.264 with sound, as every phone plays it."""
    import av

    try:
        with av.open(str(path)) as film:
            kinds = {stream.type: stream for stream in reversed(film.streams)}
            codecs = {kind: stream.codec_context.name for kind, stream in kinds.items()}
            pixels = kinds["video"].format.name if "video" in kinds else None
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(
            f"film {path} cannot be opened ({error.strerror}); make it again or take it away"
        ) from error
    if "audio" not in codecs:
        raise ValueError(f"film {path} has no sound; raters judge lips against the voice")
    if (
        codecs.get("video") not in PLAYED_EVERYWHERE
        or pixels not in ("yuv420p", "yuvj420p")
        or codecs["audio"] not in SOUND_PLAYED_EVERYWHERE
    ):
        raise ValueError(
            f"film {path} is {codecs.get('video')} ({pixels}) with {codecs['audio']}; phones play "
            "h264 (yuv420p) with aac or mp3: encode it again, "
            "ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p -c:a aac OUT.mp4"
        )


def sound_id(path: Path) -> str:
    """The same for films with the same sound."""
    return hashlib.sha256(load_speech(path).tobytes()).hexdigest()


def _seconds(film: Any) -> float:
    stream = film.streams.video[0]
    if stream.duration is None:
        return float(film.duration or 0) / 1e6
    return float(stream.duration * stream.time_base)


def _time(packet: Any) -> float:
    return float(packet.pts * packet.time_base) if packet.pts is not None else 0.0


def _random_name() -> str:
    return f"{secrets.token_hex(12)}.mp4"


def _finished(path: Path) -> Copy:
    import av

    with av.open(str(path)) as film:
        duration_s = float(film.duration) / 1e6
    os.utime(path, (SAME_DATE, SAME_DATE))
    return Copy(path.name, duration_s, hashlib.sha256(path.read_bytes()).hexdigest())
