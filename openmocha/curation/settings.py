"""Everything that can be set, with defaults for photographed and for drawn films, and a YAML face.

faces: photo                 # or toon, or auto: each film by what it is
thresholds: {longest_s: 8}   # only what differs from the defaults
captions: {url: http://localhost:8000/v1, model: Qwen3-VL}
"""

import difflib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from openmocha.curation.endpoint import Endpoint
from openmocha.curation.probe import Limits

KINDS = ("photo", "toon")


@dataclass(frozen=True)
class Thresholds:
    """What is kept. All act on stored measurements, so changing one decodes nothing again."""

    cut: float = 27.0  # PySceneDetect's content score
    shortest_s: float = 1.5
    longest_s: float = 10.0  # longer scenes are cut at their quietest moments
    speech: float = 0.5  # silero's probability
    speech_share: float = 0.3  # of a clip's time
    silence_db: float = -50.0  # a clip below this at its 95th percentile is silent
    tonal: float = 0.4  # spectral flatness below which a sound without speech is music
    dynamic_range_db: float = 18.0  # CURATION: 5% quantile to 95% of the level
    face_share: float = 0.8  # of the looks in which the main face is seen
    most_faces: int = 2
    face_height: float = 0.12  # of the frame's height
    frozen: float = 0.15  # mean grey-level difference between looks
    shaky: float = 0.5  # length of the median flow, widths of the frame per second
    mouth_at_rest: float = 0.012  # of the opening, from its 10% to its 90% quantile
    judged_s: float = 3.5  # lips of shorter clips are not judged
    lip_score: float = 0.3  # lips.LipScore
    lip_shifted: float = 0.6  # by which a shift of the sound is told from other words
    largest_lag: int = 2  # video frames
    sync_c: float = 3.0  # SyncNet's confidence, where it is asked
    sync_offset: int = 6  # frames at 25 a second, either way
    close_up: float = 0.33  # face heights above which a shot is called so
    medium_close_up: float = 0.2
    medium: float = 0.09
    same_place: float = 0.5  # of the background's colours, for a conversation's two clips
    same_picture: int = 6  # bits of 64 by which near-duplicates differ at most


def toon_thresholds() -> Thresholds:
    """For drawn films: faces are boxes of 110 head units, openings go from 0 to 1."""
    return Thresholds(
        face_height=0.2,
        mouth_at_rest=0.12,
        close_up=0.55,
        medium_close_up=0.38,
        medium=0.2,
        frozen=0.05,
        lip_score=0.75,
        lip_shifted=0.87,
    )


@dataclass(frozen=True)
class Shards:
    """What training shards hold: the model whose encoders make the latents, and the picture."""

    model: str = "toon"
    width: int = 128
    height: int = 128
    latent_frames: int = 32  # of a crop at most; longer clips of the embedded model make several
    clips_per_shard: int = 64


@dataclass(frozen=True)
class Settings:
    """A whole curation. `faces` chooses the face finder and the defaults that suit it. With "auto"
    each film is first asked what it is: `drawn` are the thresholds of those that are drawn, and
    `looks_per_s`, `lips` and what `thresholds` say of SyncNet and of duplicates are not theirs."""

    faces: str = "photo"
    looks_per_s: float = 12.0
    limits: Limits = field(default_factory=Limits)
    thresholds: Thresholds = field(default_factory=Thresholds)
    drawn: Thresholds = field(default_factory=toon_thresholds)
    shards: Shards = field(default_factory=Shards)
    captions: Endpoint | None = None
    prominence: bool = False  # also ask the endpoint whether a character is the main focus
    lips: str | None = None  # lips.json of another dataset, or "toon": that of drawn mouths
    syncnet: str | None = (
        None  # folder or hub repository of its weights: kept clips are asked about
    )
    separator: str | None = None  # Demucs' weights: music and noise are taken from behind speech
    clip_files: bool = False  # also write each kept clip as mp4

    def of(self, kind: str) -> "Settings":
        """What holds for films of a kind, "photo" or "toon", where faces are "auto"."""
        if self.faces != "auto":
            return self
        if kind != "toon":
            return replace(self, faces="photo")
        return replace(settings_for("toon"), limits=self.limits, thresholds=self.drawn)


def settings_for(faces: str) -> Settings:
    """The defaults for "photo" or "toon" films, or for both ("auto"). Raises ValueError for
    another kind."""
    if faces in ("photo", "auto"):
        return Settings(faces=faces)
    if faces == "toon":
        return Settings(faces="toon", looks_per_s=24.0, thresholds=toon_thresholds(), lips="toon")
    raise ValueError(
        f"faces are {faces!r}; expected photo (real people), toon (drawn ones) or auto (either)"
    )


def load_settings(path: Path) -> Settings:
    """Read a YAML file; what it leaves out keeps its default. Raises ValueError for unknown keys
    and for values of the wrong type, FileNotFoundError where there is no such file."""
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"settings {path} do not exist; expected a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"settings {path} are not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"settings {path} must be keys and values, such as faces: photo")
    captions = content.pop("captions", None)
    settings: Settings = _changed(settings_for(content.get("faces", "photo")), content, str(path))
    if settings.faces == "auto" and settings.lips == "toon":
        raise ValueError(f"{path}: lips: toon is for drawn films; with faces: auto they have it")
    if captions is None:
        return settings
    _check_keys(captions, Endpoint, f"{path}: captions")
    try:
        return replace(settings, captions=Endpoint(**captions))
    except TypeError as error:
        raise ValueError(f"{path}: captions need url and model ({error})") from error


def _changed(defaults: Any, content: dict[str, Any], name: str) -> Any:
    """A dataclass with some of its fields replaced, nested ones too."""
    _check_keys(content, type(defaults), name)
    changes: dict[str, Any] = {}
    for key, value in content.items():
        old = getattr(defaults, key)
        if isinstance(old, Limits | Thresholds | Shards):
            if not isinstance(value, dict):
                raise ValueError(f"{name}: {key} must hold keys and values, got {value!r}")
            changes[key] = _changed(old, value, f"{name}: {key}")
        elif isinstance(old, bool) != isinstance(value, bool) or (
            old is not None and not isinstance(value, (int, float) if isinstance(old, float)
                                               else type(old))
        ):  # fmt: skip
            raise ValueError(f"{name}: {key} is {value!r}; expected a value like {old!r}")
        else:
            changes[key] = value
    return replace(defaults, **changes)


def _check_keys(content: dict[str, Any], kind: type, name: str) -> None:
    known = [f.name for f in fields(kind)]
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{name} has an unknown key {key!r}{hint}; known: {', '.join(known)}")
