"""What a caption says, put in order: who is in which clip, what they look like, where they are.

A sentence encoder's token states say "red" in one place and "hoodie" in another. A small video
transformer that learns from scratch takes long to find out which of them belong together. The
reader is a transformer over the token states with a few slots of its own, trained beforehand to
answer the judge's questions (toon/labels.py) about each clip and each person from the caption
alone; its slots then stand before the caption's tokens.

    token states (B, L, D) -> [slots, tokens] -> layers -> slots (B, N, D)
    slots: one for each person of each clip, one for each clip, one for the story

Dimension letters: B batch, L text tokens, D width of text states, N slots, P people, Q questions.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import repeat
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openmocha.models.conditions import TEXT_MULTIPLE
from openmocha.models.eight_bits import restored
from openmocha.toon import labels
from openmocha.toon.stories import Story

CLIPS = 2
PRESENT = ("absent", "present")
SPEAKERS = ("nobody", "first", "second")  # from left to right
PERSON_QUESTIONS = {
    "present": PRESENT,
    **labels.PERSON_ATTRIBUTES,
    "action": labels.SEQUENCE_ATTRIBUTES["action"],
}
CLIP_QUESTIONS = {
    "shown": PRESENT,
    "shot": labels.FRAME_ATTRIBUTES["shot"],
    "camera": labels.SEQUENCE_ATTRIBUTES["camera"],
    "speaker": SPEAKERS,
}
STORY_QUESTIONS = {name: words for name, words in labels.FRAME_ATTRIBUTES.items() if name != "shot"}
KINDS = (
    ("person", CLIPS * labels.PEOPLE, PERSON_QUESTIONS),
    ("clip", CLIPS, CLIP_QUESTIONS),
    ("story", 1, STORY_QUESTIONS),
)
NUM_SLOTS = sum(number for _, number, _ in KINDS)
SLOT_CLIPS = (*np.repeat(range(CLIPS), labels.PEOPLE).tolist(), *range(CLIPS), -1)


@dataclass(frozen=True)
class CaptionReaderConfig:
    """Shape of the reader."""

    text_width: int = 384
    width: int = 192
    layers: int = 3
    heads: int = 3


class CaptionReader(nn.Module):
    """Slots that read a caption, and the heads that were used to teach them.

    slot_clips: which clip each slot is about, -1: the story.
    """

    slot_clips = SLOT_CLIPS

    def __init__(self, config: CaptionReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.input = nn.Linear(config.text_width, config.width)
        self.slots = nn.Parameter(torch.randn(NUM_SLOTS, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.output = nn.Linear(config.width, config.text_width)
        self.heads = nn.ModuleDict(
            {
                kind: nn.Linear(config.text_width, sum(map(len, questions.values())))
                for kind, _, questions in KINDS
            }
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Token states (B, L, D) and mask (B, L), True = valid -> slots (B, N, D)."""
        slots = repeat(self.slots, "N W -> B N W", B=len(states)).to(states.dtype)
        padding = -(NUM_SLOTS + mask.shape[1]) % TEXT_MULTIPLE
        x = torch.cat((slots, self.input(nnf.pad(states, (0, 0, 0, padding)))), dim=1)
        mask = nnf.pad(mask, (0, padding))
        ignored = torch.cat((mask.new_zeros(len(mask), NUM_SLOTS), ~mask), dim=1)
        read = self.layers(x, src_key_padding_mask=ignored)[:, :NUM_SLOTS]
        out: Tensor = self.output(read)
        return out

    def answers(self, slots: Tensor) -> dict[str, Tensor]:
        """Logits (B, slots of its kind, answers) of every question, from slots (B, N, D)."""
        logits: dict[str, Tensor] = {}
        first = 0
        for kind, number, questions in KINDS:
            of_kind = self.heads[kind](slots[:, first : first + number])
            first += number
            sizes = [len(words) for words in questions.values()]
            parts = zip(questions, of_kind.split(sizes, dim=-1), strict=True)
            logits |= {f"{kind} {name}": part for name, part in parts}
        return logits

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        weights = {name: w.to(dtype).contiguous() for name, w in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what save_pretrained wrote, in float32 and eval mode.

        Raises ValueError for the weights of another shape, or of other questions.
        """
        folder = Path(folder)
        reader = cls(CaptionReaderConfig(**json.loads((folder / "config.json").read_text())))
        try:
            reader.load_state_dict(restored(load_file(folder / "model.safetensors")))
        except RuntimeError as error:
            raise ValueError(
                f"{folder} does not fit this version's questions (toon/labels.py): {error}; train "
                "its caption reader and transformer anew"
            ) from error
        return reader.eval().requires_grad_(False)


def story_answers(story: Story) -> dict[str, np.ndarray]:
    """The right answers for a story, int64 (slots of the kind,) each; -1 where there is none.

    People are numbered clip by clip, in a clip from left to right.
    """
    answers = {
        f"{kind} {name}": np.full(number, labels.NO_ANSWER, np.int64)
        for kind, number, questions in KINDS
        for name in questions
    }
    answers["person present"][:] = answers["clip shown"][:] = 0
    for number, clip in enumerate(story.clips):
        known = labels.clip_labels(story, clip)
        people = slice(labels.PEOPLE * number, labels.PEOPLE * (number + 1))
        answers["person present"][people] = np.arange(labels.PEOPLE) < len(clip.cast)
        answers["clip shown"][number] = 1
        answers["clip speaker"][number] = 0 if clip.speaker is None else 1 + clip.speaker
        for name, value in known.items():
            if f"person {name}" in answers:
                answers[f"person {name}"][people] = value
            elif f"clip {name}" in answers:
                answers[f"clip {name}"][number] = value
            else:
                answers[f"story {name}"][0] = value
    return answers
