"""What crop rules leave of first frames: how much of the picture, and how large the face is in it.

    python -m benchmarks.baseline_crops ../shared/mochabench

First frames of MoCha's own films. "Hallo3's own" is the 3:2 part from the middle that Hallo3 takes
of a whole frame. results/baseline_crops.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.intervals import share
from benchmarks.machine import keep
from openmocha.curation.faces import Face, photo_faces
from openmocha.evaluation.baselines.first_frame import (
    CROPS,
    Box,
    crop_box,
    first_frame,
    main_face,
)
from openmocha.evaluation.mochabench import film_path, read_benchmark


def middle_of_three_by_two(width: int, height: int) -> Box:
    wide, tall = min(width, round(height * 1.5)), min(height, round(width / 1.5))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def pixels(face: Face, width: int, height: int) -> Box:
    """The part of a face's box that lies in the picture."""
    x = np.clip([face.x0, face.x1], 0, 1) * width
    y = np.clip([face.y0, face.y1], 0, 1) * height
    return round(x[0]), round(y[0]), round(x[1]), round(y[1])


def inside(face: Box, box: Box) -> bool:
    return face[0] >= box[0] and face[1] >= box[1] and face[2] <= box[2] and face[3] <= box[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of MoChaBench")
    folder = parser.parse_args().folder
    find_faces = photo_faces()
    films = [film_path(folder / "mocha-generation", item) for item in read_benchmark(folder)]
    frames = [first_frame(film) for film in films if film.is_file()]
    rows: dict[str, list[tuple[bool, float, float]]] = {}  # face inside, area, face's height
    for frame in frames:
        height, width = frame.shape[:2]
        face = main_face(frame, find_faces)
        if face is None:
            continue
        where = pixels(face, width, height)
        boxes = {crop: crop_box(crop, width, height, face) for crop in CROPS}
        for rule, box in {**boxes, "Hallo3's own": middle_of_three_by_two(width, height)}.items():
            wide, tall = box[2] - box[0], box[3] - box[1]
            row = inside(where, box), wide * tall / (width * height), (where[3] - where[1]) / tall
            rows.setdefault(rule, []).append(row)
    result = {
        rule: {
            "whole_face_inside": share([found for found, _, _ in of_rule]),
            "area_kept": round(float(np.mean([area for _, area, _ in of_rule])), 4),
            "face_of_height": round(float(np.median([tall for _, _, tall in of_rule])), 4),
        }
        for rule, of_rule in rows.items()
    }
    found = {"frames": len(frames), "without_a_face": len(frames) - len(rows["full"])}
    print(json.dumps({**found, **result}, indent=1))
    keep("baseline_crops", {**found, **result})


if __name__ == "__main__":
    main()
