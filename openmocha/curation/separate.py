"""Music and noise taken away from behind kept clips' speech, where a user has the weights of a
separator (setting `separator`), and only where it is measured to help.

clip's sound -> separator -> its voice, put back in time -> measured in pauses and in speech
                                                         -> that voice, or the sound as it was

Shards and clip files take the voice that is kept here; all that was measured before is of the sound
as it was. Paper: appendix on data, stage 1 (Demucs).
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmocha.curation.cut import clip_speech
from openmocha.curation.engines import Engine, run
from openmocha.curation.listen import BAND_EDGES_HZ
from openmocha.curation.probe import Unfit
from openmocha.curation.settings import Settings
from openmocha.media import SPEECH_RATE_HZ
from openmocha.whole_file import remove_parts, write_bytes, write_text

Row = dict[str, Any]
Array = np.ndarray[Any, Any]
Separator = Callable[[Array], Array]
"""Sound (2, samples) at 44.1 kHz -> the voice in it, of the same shape; it may be late by a bit."""

VERSION = 1  # raise it when the voice is made or measured otherwise than before
RATE_HZ = 44_100
LARGEST_DELAY_S = 0.05
ASIDE_S = 0.15  # of speech that belongs to no pause: breath, echo
SHORTEST_PAUSE_S = 0.3  # in all, else there is nothing to measure
LEAST_REMOVED_DB = 6.0  # from the pauses
MOST_LOST_DB = 3.0  # from any band that speech stands out in
STANDS_OUT_DB = 10.0
LEAST_ALIKE = 0.5  # correlation of voice and sound while somebody speaks

HTDEMUCS = "demucs.htdemucs.HTDemucs"
PROVENANCE = (
    "expected one .safetensors of HTDemucs as on the hub (adefossez/HTDemucs, by the authors of "
    "Demucs); check its terms yourself"
)


class Outcome(NamedTuple):
    """What a separation did, in dB of level taken away; `helps`: its voice is to be used."""

    pauses_db: float
    speech_db: float
    helps: bool


@dataclass(frozen=True)
class SeparateJob:
    """One clip whose voice is wanted; `answer` without suffix is where its results go."""

    path: Path
    start_s: float
    end_s: float
    speech_s: tuple[tuple[float, float], ...]
    weights: str
    answer: Path


def separate_rows(
    rows: list[Row], folder: Path, settings: Settings, engine: Engine, say: Callable[[str], None]
) -> list[Row]:
    """Try the separator on each kept clip; columns removed_pauses_db, removed_speech_db, and
    speech_file where its voice is used. Without a separator in the settings nothing happens.

    Raises ValueError for weights that cannot be used, ImportError where demucs is missing.
    """
    if settings.separator is None:
        return rows
    _separator(settings.separator)  # wrong weights are said before the work
    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    kept = [row for row in rows if row["reason"] is None and not row.get("part_of")]
    jobs = {job_of(row, folder, settings.separator): row for row in kept}
    say(f"music and noise are taken away from {len(jobs)} clips")
    for job, found in run(engine, _separate, list(jobs)):
        jobs[job] |= found or {"reason": "set aside: its reader died three times"}
    return rows


def job_of(row: Row, folder: Path, weights: str) -> SeparateJob:
    key = hashlib.sha256(json.dumps([VERSION, weights, row["speech_s"]]).encode()).hexdigest()[:10]
    spans = tuple((a, b) for a, b in row["speech_s"])
    answer = folder / f"{row['clip_id']}-{key}"
    return SeparateJob(Path(row["path"]), row["start_s"], row["end_s"], spans, weights, answer)


def _separate(job: SeparateJob) -> Row:
    return separated(job, partial(_by_name, job.weights))


def _by_name(weights: str, sound: Array) -> Array:
    voice: Array = _separator(weights)(sound)
    return voice


def separated(job: SeparateJob, separator: Separator) -> Row:
    """The columns of one clip; its voice lies beside, as int16 at 16 kHz, where it is better."""
    columns_file, voice_file = (Path(f"{job.answer}{suffix}") for suffix in (".json", ".npy"))
    if columns_file.exists():
        found: Row = json.loads(columns_file.read_text())
        return found
    try:
        columns, voice = best_voice(job, separator)
    except Unfit as unfit:
        columns, voice = {"reason": str(unfit)}, None
    try:
        if voice is not None:
            write_bytes(voice_file, voice)
            columns["speech_file"] = voice_file.name
        write_text(columns_file, json.dumps(columns))
    except OSError as error:
        return {"reason": f"set aside: {error}"}
    return columns


def best_voice(job: SeparateJob, separator: Separator) -> tuple[Row, bytes | None]:
    """What the separation of a clip did, and its voice as a .npy file where it is to be used."""
    num = round((job.end_s - job.start_s) * RATE_HZ)
    sound = clip_speech(job.path, job.start_s, num, RATE_HZ)
    given, voice = (at_speech_rate(one) for one in (sound, voice_in(sound, separator)))
    voice = moved_back(given, voice)
    spans = [(a - job.start_s, b - job.start_s) for a, b in job.speech_s]
    outcome = compare(given, voice, spans)
    columns: Row = {
        "removed_pauses_db": round(outcome.pauses_db, 2),
        "removed_speech_db": round(outcome.speech_db, 2),
    }
    if not outcome.helps:
        return columns, None
    file = io.BytesIO()
    np.save(file, np.round(voice.clip(-1, 1) * 32767).astype(np.int16))
    return columns, file.getvalue()


def speech_of(row: Row, num_samples: int, dataset: Path) -> Array:
    """float32 (num_samples,) at 16 kHz: a row's voice where it was separated, else its sound.

    Raises Unfit where the sound cannot be decoded.
    """
    if not row.get("speech_file"):
        return clip_speech(Path(row["path"]), row["start_s"], num_samples)
    voice = np.load(dataset / "work" / "speech" / row["speech_file"]).astype(np.float32) / 32767
    return np.pad(voice[:num_samples], (0, max(0, num_samples - len(voice))))


# --- before and after ----------------------------------------------------------------------------


def voice_in(sound: Array, separator: Separator) -> Array:
    """(samples,) the voice in a mono sound, as long as it."""
    voice = separator(np.stack([sound, sound])).mean(axis=0)[: len(sound)]
    return np.asarray(np.pad(voice, (0, len(sound) - len(voice))), np.float32)


def at_speech_rate(sound: Array) -> Array:
    import soxr

    return np.asarray(soxr.resample(sound, RATE_HZ, SPEECH_RATE_HZ), np.float32)


def moved_back(given: Array, voice: Array) -> Array:
    """The voice moved to where it correlates best with the sound, by up to 50 ms: separators and
    noise filters answer late, and lips would no longer match."""
    num_fft = 1 << (2 * len(given) - 1).bit_length()
    spectrum = np.fft.rfft(given, num_fft) * np.conj(np.fft.rfft(voice, num_fft))
    curve = np.fft.irfft(spectrum, num_fft)
    largest = round(LARGEST_DELAY_S * SPEECH_RATE_HZ)
    lags = np.arange(-largest, largest + 1)
    lag = int(lags[curve[lags].argmax()])
    moved = np.zeros_like(voice)
    if lag >= 0:
        moved[lag:] = voice[: len(voice) - lag]
    else:
        moved[:lag] = voice[-lag:]
    return moved


def compare(given: Array, voice: Array, spans: Sequence[tuple[float, float]]) -> Outcome:
    """What was taken away from pauses and from speech, given the spans of speech in seconds.

    It helps where pauses lose 6 dB or more, no band in which speech stands out of the pauses loses
    more than 3 dB, and what is left still runs with the sound. Without pauses nobody can tell.
    """
    time_s = np.arange(len(given)) / SPEECH_RATE_HZ
    near, speech = np.zeros(len(given), bool), np.zeros(len(given), bool)
    for start_s, end_s in spans:
        near |= (time_s >= start_s - ASIDE_S) & (time_s < end_s + ASIDE_S)
        speech |= (time_s >= start_s) & (time_s < end_s)
    if (~near).sum() < SHORTEST_PAUSE_S * SPEECH_RATE_HZ or not speech.any():
        return Outcome(0.0, 0.0, False)
    (pauses, talk), (pauses_left, talk_left) = (
        [band_db(sound, part) for part in (~near, speech)] for sound in (given, voice)
    )
    pauses_db, speech_db = (
        total_db(before) - total_db(after)
        for before, after in ((pauses, pauses_left), (talk, talk_left))
    )
    stands_out = talk - pauses > STANDS_OUT_DB
    lost_db = (talk - talk_left)[stands_out].max(initial=-np.inf if stands_out.any() else np.inf)
    alike = np.corrcoef(given[speech], voice[speech])[0, 1] if np.ptp(voice[speech]) else 0.0
    helps = pauses_db >= LEAST_REMOVED_DB and lost_db <= MOST_LOST_DB and alike >= LEAST_ALIKE
    return Outcome(float(pauses_db), float(speech_db), bool(helps))


def band_db(sound: Array, part: Array) -> Array:
    """(4,) level of the chosen samples in each band of listen.BAND_EDGES_HZ, -100 at the least."""
    spectrum = np.fft.rfft(sound)
    edges = np.array(BAND_EDGES_HZ) * len(sound) / SPEECH_RATE_HZ
    powers = []
    for first, last in zip(edges, edges[1:], strict=False):
        inside = np.zeros_like(spectrum)
        inside[round(first) : round(last)] = spectrum[round(first) : round(last)]
        powers.append(np.square(np.fft.irfft(inside, len(sound))[part]).mean())
    return np.asarray(10 * np.log10(np.array(powers) + 1e-10))


def total_db(bands: Array) -> float:
    return float(10 * np.log10((10 ** (bands / 10)).sum()))


# --- Demucs --------------------------------------------------------------------------------------


@cache
def _separator(weights: str) -> Separator:
    """Loaded once in each process."""
    return demucs_separator(weights_file(weights))


def weights_file(weights: str) -> Path:
    """The one .safetensors that is meant: itself, that of a folder, or that of a hub repository.

    Raises ValueError where there is none, or several.
    """
    from openmocha.models.store import HUB_ID

    place = Path(weights)
    if place.is_file():
        return place
    if not place.is_dir() and HUB_ID.fullmatch(weights):
        from openmocha.models.hub import Source, fetch

        place = fetch(Source(weights, ("*.safetensors",)))
    files = sorted(place.rglob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(f"separator {weights} holds {len(files)} .safetensors; {PROVENANCE}")
    return files[0]


def demucs_separator(file: Path) -> Separator:
    """HTDemucs with the weights of a file, which carries its settings: tensors and JSON, nothing
    that is executed; on a GPU where there is one.

    Raises ImportError where demucs is missing, ValueError for a file of anything else.
    """
    import torch

    try:
        from demucs.apply import apply_model
    except ImportError as error:
        raise ImportError(
            "the separator needs the package demucs: pip install 'openmocha[separate]'"
        ) from error
    model = htdemucs(file).to("cuda" if torch.cuda.is_available() else "cpu")
    place = list(model.sources).index("vocals")

    def separate(sound: Array) -> Array:
        mix = torch.from_numpy(np.ascontiguousarray(sound, np.float32))
        mean, deviation = mix.mean(), mix.std() + 1e-8
        scaled = ((mix - mean) / deviation)[None]
        # no random shifts: the same voice in every run
        sources = apply_model(model, scaled, shifts=0, device=next(model.parameters()).device)
        voice: Array = (sources[0, place].cpu() * deviation + mean).numpy()
        return voice

    return separate


def htdemucs(file: Path) -> Any:
    """The network of a .safetensors whose metadata says how it is built."""
    from demucs.htdemucs import HTDemucs
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"separator {file} cannot be read ({error}); {PROVENANCE}") from error
    if metadata.get("klass") != HTDEMUCS:
        raise ValueError(f"separator {file} is {metadata.get('klass')}; {PROVENANCE}")
    given = json.loads(metadata["kwargs"], object_hook=_fraction)
    model = HTDemucs(*json.loads(metadata["args"]), **given)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise ValueError(f"separator {file} does not fit its settings; {PROVENANCE}") from error
    return model.eval()


def _fraction(value: dict[str, Any]) -> Any:
    """Lengths of segments are written as fractions."""
    from fractions import Fraction

    if value.get("_type") == "fraction":
        return Fraction(value["numerator"], value["denominator"])
    return value
