"""The frozen networks of a run's folder, and whether its shards were written with them."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from openmocha.training.shards import ENCODERS_FILE, Encoders

if TYPE_CHECKING:
    from openmocha.models.speech_encoder import SpeechEncoder
    from openmocha.models.text_encoder import TextEncoder
    from openmocha.models.video_vae import VideoVAE


def load_networks(folder: Path) -> "tuple[VideoVAE, SpeechEncoder, TextEncoder]":
    """A run's VAE, speech encoder and text encoder."""
    from openmocha.models.speech_encoder import SpeechEncoder
    from openmocha.models.video_vae import VideoVAE

    return (
        VideoVAE.from_pretrained(folder / "video_vae" / "final").eval(),
        SpeechEncoder.from_pretrained(folder / "speech_encoder" / "final"),
        text_encoder(folder),
    )


def text_encoder(folder: Path) -> "TextEncoder":
    """The packaged text encoder unless the run has its own (offline.py), with the run's caption
    reader once that is trained."""
    from openmocha.models.text_encoder import PACKAGE, TextEncoder
    from openmocha.toon.caption_reader import CaptionReader

    own, reader = folder / "text_encoder", folder / "caption_reader" / "final"
    return TextEncoder.from_pretrained(
        own if own.exists() else PACKAGE,
        CaptionReader.from_pretrained(reader) if reader.exists() else None,
    )


def load_encoders(folder: Path) -> Encoders:
    """What writes shards, in every worker process."""
    return Encoders(*load_networks(folder))


def fingerprints(folder: Path) -> dict[str, str]:
    """What shards depend on: the encoders. The VAE's decoder may go on learning."""
    from openmocha.models.video_vae import VideoVAE

    vae = VideoVAE.from_pretrained(folder / "video_vae" / "final")
    # not a network, but shards of before say nothing of it
    found = {"video_vae": digest(vae, without="decoder."), "way of cameras": "1"}
    for name in ("speech_encoder", "caption_reader"):
        weights = folder / name / "final" / "model.safetensors"
        if weights.exists():
            found[name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return found


def digest(network: nn.Module, without: str | None = None) -> str:
    """SHA-256 of a network's weights, but of those whose names begin with `without`."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if without is None or not name.startswith(without):
            found.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return found.hexdigest()


def check_shards(folder: Path) -> None:
    """Raise ValueError where the run's shards were written with other encoders than it has now."""
    path = folder / "shards" / ENCODERS_FILE
    if not path.exists():
        return
    written, now = json.loads(path.read_text()), fingerprints(folder)
    changed = [n for n in sorted(written.keys() | now.keys()) if written.get(n) != now.get(n)]
    if changed:
        raise ValueError(
            f"{folder / 'shards'} was written with another {' and another '.join(changed)} than "
            f"{folder} holds; put that back, or delete the shards and have them written again"
        )
