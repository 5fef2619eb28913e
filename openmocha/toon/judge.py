"""The judge: a small network that reads toon frames and says what it sees.

Frames (any size, letterboxed to 128x128) -> where each person's mouth is and what shape it has,
what the people, the place and the shot are like. It measures generated films against the truth of
the procedural set, so it sees pixels only, one frame at a time; a film's attributes are the mean
of the frames' log-probabilities.

    judge = load_judge("openmocha/weights/toon/judge")
    judge.read(frames).mouth     # (T, P, 4)

A coarse network finds people and mouths; a second, tiny one reads each mouth from an aligned crop.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openmocha.toon.judge_motion import ActionReader
from openmocha.toon.labels import FRAME_ATTRIBUTES, PEOPLE, PERSON_ATTRIBUTES, POSE

# Shapes: B frames, C channels, H W pixels, h w rows and columns of the coarse map, P people in the
# frame from left to right (2 at most), A attention maps, D width, T frames of a film.

FRAME_SIZE = 128


@dataclass(frozen=True)
class Window:
    """A square around a mouth's box: pixels read, side and drop over the box's longer side."""

    size: int
    side: float
    drop: float = 0.0


MOUTH_WINDOW = Window(size=48, side=1.4)
FACE_WINDOW = Window(size=48, side=2.0, drop=-0.5)  # from the brows to the chin
FINDER_WINDOW = Window(size=48, side=2.4, drop=-0.3)  # the head
PERSON_WINDOW = Window(size=48, side=5.0, drop=0.8)  # from above the hair to the waist


@dataclass(frozen=True)
class JudgeConfig:
    """Widths of the judge's networks; the default has just under a million parameters."""

    patch: int = 4
    widths: tuple[int, ...] = (48, 64, 96)
    blocks: tuple[int, ...] = (0, 1, 1)
    attention_maps: int = 5
    width: int = 112
    person_widths: tuple[int, ...] = (32, 64, 96, 128)
    face_widths: tuple[int, ...] = (24, 48, 64, 96)
    mouth_widths: tuple[int, ...] = (32, 48, 64, 96)


