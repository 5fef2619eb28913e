"""Curation of photoreal films: scenes, and whether swapped and shifted sound is told from the
films' own.

    python -m benchmarks.curation_photo ../shared/mochabench/mocha-generation

The films in folders named 2p_2clip_* hold one cut, all others none. The lip reader is fitted on
these very films, as a user's is, and reads each with a fold that was fitted without it.
results/curation_photo.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep
from openmocha.curation.clips import Clip, scenes
from openmocha.curation.judge import lip_samples
from openmocha.curation.lips import (
    LARGEST_SHIFT,
    SHIPPED,
    LipReader,
    LipScore,
    compare,
    fit,
    heard_in,
    opening_track,
)
from openmocha.curation.measure import Source, measure, read_film
from openmocha.curation.pipeline import list_sources
from openmocha.curation.settings import settings_for
from openmocha.media import FPS

Array = np.ndarray[Any, Any]
SHIFTS_S = (0.2, 0.3, 0.5, 1.0)
SEEN = 0.8  # of the looks: the mouth has to be there to be read


def judged_clip(source: Source) -> Clip | None:
    """The whole film as one clip, cut or not (who is seen when is not what is asked here), where
    one face is seen most of the time."""
    film = read_film(source)
    clip = Clip(film, 0, 0.0, float(film.watched.end_s))
    looks = {int(look) for person in clip.people for look in person.looks}
    return clip if len(looks) >= SEEN * len(clip.looks) else None


def mouth(clip: Clip) -> Array:
    """The opening of the largest face at each moment."""
    largest = max(clip.people, key=lambda p: p.height * len(p.looks))
    return opening_track(clip, largest)


def shifted(mel: Array, frames: int) -> Array:
    """The sound later (or earlier) by some frames; its first or last frame fills the gap."""
    places = np.clip(np.arange(len(mel)) - frames, 0, len(mel) - 1)
    return np.asarray(mel[places])


def auc(own: list[float], other: list[float]) -> float:
    """The chance that a film's own sound has the higher score."""
    a, b = np.array(own)[:, None], np.array(other)
    return round(float((a > b).mean() + 0.5 * (a == b).mean()), 4)


def sync(sources: list[Source], threshold: float) -> dict[str, Any]:
    samples = [
        s for source in sorted(sources, key=lambda s: s.film_id) for s in lip_samples(source)
    ]
    reader = fit(samples, LipReader.load(SHIPPED).weights[0])
    clips = {s.film_id: c for s in sources if (c := judged_clip(s)) is not None}
    openings = {film: mouth(clip) for film, clip in clips.items()}

    def score(film: str, mel: Array) -> LipScore:
        n = min(len(mel), len(openings[film]))
        return compare(reader.guess(film, mel)[:n], openings[film][:n])

    own = [score(film, heard_in(clip)).score for film, clip in clips.items()]
    swapped = [
        score(film, heard_in(other)).score
        for film in clips
        for name, other in clips.items()
        if name != film
    ]
    moved: dict[float, list[LipScore]] = {}
    for film, clip in clips.items():
        for shift_s in SHIFTS_S:
            for sign in (1, -1):
                late = shifted(heard_in(clip), sign * round(shift_s * FPS))
                moved.setdefault(shift_s, []).append(score(film, late))
    everything = [s.score for scores in moved.values() for s in scores]
    assert max(SHIFTS_S) * FPS <= LARGEST_SHIFT
    return {
        "films": len(clips),
        "fitted_on_clips": len(samples),
        "auc_swapped": auc(own, swapped),
        "auc_shifted": auc(own, everything),
        "auc_by_shift": {str(s): auc(own, [x.score for x in xs]) for s, xs in moved.items()},
        "threshold": threshold,
        "kept_untouched": round(float((np.array(own) >= threshold).mean()), 4),
        "kept_swapped": round(float((np.array(swapped) >= threshold).mean()), 4),
        "kept_shifted": round(float((np.array(everything) >= threshold).mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", type=Path)
    given = parser.parse_args()
    settings = settings_for("photo")
    work = Path(tempfile.gettempdir()) / "curation_photo"
    sources = list_sources([given.films], work, settings)
    unfit = {s.path.name: reason for s in sources if (reason := measure(s))}
    sources = [s for s in sources if s.path.name not in unfit]
    found = {s: len(scenes(read_film(s).watched, settings.thresholds.cut)) for s in sources}
    wanted = {s: 2 if s.path.parent.name.startswith("2p_2clip") else 1 for s in sources}
    result = {
        "films": len(sources),
        "unfit": unfit,
        "scenes_right": sum(found[s] == wanted[s] for s in sources),
        "lips": sync(sources, settings.thresholds.lip_score),
    }
    print(json.dumps(result, indent=1))
    keep("curation_photo", result)


if __name__ == "__main__":
    main()
