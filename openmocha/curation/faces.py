"""Faces through one small interface, for photographs and for drawings.

    finder = photo_faces()              # or toon_faces(): both are functions of frames
    finder(frames) -> one list of Faces per frame

`frames` are consecutive pictures of one film: a finder may follow a face from one to the next.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Frame = np.ndarray[Any, Any]  # uint8 (H, W, 3), RGB
Array = np.ndarray[Any, Any]


class Face(NamedTuple):
    """One face: its box and the middle of its mouth in shares of the frame's width and height,
    how far the mouth is open (in shares of the face's height), and where it looks (-1 = full
    profile to the viewer's left .. 1 right)."""

    x0: float
    y0: float
    x1: float
    y1: float
    certainty: float
    mouth_open: float
    yaw: float
    mouth_x: float
    mouth_y: float


def face_of(values: Sequence[float]) -> Face:
    """A Face from its fields in order, of whatever type numpy gave them."""
    return Face._make(map(float, values))


FaceFinder = Callable[[list[Frame]], list[list[Face]]]
Network = Callable[[Array], list[Array]]


def face_finder(kind: str) -> FaceFinder:
    """The finder of a kind of picture: "photo" or "toon". Raises ValueError for another kind."""
    if kind == "photo":
        return photo_faces()
    if kind == "toon":
        return toon_faces()
    raise ValueError(f"faces are {kind!r}; expected photo (of real people) or toon (drawn ones)")


# --- photographs ---------------------------------------------------------------------------------
#
# MediaPipe's networks (its wheel carries them) run by LiteRT: MediaPipe's own Python needs releases
# of numpy and protobuf that nothing else here can live with.

_DETECTOR = "face_detection/face_detection_full_range_sparse.tflite"
_LANDMARKS = "face_landmark/face_landmark.tflite"
_DETECTOR_SIZE, _LANDMARK_SIZE, _ANCHORS = 192, 192, 48
_LEAST_CERTAINTY, _LEAST_PRESENCE = 0.6, 0.5
_MARGIN = 1.5  # of the square that the landmark network sees, around a face
_INNER_LIPS = ((13, 14), (82, 87), (312, 317))  # upper and lower, by MediaPipe's numbering
_BROW, _CHIN, _NOSE, _CHEEKS, _EYES = 10, 152, 1, (234, 454), (33, 263)
_LOOK_AGAIN = 6  # frames between two searches of the whole picture


def photo_faces() -> FaceFinder:
    """MediaPipe's full-range detector and 468 landmarks; faces are followed between searches.

    Raises ImportError where mediapipe or ai-edge-litert is missing.
    """
    detector, landmarks = _photo_networks()
    return partial(_follow, partial(_detect, detector), partial(_read_landmarks, landmarks))


def photo_presence(frame: Frame) -> float:
    """How surely a frame shows a real person's face: the logit of the landmark network, of the
    surest face; -inf where the detector finds none. Raises ImportError as photo_faces does."""
    detector, landmarks = _photo_networks()
    found = [_landmarks(landmarks, frame, square)[1] for square in _detect(detector, frame)]
    return max(found, default=-math.inf)


@cache
def _photo_networks() -> tuple[Network, Network]:
    """Detector and landmarks, loaded once in each process."""
    spec = find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise ImportError("mediapipe is not installed (only its networks are used)")
    modules = Path(spec.origin).parent / "modules"
    return _network(modules / _DETECTOR), _network(modules / _LANDMARKS)


def _network(file: Path) -> Network:
    """A .tflite file as a function of its input array."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    results = [output["index"] for output in interpreter.get_output_details()]

    def run(pixels: Array) -> list[Array]:
        interpreter.set_tensor(given, pixels[None].astype(np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(index)[0] for index in results]

    return run


def _follow(
    detect: Callable[[Frame], Array], read: Callable[[Frame, Array], Array | None], frames: Any
) -> list[list[Face]]:
    """Search now and then, and wherever a face was lost; between, look where the faces were."""
    found: list[list[Face]] = []
    squares: list[Array] = []
    for number, frame in enumerate(frames):
        search = number % _LOOK_AGAIN == 0 or not squares
        if search:
            squares = list(detect(frame))
        landmarks = [points for square in squares if (points := read(frame, square)) is not None]
        if len(landmarks) < len(squares) and not search:
            squares = list(detect(frame))
            landmarks = [points for s in squares if (points := read(frame, s)) is not None]
        landmarks = _without_doubles(landmarks)
        squares = [_square_around(points) for points in landmarks]
        found.append([_face(points, frame.shape) for points in landmarks])
    return found


def _detect(network: Network, frame: Frame) -> Array:
    """Squares (N, 4) around the faces of a frame: centre x, y, side in pixels, roll."""
    import cv2

    height, width = frame.shape[:2]
    scale = _DETECTOR_SIZE / max(height, width)
    small = cv2.resize(
        frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
    )
    left, top = (_DETECTOR_SIZE - small.shape[1]) // 2, (_DETECTOR_SIZE - small.shape[0]) // 2
    boxed = np.zeros((_DETECTOR_SIZE, _DETECTOR_SIZE, 3), np.float32)
    boxed[top : top + small.shape[0], left : left + small.shape[1]] = small
    raw, logits = network(boxed / 127.5 - 1)
    certainty = 1 / (1 + np.exp(-logits[:, 0].clip(-80, 80)))
    likely = np.flatnonzero(certainty > _LEAST_CERTAINTY)
    likely = likely[np.argsort(-certainty[likely], kind="stable")]
    anchors = np.stack([likely % _ANCHORS, likely // _ANCHORS], axis=1) + 0.5
    anchors *= _DETECTOR_SIZE / _ANCHORS
    centre, size = raw[likely, :2] + anchors, raw[likely, 2:4]
    eyes = (raw[likely, 6:8] + anchors) - (raw[likely, 4:6] + anchors)  # from right to left eye
    chosen = cv2.dnn.NMSBoxes(
        np.concatenate([centre - size / 2, size], axis=1).tolist(), certainty[likely].tolist(),
        _LEAST_CERTAINTY, 0.3,
    )  # fmt: skip
    kept = np.asarray(chosen, int).reshape(-1)
    middle = (centre[kept] - (left, top)) / scale
    side = size[kept].max(axis=1, keepdims=True) / scale * _MARGIN
    roll = np.arctan2(eyes[kept, 1:], eyes[kept, :1])
    return np.concatenate([middle, side, roll], axis=1)


def _read_landmarks(network: Network, frame: Frame, square: Array) -> Array | None:
    """Landmarks (468, 3) in pixels of the frame, or None where the square shows no face."""
    points, logit = _landmarks(network, frame, square)
    return None if 1 / (1 + math.exp(-logit)) < _LEAST_PRESENCE else points


def _landmarks(network: Network, frame: Frame, square: Array) -> tuple[Array, float]:
    """Landmarks (468, 3) in pixels of the frame, and the logit that the square shows a face."""
    import cv2

    to_frame = _turn(square)
    crop = cv2.warpAffine(
        frame, to_frame, (_LANDMARK_SIZE, _LANDMARK_SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    raw, presence = network(crop.astype(np.float32) / 255)
    points = raw.reshape(468, 3)
    flat = points[:, :2] @ to_frame[:, :2].T + to_frame[:, 2]
    placed = np.concatenate([flat, points[:, 2:] * square[2] / _LANDMARK_SIZE], axis=1)
    return placed, float(presence.reshape(-1)[0])


def _turn(square: Array) -> Array:
    """(2, 3) that maps the landmark network's pixels to the frame's."""
    x, y, side, roll = square
    scale = side / _LANDMARK_SIZE
    turn = scale * np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    return np.column_stack([turn, (x, y) - turn @ np.full(2, _LANDMARK_SIZE / 2)])


def _square_around(points: Array) -> Array:
    """The square where to look for a face in the next frame."""
    eyes = points[_EYES[1]] - points[_EYES[0]]
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return np.array([*(low + high) / 2, (high - low).max() * _MARGIN, math.atan2(eyes[1], eyes[0])])


def _without_doubles(landmarks: list[Array]) -> list[Array]:
    """Two squares may have slid onto one face: the first one keeps it."""
    kept: list[Array] = []
    for points in landmarks:
        size = np.ptp(points[:, 0])
        near = [np.linalg.norm((points - other)[:, :2].mean(0)) < size / 3 for other in kept]
        if not any(near):
            kept.append(points)
    return kept


def _face(points: Array, shape: tuple[int, ...]) -> Face:
    height, width = shape[:2]
    low, high = points[:, :2].min(0) / (width, height), points[:, :2].max(0) / (width, height)
    lips = np.array(_INNER_LIPS)
    opening = np.linalg.norm(points[lips[:, 0]] - points[lips[:, 1]], axis=1).mean()
    tall = np.linalg.norm(points[_BROW] - points[_CHIN])
    right, left = (abs(points[_NOSE, 0] - points[cheek, 0]) for cheek in _CHEEKS)
    mouth = points[[13, 14], :2].mean(0) / (width, height)
    yaw = (right - left) / max(right + left, 1e-6)
    return face_of((*low, *high, 1.0, opening / max(tall, 1e-6), yaw, *mouth))


# --- drawings ------------------------------------------------------------------------------------

YAW_EVERY = 8  # looks: heads turn slowly, and reading their pose costs most
TOON_WEIGHTS = Path(__file__).parents[1] / "weights" / "toon"


def toon_faces() -> FaceFinder:
    """The embedded finder of drawn faces; the embedded judge reads their mouths and poses."""
    from openmocha.toon.face_finder import load_face_finder
    from openmocha.toon.judge import load_judge

    finder = load_face_finder(TOON_WEIGHTS / "face_finder")
    return partial(_toon_faces, finder, load_judge(TOON_WEIGHTS / "judge"))


def _toon_faces(finder: Any, judge: Any, frames: list[Frame]) -> list[list[Face]]:
    return [
        faces
        for start in range(0, len(frames), 16)
        for faces in _toon_batch(finder, judge, np.stack(frames[start : start + 16]))
    ]


def _toon_batch(finder: Any, judge: Any, frames: Array) -> list[list[Face]]:
    """Faces of a batch of frames; the judge reads all of their mouths at once."""
    import torch

    from openmocha.toon.judge import FRAME_SIZE, letterbox

    height, width = frames.shape[1:3]
    images, offset, scale = letterbox(frames)
    seen = finder.find(frames)
    most = max(len(one.faces) for one in seen)
    if not most:
        return [[] for _ in seen]
    boxes = torch.full((len(seen), most, 4), 0.5)  # where there are fewer, nothing is looked at
    for number, one in enumerate(seen):
        pixels = one.mouths * scale + np.tile(offset, 2)
        boxes[number, : len(pixels)] = torch.from_numpy(pixels / FRAME_SIZE)
    with torch.inference_mode():
        exact = judge.finder(images, boxes)
        opening = judge.mouth(images, exact)[..., 0].numpy()
        # heads turn slowly, and reading their pose costs most
        pose = judge.near(images[::YAW_EVERY], exact[::YAW_EVERY])["pose"]
    yaw = np.repeat(pose[..., 0].numpy(), YAW_EVERY, axis=0)
    found = []
    for number, one in enumerate(seen):
        faces = one.faces / (width, height, width, height)
        mouths = (one.mouths[:, :2] + one.mouths[:, 2:]) / 2 / (width, height)
        read = zip(faces, one.certainty, opening[number], yaw[number], mouths, strict=False)
        found.append([face_of((*f, c, o, y, *m)) for f, c, o, y, m in read])
    return found