@dataclass(frozen=True)
class Judgement:
    """What the judge reads from the T frames of a film, people from left to right.

    mouth: (T, P, 4) open, spread, pressed, teeth. boxes: (T, P, 4) mouths' x0 y0 x1 y1 in pixels
    of the frame given. second_person: (T,) probability. pose: (T, P, len(POSE)). person, frame:
    log-probabilities of PERSON_ATTRIBUTES (T, P, classes) and FRAME_ATTRIBUTES (T, classes).
    """

    mouth: np.ndarray
    boxes: np.ndarray
    second_person: np.ndarray
    pose: np.ndarray
    person: dict[str, np.ndarray]
    frame: dict[str, np.ndarray]

    def attribute(self, name: str, person: int = 0, clip: slice = slice(None)) -> str:
        """The film's (or clip's) most probable value of an attribute, frames weighted alike."""
        if name in self.frame:
            scores = self.frame[name][clip].mean(0)
            return FRAME_ATTRIBUTES[name][int(scores.argmax())]
        scores = self.person[name][clip, person].mean(0)
        return PERSON_ATTRIBUTES[name][int(scores.argmax())]

    def num_people(self, clip: slice = slice(None)) -> int:
        """How many people the clip shows, 1 or 2."""
        return 2 if self.second_person[clip].mean() > 0.5 else 1

    def speaker(self, clip: slice = slice(None)) -> int:
        """Who talks: the person whose mouth opening moves most."""
        if self.num_people(clip) == 1:
            return 0
        motion = np.abs(np.diff(self.mouth[clip, :, 0], axis=0)).mean(0)
        return int(motion.argmax())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = convolution(width, width, activate=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return F.relu(x + self.second(self.first(x)), inplace=True)


def convolution(inputs: int, outputs: int, stride: int = 1, activate: bool = True) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if activate:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class CropReader(nn.Module):
    """Square crops (B, 3, size, size) -> features (B, D)."""

    def __init__(self, size: int, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        pairs = zip((3, *widths), widths, strict=False)
        self.convolutions = nn.Sequential(*(convolution(a, b, stride=2) for a, b in pairs))
        self.flat = nn.Linear(widths[-1] * (size // 2 ** len(widths)) ** 2, width)

    def forward(self, crops: Tensor) -> Tensor:
        features: Tensor = self.flat(self.convolutions(crops).flatten(1))
        return features


class MouthFinder(nn.Module):
    """Frames and mouth boxes (B, P, 4, in 0..1) that are a little off -> the boxes put right."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.face = CropReader(FINDER_WINDOW.size, config.face_widths, config.width)
        self.correction = nn.Linear(config.width, 4)

    def forward(self, frames: Tensor, boxes: Tensor) -> Tensor:
        offsets = self.correction(F.relu(self.face(crop_around(frames, boxes, FINDER_WINDOW))))
        offsets = rearrange(offsets, "(B P) xyxy -> B P xyxy", P=boxes.shape[1]).float()
        corrected: Tensor = boxes + offsets * longer_side(boxes)[..., None]
        return corrected


class PersonReader(nn.Module):
    """Frames (B, 3, 128, 128) and mouth boxes (B, P, 4, in 0..1) -> what each person is like.

    Head and body, and the face alone, are seen in crops aligned by the mouth: so small a network
    would need far longer to learn to look for them in whole frames.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.body = CropReader(PERSON_WINDOW.size, config.person_widths, config.width)
        self.face = CropReader(FACE_WINDOW.size, config.face_widths, config.width)
        self.joined = nn.Linear(2 * config.width + 4, config.width)
        self.heads = heads(config.width, PERSON_ATTRIBUTES)
        self.pose = nn.Linear(config.width, len(POSE))

    def forward(self, frames: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Logits per attribute (B, P, classes) and pose (B, P, len(POSE))."""
        body = self.body(crop_around(frames, boxes, PERSON_WINDOW))
        face = self.face(crop_around(frames, boxes, FACE_WINDOW))
        body, face = (rearrange(x, "(B P) D -> B P D", P=boxes.shape[1]) for x in (body, face))
        person = F.relu(self.joined(F.relu(torch.cat([body, face, boxes.to(body.dtype)], dim=-1))))
        read = {name: head(person) for name, head in self.heads.items()}
        read["pose"] = self.pose(person)
        return read


class MouthReader(nn.Module):
    """Frames (B, 3, 128, 128) and mouth boxes (B, P, 4, in 0..1) -> mouths (B, P, 4).

    It sees the mouth and nothing else, so that it can be trained on its own, at little cost.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.lips = CropReader(MOUTH_WINDOW.size, config.mouth_widths, config.width)
        self.shape = nn.Linear(config.width, 4)

    def forward(self, frames: Tensor, boxes: Tensor) -> Tensor:
        shapes = self.shape(F.relu(self.lips(crop_around(frames, boxes, MOUTH_WINDOW))))
        paired: Tensor = rearrange(shapes, "(B P) M -> B P M", P=boxes.shape[1])
        return paired


class Judge(nn.Module):
    """Frames (B, 3, 128, 128) in [-1, 1] -> everything a Judgement holds, as raw tensors."""

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or JudgeConfig()
        stages: list[nn.Module] = []
        inputs = 3 * config.patch**2
        for i, (width, num_blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            blocks = [ResidualBlock(width) for _ in range(num_blocks)]
            stages.append(nn.Sequential(convolution(inputs, width, stride=min(i + 1, 2)), *blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        fine, coarse, A = config.widths[-2], config.widths[-1], config.attention_maps
        self.lateral = nn.Conv2d(fine + coarse + 2, fine, 1)
        self.attention = nn.Conv2d(fine, (PEOPLE + 1) * A, 1)
        self.person = nn.Linear(A * (fine + 2) + coarse, config.width)
        self.scene = nn.Linear(A * (fine + 2) + coarse, config.width)
        self.boxes = nn.Linear(config.width + 2 * A, 4)
        self.second_person = nn.Linear(config.width, 1)
        self.frame_heads = heads(config.width, FRAME_ATTRIBUTES)
        self.finder = MouthFinder(config)
        self.near = PersonReader(config)
        self.mouth = MouthReader(config)
        self.action = ActionReader()  # reads poses and boxes of a clip, see judge_motion.py

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Read frames (B, 3, 128, 128).

        Keys: found (B, P, 4) mouth boxes in 0..1 by the coarse network, boxes (B, P, 4) the same
        corrected from near, mouth (B, P, 4), pose (B, P, len(POSE)), second_person (B,)
        logit, and one (B, P, classes) or (B, classes) tensor of logits per attribute.
        """
        read = self.look_around(frames)
        # Small networks learn fast from crops that are aligned well; so the boxes come first.
        boxes = self.finder(frames, self.finder(frames, read["found"].float()))
        read |= self.near(frames, boxes)
        read |= {"boxes": boxes, "mouth": self.mouth(frames, boxes)}
        return {name: value.float() for name, value in read.items()}

    def look_around(self, frames: Tensor) -> dict[str, Tensor]:
        """What whole frames say: found, second_person and the attributes of the frame."""
        people, scene, centres = self.look(frames)
        read = {name: head(scene) for name, head in self.frame_heads.items()}
        read["found"] = self.boxes(torch.cat([people, centres], dim=-1))
        read["second_person"] = self.second_person(scene)[:, 0]
        return read

    def look(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coarse network: people (B, P, D), scene (B, D), where people's maps look (B, P, 2A)."""
        x = F.pixel_unshuffle(frames, self.config.patch)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        fine, coarse = maps[-2], maps[-1]
        B, _, h, w = fine.shape
        grid = coordinates(h, w, fine)
        grid = repeat(grid, "xy h w -> B xy h w", B=B)
        above = F.interpolate(coarse, scale_factor=2.0)
        fine = F.relu(self.lateral(torch.cat([fine, above, grid], dim=1)))
        weights = rearrange(self.attention(fine), "B (P A) h w -> B P A (h w)", P=PEOPLE + 1)
        weights = weights.float().softmax(-1).to(fine.dtype)
        values = rearrange(torch.cat([fine, grid], dim=1), "B C h w -> B (h w) C")
        seen = torch.einsum("bpas,bsc->bpac", weights, values)
        whole = repeat(coarse.mean((2, 3)), "B C -> B P C", P=PEOPLE + 1)
        joined = torch.cat([rearrange(seen, "B P A C -> B P (A C)"), whole], dim=-1)
        people = F.relu(self.person(joined[:, :PEOPLE]))
        scene = F.relu(self.scene(joined[:, PEOPLE]))
        centres = rearrange(seen[:, :PEOPLE, :, -2:], "B P A xy -> B P (A xy)")
        return people, scene, centres

    @torch.no_grad()
    def read(self, frames: np.ndarray, batch: int = 32) -> Judgement:
        """Read the film `frames` uint8 (T, H, W, 3), of any size.

        Raises ValueError for arrays of another shape or type.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(
                f"frames have shape {frames.shape} and type {frames.dtype}; the judge expects "
                "uint8 (T, H, W, 3) with T of at least 1"
            )
        self.eval()
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(frames), batch):
            images, offset, scale = letterbox(frames[start : start + batch])
            parts.append(self(images))
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        boxes = (joined["boxes"] * FRAME_SIZE - torch.tensor(offset).repeat(2)) / scale
        return Judgement(
            mouth=joined["mouth"].numpy(),
            boxes=boxes.numpy(),
            second_person=joined["second_person"].sigmoid().numpy(),
            pose=joined["pose"].numpy(),
            person={k: joined[k].log_softmax(-1).numpy() for k in PERSON_ATTRIBUTES},
            frame={k: joined[k].log_softmax(-1).numpy() for k in FRAME_ATTRIBUTES},
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors; weights are rounded to bfloat16."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        state = self.state_dict().items()
        kept = {k: v.contiguous() for k, v in state if not k.endswith("num_batches_tracked")}
        save_file({k: v.to(torch.bfloat16) for k, v in kept.items()}, folder / "model.safetensors")


def load_judge(folder: str | Path) -> Judge:
    """The judge saved in `folder`, in float32 and eval mode.

    Raises ValueError when the folder's config has unknown keys or its weights do not fit.
    """
    folder = Path(folder)
    settings = json.loads((folder / "config.json").read_text())
    unknown = settings.keys() - {field.name for field in fields(JudgeConfig)}
    if unknown:
        raise ValueError(f"{folder}/config.json has unknown keys {sorted(unknown)}; is it a judge?")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    judge = Judge(JudgeConfig(**settings))
    tensors = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    found = judge.load_state_dict(tensors, strict=False)
    missing = [k for k in found.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise ValueError(
            f"{folder} does not fit the judge: missing {missing}, unexpected "
            f"{found.unexpected_keys}; train it again with this version of the package"
        )
    return judge.eval()


def heads(width: int, attributes: dict[str, tuple[str, ...]]) -> nn.ModuleDict:
    """One linear classifier per attribute."""
    return nn.ModuleDict({name: nn.Linear(width, len(words)) for name, words in attributes.items()})


def coordinates(rows: int, columns: int, like: Tensor) -> Tensor:
    """(2, h, w) of x and y at the cells' centres, in 0..1."""
    ys, xs = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    return torch.stack([xs, ys]).to(like)


def crop_around(frames: Tensor, boxes: Tensor, window: Window) -> Tensor:
    """Crops (B*P, 3, size, size) by the mouth boxes (B, P, 4, in 0..1), sampled bilinearly."""
    P = boxes.shape[1]
    boxes = rearrange(boxes, "B P xyxy -> (B P) xyxy")
    longer = longer_side(boxes)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    centre = torch.stack([centre[:, 0], centre[:, 1] + window.drop * longer], dim=-1)
    ticks = (torch.arange(window.size, device=frames.device) + 0.5) / window.size - 0.5
    ys, xs = torch.meshgrid(ticks, ticks, indexing="ij")
    side = (longer * window.side)[:, None, None, None]
    grid = torch.stack([xs, ys], dim=-1) * side + centre[:, None, None]
    # The crops of one frame are sampled as one tall image, so that no frame is copied.
    grid = rearrange(grid, "(B P) h w xy -> B (P h) w xy", P=P) * 2 - 1
    crops = F.grid_sample(frames, grid, align_corners=False, padding_mode="border")
    return rearrange(crops, "B C (P h) w -> (B P) C h w", P=P)


def longer_side(boxes: Tensor) -> Tensor:
    """(...,) longer side of boxes (..., 4) in 0..1; at least 4 pixels of the judge's own size."""
    return (boxes[..., 2:] - boxes[..., :2]).amax(-1).clamp(4 / FRAME_SIZE, 1.0)


def letterbox_array(frame: np.ndarray) -> tuple[np.ndarray, tuple[float, float], float]:
    """One frame uint8 (H, W, 3) as `letterbox`, in uint8 (128, 128, 3)."""
    images, offset, scale = letterbox(frame[None])
    pixels = ((images[0] + 1) * 127.5).round().to(torch.uint8)
    return rearrange(pixels, "C H W -> H W C").numpy(), offset, scale


def letterbox(frames: np.ndarray) -> tuple[Tensor, tuple[float, float], float]:
    """uint8 (T, H, W, 3) -> (T, 3, 128, 128) in [-1, 1], the offset (x, y), and the scale."""
    images = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "T H W C -> T C H W")
    images = images.float() / 127.5 - 1
    height, width = images.shape[-2:]
    if (height, width) == (FRAME_SIZE, FRAME_SIZE):
        return images, (0.0, 0.0), 1.0
    scale = FRAME_SIZE / max(height, width)
    rows, columns = round(height * scale), round(width * scale)
    images = F.interpolate(images, size=(rows, columns), mode="bilinear", antialias=True)
    top, left = (FRAME_SIZE - rows) // 2, (FRAME_SIZE - columns) // 2
    padding = (left, FRAME_SIZE - columns - left, top, FRAME_SIZE - rows - top)
    return F.pad(images, padding, mode="constant", value=-1.0), (float(left), float(top)), scale
