"""Train the toon speech encoder on synthetic voices, with everything that they tell.

    scenes from worker processes -> Wav2Vec2 -> linear heads (training only) -> supervised losses

The heads read mouth, phone, speaking, change of speaker and who speaks, from the middle and the
last layer, so that the tokens (all layers) hold what a film needs, and are dropped at the end.

    python -m openmocha.training.speech_encoder runs/speech_encoder --minutes 30
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from openmocha.models.speech_encoder import SAMPLE_RATE_HZ, SpeechEncoder, toon_config
from openmocha.precision import mixed_precision
from openmocha.toon.mouths import MOUTH, SYMBOLS
from openmocha.training.fit import FitConfig, fit
from openmocha.training.speech_scenes import (
    NOBODY,
    PEOPLE,
    FrameGrid,
    LabelledSpeech,
    scenes,
)

CROP_S = 4.0
BATCH = 12
HEADS = {
    "mouth": len(MOUTH),
    "phone": len(SYMBOLS),
    "speaking": 1,
    "change": 1,
    "second": 1,
    "person": len(PEOPLE),
    "octaves": 1,
    "loudness": 1,
}
MOUTH_WEIGHTS = (3.0, 1.0, 1.5, 1.0)  # open, spread, pressed, teeth
LOSS_WEIGHTS = {
    "mouth": 10.0,
    "phone": 0.7,
    "speaking": 0.7,
    "change": 1.5,
    "second": 0.5,
    "person": 0.2,
    "octaves": 1.0,
    "loudness": 1.0,
}


class SpeechStudent(nn.Module):
    """The encoder with its training heads on the middle and the last layer."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        width = sum(HEADS.values())
        self.heads = nn.ModuleList([nn.Linear(encoder.width, width) for _ in range(2)])

    def forward(self, speech: Tensor) -> list[dict[str, Tensor]]:
        """Normalised speech (B, samples) -> predictions (B, S, size of head) of both layers."""
        states = self.encoder(speech)
        taken = (states[:, :, states.shape[2] // 2 - 1], states[:, :, -1])
        predictions = []
        for head, state in zip(self.heads, taken, strict=True):
            pieces = head(state).float().split(list(HEADS.values()), dim=-1)
            predictions.append(dict(zip(HEADS, pieces, strict=True)))
        return predictions


def losses(predicted: dict[str, Tensor], batch: LabelledSpeech) -> dict[str, Tensor]:
    """Loss of each head, averaged over the frames it applies to."""
    weights = torch.tensor(MOUTH_WEIGHTS, device=batch.mouth.device)
    known = ~torch.isnan(batch.octaves)
    octaves = predicted["octaves"][..., 0][known] - batch.octaves[known]
    binary = nnf.binary_cross_entropy_with_logits
    result = {
        "mouth": ((predicted["mouth"] - batch.mouth).square() * weights).mean(),
        "phone": nnf.cross_entropy(predicted["phone"].flatten(0, 1), batch.phone.flatten()),
        "loudness": (predicted["loudness"][..., 0] - batch.loudness).square().mean(),
        # nan_to_num: a batch may hold nobody whose age is known
        "person": nnf.cross_entropy(
            predicted["person"].flatten(0, 1), batch.person.flatten(), ignore_index=NOBODY
        ).nan_to_num(),
        "octaves": nnf.smooth_l1_loss(octaves, torch.zeros_like(octaves)).nan_to_num(),
    }
    for name in ("speaking", "change", "second"):
        result[name] = binary(predicted[name][..., 0], getattr(batch, name))
    return result


def loss_function(model: nn.Module, batch: LabelledSpeech) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum over heads; the middle layer counts a third."""
    with mixed_precision(batch.speech.device):
        middle, last = model(batch.speech)
    parts = losses(last, batch)
    helper = losses(middle, batch)
    total = torch.stack([LOSS_WEIGHTS[k] * (parts[k] + helper[k] / 3) for k in parts]).sum()
    measures = {k: float(v.detach()) for k, v in parts.items()}
    return total, measures | {"r_open": correlation(last["mouth"][..., 0], batch.mouth[..., 0])}


def correlation(predicted: Tensor, truth: Tensor) -> float:
    """Pearson's r over all elements."""
    pair = torch.stack([predicted.detach().flatten(), truth.flatten()])
    return float(torch.corrcoef(pair)[0, 1])


class _Scenes(IterableDataset[LabelledSpeech]):
    """Batches of crops, another stream in each worker process."""

    def __init__(self, grid: FrameGrid, seed: int, batch: int) -> None:
        self.grid, self.seed, self.batch = grid, seed, batch

    def __iter__(self) -> Iterator[LabelledSpeech]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        stream = scenes(self.grid, self.seed * 1000 + (worker.id if worker else 0), "train")
        while True:
            yield LabelledSpeech.stack(list(islice(stream, self.batch)))


def _batches(grid: FrameGrid, seed: int, batch: int, workers: int) -> Iterator[LabelledSpeech]:
    options: dict[str, Any] = {}
    if workers:
        options = {"multiprocessing_context": "spawn", "prefetch_factor": 8}
    loader = DataLoader(_Scenes(grid, seed, batch), batch_size=None, num_workers=workers, **options)
    yield from loader


def make_evaluation(grid: FrameGrid, num_crops: int) -> dict[str, LabelledSpeech]:
    """Crops of unseen voices and sentences, once clean and once through recording chains."""
    return {
        name: LabelledSpeech.stack(list(islice(scenes(grid, 5, "test", share), num_crops)))
        for name, share in (("clean", 0.0), ("augmented", 1.0))
    }


@torch.no_grad()
def evaluate(model: nn.Module, sets: dict[str, LabelledSpeech]) -> dict[str, float]:
    """r of each mouth parameter and accuracies on unseen voices, clean and augmented."""
    report = {}
    for name, batch in sets.items():
        with mixed_precision(batch.speech.device):
            predicted = model(batch.speech)[-1]
        for i, parameter in enumerate(MOUTH):
            truth = batch.mouth[..., i]
            report[f"{name}/r_{parameter}"] = correlation(predicted["mouth"][..., i], truth)
        hits = predicted["phone"].argmax(-1) == batch.phone
        report[f"{name}/phone_accuracy"] = float(hits.float().mean())
        speaking = (predicted["speaking"][..., 0] > 0) == (batch.speaking > 0.5)
        report[f"{name}/speaking_accuracy"] = float(speaking.float().mean())
        change = torch.sigmoid(predicted["change"][..., 0])
        report[f"{name}/r_change"] = correlation(change, batch.change)
        known = batch.person != NOBODY
        person = predicted["person"].argmax(-1)[known] == batch.person[known]
        report[f"{name}/person_accuracy"] = float(person.float().mean())
    return report


def train_speech_encoder(
    folder: Path,
    *,
    time_budget_s: float = 1800.0,
    seed: int = 0,
    workers: int = 1,
    steps: int = 1_000_000,
    batch: int = BATCH,
    evaluation_crops: int = 48,
) -> SpeechEncoder:
    """Train, or go on with what `folder` holds, and write the encoder to `folder`/final.

    Args:
        folder: log.jsonl, last.safetensors (resumed from) and final/ go here.
        time_budget_s: of training, over all runs in this folder.
        workers: processes that speak and augment; 0 does both in this process.

    Raises:
        ValueError: espeak-ng is not installed.
    """
    torch.manual_seed(seed)
    folder = Path(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = SpeechStudent(SpeechEncoder.from_config(toon_config(), attention="eager")).to(device)
    encoder = model.encoder
    grid = FrameGrid(int(CROP_S * SAMPLE_RATE_HZ), encoder.stride, encoder.receptive_field)
    sets = {k: _to(v, device) for k, v in make_evaluation(grid, evaluation_crops).items()}
    config = FitConfig(
        steps=steps,
        time_budget_s=time_budget_s,
        learning_rate=1.2e-3,
        warmup_steps=200,
        ema_decay=0.998,
        log_every=25,
        evaluate_every_s=180.0,
    )
    # A resumed run must not hear the same crops again.
    resumed = (folder / "last.safetensors").exists()
    stream_seed = int(np.random.default_rng().integers(2**31)) if resumed else seed
    batches = (_to(b, device) for b in _batches(grid, stream_seed, batch, workers))
    trained = fit(model, batches, loss_function, folder, config, lambda m: evaluate(m, sets))
    assert isinstance(trained, SpeechStudent)
    trained.encoder.save_pretrained(folder / "final", torch.bfloat16)
    return trained.encoder


def _to(batch: LabelledSpeech, device: torch.device) -> LabelledSpeech:
    return LabelledSpeech(**{name: value.to(device) for name, value in vars(batch).items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    train_speech_encoder(
        arguments.folder,
        time_budget_s=60 * arguments.minutes,
        seed=arguments.seed,
        workers=arguments.workers,
    )


if __name__ == "__main__":
    main()
