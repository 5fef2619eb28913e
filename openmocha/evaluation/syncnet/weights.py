"""The two networks from a user's own copy of the public weights; nothing is shipped or downloaded
unasked.

folder or hub repository -> syncnet_v2.model, sfd_face.pth (or .safetensors) -> SyncNet, S3FDNet
"""

import os
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from openmocha.evaluation.syncnet.network import SyncNet
from openmocha.evaluation.syncnet.s3fd import S3FDNet
from openmocha.models.weights import read_weights

SYNCNET_FILES = ("syncnet_v2.safetensors", "syncnet_v2.model")
S3FD_FILES = ("sfd_face.safetensors", "sfd_face.pth")
PROVENANCE = (
    "the authors offer both files at https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/, and "
    "the script download_model.sh of https://github.com/joonson/syncnet_python fetches them; that "
    "repository's code is MIT, the weights are for research: check their terms yourself"
)

Network = TypeVar("Network", bound=nn.Module)


def weights_folder(weights: str | os.PathLike[str]) -> Path:
    """A folder as it is, or a hub repository "owner/name" fetched (only these four files).

    Raises ValueError where there is neither, and says where the weights come from.
    """
    from openmocha.models.store import HUB_ID

    folder = Path(weights)
    if folder.is_dir():
        return folder
    if isinstance(weights, str) and HUB_ID.fullmatch(weights) and not folder.parent.is_dir():
        from openmocha.models.hub import Source, fetch

        return fetch(Source(weights, (*SYNCNET_FILES, *S3FD_FILES)))
    raise ValueError(
        f"folder {weights} does not exist; expected one with syncnet_v2.model and sfd_face.pth: "
        f"{PROVENANCE}"
    )


def load_syncnet(folder: Path) -> SyncNet:
    """SyncNet with a folder's weights. Raises ValueError where they are absent or do not fit."""
    return _load(SyncNet, folder, SYNCNET_FILES)


def load_s3fd(folder: Path) -> S3FDNet:
    """S3FD with a folder's weights. Raises ValueError where they are absent or do not fit."""
    return _load(S3FDNet, folder, S3FD_FILES)


def _load(network_class: type[Network], folder: Path, names: tuple[str, ...]) -> Network:
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise ValueError(f"{folder} holds neither {' nor '.join(names)}: {PROVENANCE}")
    tensors = unpacked(read_weights(there[0]))
    with torch.device("meta"):
        network = network_class()
    places = network.state_dict()
    missing, unknown = places.keys() - tensors, tensors.keys() - places
    wrong = {n for n in places.keys() & tensors if places[n].shape != tensors[n].shape}
    if missing or unknown or wrong:
        raise ValueError(
            f"{there[0]} is no {network_class.__name__}: {len(missing)} tensors are missing, "
            f"{len(unknown)} unknown, {len(wrong)} of another shape "
            f"({', '.join(sorted(missing | unknown | wrong)[:3])}): {PROVENANCE}"
        )
    network.load_state_dict({n: t.to(places[n].dtype) for n, t in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors stored as whole numbers with a companion NAME.scale, multiplied out; others as they
    are."""
    names = [name for name in tensors if f"{name.removesuffix('.scale')}.scale" != name]
    return {
        name: tensors[name].float() * tensors[f"{name}.scale"]
        if f"{name}.scale" in tensors
        else tensors[name]
        for name in names
    }
