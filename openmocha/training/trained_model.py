"""What a trained transformer becomes: weights to carry, films to look at, a model folder.

newest checkpoint's EMA + the run's encoders -> previews | the decoder's step | the model
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from openmocha.backbones.paper import PaperBackbone
from openmocha.contact_sheet import write_png
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE
from openmocha.pipeline import MoChaPipeline
from openmocha.precision import matrix_dtype
from openmocha.sampling import Sampling
from openmocha.toon.films import make_film
from openmocha.training.drawn_lips import DrawnLipsTraining, train_drawn_lips
from openmocha.training.few_steps import TOON_FAST_STEPS, FewStepsTraining, train_few_steps
from openmocha.training.parallel import local_device
from openmocha.training.run_encoders import check_shards, load_networks
from openmocha.training.train import export_model, newest_of


def write_weights(folder: Path, output: Path) -> None:
    """`output`/ema and `output`/model in bfloat16: small enough to carry to where training goes on
    (--start), with a new optimizer."""
    newest = newest_of(folder / "transformer")
    export_model(newest, output / "ema", weights="ema")
    export_model(newest, output / "model", weights="model")


# Speech at 6: with less, mouths open less far than true ones (on films of the training split).
# Guidance ends at 0.7: with guidance below it, lips are read less well from pictures; feelings are
# guided one step further. At 4 they cost nothing above 0.7: words without speech then have the
# weight 3 - 6 + (4 - 1) and need not be computed.
TOON_SAMPLING = Sampling(
    num_inference_steps=12,
    text_guidance_scale=3.0,
    speech_guidance_scale=6.0,
    default_shot="medium close-up",
    guided_to=0.7,
    feelings_to=0.6,
    retell=True,
    feeling_guidance_scale=4.0,
    told_zoom=1.6,  # zooms are then 0.9 times as large as true ones
)
PREVIEWS = (("close-up", 1), ("medium close-up", 2), ("medium", 3), ("dialogue", 4))


@torch.no_grad()
def preview_films(folder: Path, model: nn.Module, path: Path) -> None:
    """Films of some test stories, two thirds of a second of each, as `path`-close-up.mp4 and so on,
    and `path`.png with their frames below the true ones."""
    assert isinstance(model, MoChaTransformer3DModel)
    device = next(model.parameters()).device
    backbone = PaperBackbone(model, *load_networks(folder))
    as_they_stand = TOON_SAMPLING.with_given(default_shot="")
    pipeline = MoChaPipeline(backbone, as_they_stand).to(device)
    rows = []
    for source, seed in PREVIEWS:
        frames = range(56, 72)
        film = make_film(seed, source, split="test", frames=frames)
        assert film.speech is not None
        speech = film.speech[frames.start * 2000 // 3 : frames.stop * 2000 // 3]
        output = pipeline(film.caption, speech, seed=0, together=True, verbatim=True)
        output.save(path.with_name(f"{path.name}-{source.replace(' ', '-')}.mp4"))
        rows += [np.concatenate(list(row[::2]), axis=1) for row in (film.frames, output.frames)]
    write_png(path.with_suffix(".png"), np.concatenate(rows))


def newest_backbone(folder: Path, weights: Path) -> PaperBackbone:
    """The newest checkpoint's EMA, which is written to `weights`, beside the run's encoders.

    Raises ValueError where the transformer was trained beside other encoders.
    """
    check_shards(folder)
    export_model(newest_of(folder / "transformer"), weights, torch.float32)
    transformer = MoChaTransformer3DModel.from_pretrained(weights)
    return PaperBackbone(transformer, *load_networks(folder))


def train_decoder(
    folder: Path,
    minutes: float,
    seed: int = 0,
    held_out: int = 8,
    settings: DrawnLipsTraining = DrawnLipsTraining(),  # noqa: B008
) -> None:
    """Step 7: the VAE's decoder learns on from what the transformer makes. The encoder stays as it
    is, and with it latents and shards, which is checked before."""
    train = partial(train_drawn_lips, settings=settings, held_out=held_out)
    _train_after(train, folder, folder / "decoder", minutes, seed)


def train_guided(
    folder: Path,
    minutes: float,
    seed: int = 0,
    held_out: int = 8,
    settings: FewStepsTraining = FewStepsTraining(),  # noqa: B008
) -> None:
    """Step 8: a second transformer learns the first of few steps, guidance folded in."""
    train = partial(train_few_steps, settings=settings, held_out=held_out)
    _train_after(train, folder, folder / "few_steps", minutes, seed)


def _train_after(
    train: Callable[..., object], folder: Path, work: Path, minutes: float, seed: int
) -> None:
    """A step on the newest backbone, on this process's device; `work` holds what it leaves."""
    backbone = newest_backbone(folder, work / "transformer")
    backbone.to(local_device(), matrix_dtype(local_device()))
    sampling = replace(TOON_SAMPLING, fast_steps=TOON_FAST_STEPS)
    train(backbone, sampling, work, time_budget_s=60 * minutes, seed=seed)


def export_toon(folder: Path, output: Path) -> None:
    """Step 9: the newest checkpoint's EMA, what was trained after it, the encoders and the judge as
    a model folder. Raises ValueError as newest_backbone does."""
    backbone = newest_backbone(folder, output / "transformer")
    sampling = TOON_SAMPLING
    if (folder / "decoder" / "final").exists():
        backbone.vae = VideoVAE.from_pretrained(folder / "decoder" / "final")
    if (folder / "few_steps" / "final").exists():
        student = MoChaTransformer3DModel.from_pretrained(folder / "few_steps" / "final")
        backbone.guided_transformer = student.eval()
        sampling = replace(sampling, fast_steps=TOON_FAST_STEPS)
    if (folder / "judge" / "final").exists():
        shutil.copytree(folder / "judge" / "final", output / "judge", dirs_exist_ok=True)
    MoChaPipeline(backbone, sampling).save_pretrained(output)
