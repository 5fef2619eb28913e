"""Captions for the manifest's rows: by a model where there is an endpoint, else by the template.

A question that stays without an answer sets its clip aside for the next run.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openmocha.curation.caption import (
    caption_of_answer,
    caption_request,
    prominence_request,
    template_caption,
)
from openmocha.curation.cut import clip_frames
from openmocha.curation.describe import description_of
from openmocha.curation.endpoint import Endpoint, EndpointError, ask_all, check, estimate
from openmocha.curation.settings import Settings

Row = dict[str, Any]
Question = tuple[list[dict[str, Any]], dict[str, Any]]
PICTURES = 4  # of each clip that a model sees


def caption_rows(
    rows: list[Row], cache: Path, settings: Settings, say: Callable[[str], None]
) -> list[Row]:
    """Give each kept row its caption and who wrote it (columns caption, caption_by).

    Raises ValueError where the endpoint answers but cannot be used.
    """
    described = descriptions(rows)
    for row in rows:
        if row.get("clip_id") in described:
            row["caption"] = template_caption(described[row["clip_id"]])
            row["caption_by"] = "template"
    endpoint = settings.captions
    if endpoint is None or not described:
        return rows
    chosen = [row for row in rows if row.get("clip_id") in described]
    pictures = PICTURES if endpoint.images else 0
    say(json.dumps(estimate(len(chosen) * (1 + settings.prominence), pictures, endpoint)))
    try:
        check(endpoint)
    except EndpointError as error:
        return set_aside(chosen, rows, str(error))
    if settings.prominence:
        judge_prominence(chosen, described, endpoint, cache)
        chosen = [row for row in chosen if row["reason"] is None]
    ask_captions(chosen, described, endpoint, cache)
    return rows


def set_aside(chosen: list[Row], rows: list[Row], why: str) -> list[Row]:
    for row in chosen:
        row["reason"], row["caption"] = f"set aside: {why}", None
    return rows


def descriptions(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """What was measured of each kept clip, in words, by its id; conversations from their parts."""
    by_id = {row["clip_id"]: row for row in rows if row.get("clip_id")}
    found = {}
    for row in rows:
        if row["reason"] is not None or row.get("part_of"):
            continue
        if row.get("parts"):
            parts = [description_of(by_id[part]) for part in row["parts"]]
            found[row["clip_id"]] = {"clips": parts}
        else:
            found[row["clip_id"]] = description_of(row)
    return found


def ask_captions(
    rows: list[Row], described: dict[str, dict[str, Any]], endpoint: Endpoint, cache: Path
) -> None:
    def questions() -> Iterator[Question]:
        for row in rows:
            frames = pictures_of(row) if endpoint.images else []
            known = described[row["clip_id"]]
            yield caption_request(known, frames, row["duration_s"])

    for number, answer in ask_all(endpoint, questions(), cache):
        row = rows[number]
        if isinstance(answer, EndpointError):
            row["reason"], row["caption"] = f"set aside: {answer}", None
        else:
            row["caption"], row["caption_by"] = caption_of_answer(answer), endpoint.model


def judge_prominence(
    rows: list[Row], described: dict[str, dict[str, Any]], endpoint: Endpoint, cache: Path
) -> None:
    """The paper's second step by a model: its reason is kept, its decision drops the clip."""

    def questions() -> Iterator[Question]:
        for row in rows:
            frames = pictures_of(row) if endpoint.images else []
            yield prominence_request(described[row["clip_id"]], frames)

    for number, answer in ask_all(endpoint, questions(), cache):
        row = rows[number]
        if isinstance(answer, EndpointError):
            row["reason"], row["caption"] = f"set aside: {answer}", None
            continue
        row["prominence"] = answer["reason"]
        if answer["decision"] == "drop":
            row["reason"], row["caption"] = "not the main focus", None


def pictures_of(row: Row) -> list[Any]:
    """Frames spread evenly over a clip."""
    shares = (np.arange(PICTURES) + 0.5) / PICTURES
    times_s = row["start_s"] + shares * row["duration_s"]
    return clip_frames(Path(row["path"]), row["start_s"], times_s, shorter_side=384)
