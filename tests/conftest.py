"""What several test files share: the tiny model, in memory and as a folder."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from openmocha.pipeline import MoChaPipeline


@pytest.fixture(scope="session")
def tiny() -> "MoChaPipeline":
    from tiny_model import tiny_pipeline

    return tiny_pipeline()


@pytest.fixture(scope="session")
def tiny_folder(tiny: "MoChaPipeline", tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.save_pretrained(folder)
    return folder


@pytest.fixture
def longer(tiny: "MoChaPipeline", monkeypatch: pytest.MonkeyPatch) -> Iterator["MoChaPipeline"]:
    """The tiny model makes 8 latent frames a pass; here 3 of them are known."""
    import torch

    from openmocha import continuation

    monkeypatch.setattr(continuation, "KNOWN", 3 / 8)
    sampling = tiny.sampling
    tiny.to("cpu", torch.float32)
    yield tiny
    tiny.sampling = sampling
    tiny.to("cpu")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command to make a small disk with")
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
