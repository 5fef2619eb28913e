"""What the measures are called, which way is better, and what was published of other systems."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric and its measures are shown. `note` says how it is to be read."""

    title: str
    note: str
    measures: dict[str, "Measure"]


@dataclass(frozen=True)
class Measure:
    """better: "higher", "lower", or "" where neither is. digits: after the point; None: four that
    count."""

    label: str
    better: str = ""
    digits: int | None = 3


@dataclass(frozen=True)
class Published:
    """A row of somebody's table, as printed there."""

    source: str
    system: str
    values: dict[str, float]


AUXILIARY = "Auxiliary, not comparable"

METRICS = {
    "sync": Metric(
        "Lip-sync by SyncNet",
        "Sync-C is how much better the best shift of lips against speech fits than a middling one; "
        "Sync-D is how far apart they are there. Films without a face that can be followed have "
        "neither and are left out: read n.",
        {"sync_c": Measure("Sync-C", "higher"), "sync_d": Measure("Sync-D", "lower")},
    ),
    "toon-sync": Metric(
        "Lip-sync of drawn films by Toon-Sync",
        "By a network that this project trained on drawn films. It is not SyncNet, and its numbers "
        "are not Sync-C and Sync-D; it says nothing about films of people.",
        {
            "toon_sync_c": Measure("Toon-Sync C", "higher"),
            "toon_sync_d": Measure("Toon-Sync D", "lower"),
        },
    ),
    "judge": Metric(
        "Four aspects by a vision-language model, 1 to 4",
        "The model sees pictures and hears nothing. Judges of this kind are too lenient against "
        "people: use the numbers to rank systems. Lip-sync gets advice beside the films, no score.",
        {
            "judge_expression": Measure("Facial expression", "higher", 2),
            "judge_action": Measure("Action", "higher", 2),
            "judge_text": Measure("Text alignment", "higher", 2),
            "judge_visual": Measure("Visual quality", "higher", 2),
        },
    ),
    "free": Metric(
        f"Measures without weights: {AUXILIARY.lower()}",
        "Nobody else computes these just so. None is a score of quality by itself (a still picture "
        "flickers least), and none may be read as Sync-C or Sync-D.",
        {},
    ),
}

BENCHMARK = "MoChaBench's leaderboard, 220 released items"
FIRST_VERSION = "the paper's first version, 150 items"
PUBLISHED_SYNC = (
    Published(
        BENCHMARK,
        "MoCha",
        {
            "monologue/sync_c": 6.333,
            "monologue/sync_d": 8.185,
            "dialogue/sync_c": 4.951,
            "dialogue/sync_d": 8.601,
        },
    ),
    Published(BENCHMARK, "Hallo3", {"monologue/sync_c": 4.866, "monologue/sync_d": 8.963}),
    Published(BENCHMARK, "SadTalker", {"monologue/sync_c": 4.727, "monologue/sync_d": 9.239}),
    Published(BENCHMARK, "AniPortrait", {"monologue/sync_c": 1.740, "monologue/sync_d": 11.383}),
    Published(FIRST_VERSION, "MoCha", {"monologue/sync_c": 6.037, "monologue/sync_d": 8.103}),
)
AXES = ("lip-sync", "expression", "action", "text", "visual")
PUBLISHED_RATINGS = tuple(
    Published("rated by people, 1 to 4", system, dict(zip(AXES, values, strict=True)))
    for system, values in (
        ("MoCha", (3.85, 3.82, 3.82, 3.85, 3.72)),
        ("Hallo3", (2.45, 2.25, 2.13, 2.35, 2.36)),
        ("SadTalker", (1.21, 1.14, 1.00, float("nan"), 2.95)),
        ("AniPortrait", (1.16, 1.12, 1.00, float("nan"), 1.45)),
    )
)


def measure_of(metric: str, name: str) -> Measure:
    """How a measure is shown; names that are not listed are words already."""
    known = METRICS[metric].measures if metric in METRICS else {}
    return known.get(name, Measure(name.replace("_", " "), digits=None))
