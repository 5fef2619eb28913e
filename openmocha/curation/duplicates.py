"""Near-duplicates: clips that look the same and sound the same, as re-uploads do.

A talking head looks alike in all of its clips, so the picture alone says nothing: the rise and fall
of the sound has to agree too.
"""

from collections import defaultdict
from itertools import combinations
from typing import Any

Row = dict[str, Any]

SAME_SOUND = 14  # bits of 64; unrelated sounds differ in about 32
BANDS = 8  # of 8 bits


def drop_duplicates(rows: list[Row], same_picture: int) -> list[Row]:
    """Of kept clips that are near-duplicates all but one get the reason "near-duplicate" and the
    id of the one that stays: the longest, then the one whose id comes first.

    Raises ValueError for more differing bits than the search can find.
    """
    if same_picture > BANDS - 2:
        raise ValueError(f"same_picture is {same_picture}; expected 0 to {BANDS - 2} bits")
    kept = [row for row in rows if row["reason"] is None]
    kept.sort(key=lambda row: (-row["duration_s"], row["clip_id"]))
    buckets: dict[tuple[int, int, int], list[Row]] = defaultdict(list)
    for row in kept:
        # Hashes that differ in at most 6 bits have two of their 8 bands in common.
        keys = band_pairs(int(row["picture_hash"], 16))
        likely = {id(other): other for key in keys for other in buckets[key]}
        original = next((o for o in likely.values() if same(o, row, same_picture)), None)
        if original is not None:
            row["reason"], row["duplicate_of"] = "near-duplicate", original["clip_id"]
            continue
        for key in keys:
            buckets[key].append(row)
    return rows


def band_pairs(bits: int) -> list[tuple[int, int, int]]:
    """Each pair of the 8 bands of a 64-bit hash, as (first band, second band, their 16 bits)."""
    bands = [(bits >> (8 * i)) & 0xFF for i in range(BANDS)]
    return [(i, j, bands[i] << 8 | bands[j]) for i, j in combinations(range(BANDS), 2)]


def same(a: Row, b: Row, same_picture: int) -> bool:
    """Two clips of about one length whose hashes nearly agree."""
    if abs(a["duration_s"] - b["duration_s"]) > 0.2 or {"parts", "part_of"} & (a.keys() ^ b.keys()):
        return False
    picture, sound = (
        (int(a[name], 16) ^ int(b[name], 16)).bit_count() for name in ("picture_hash", "sound_hash")
    )
    return picture <= same_picture and sound <= SAME_SOUND
