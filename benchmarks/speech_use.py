"""Does a transformer use the speech it is given? Its error where mouths are, with and without.

    python -m benchmarks.speech_use --model toon

Single latents of close-ups that training has not seen -> noised -> velocity from the right speech,
from another film's and from none -> mean squared error in the cells of mouths, and in all others,
at several noise levels. A model that lip-syncs is better with the right speech, most of all where
noise hides the mouth. Writes benchmarks/results/speech_use.json.
"""

import argparse

import torch
from einops import repeat
from torch import Tensor

from benchmarks.machine import keep
from openmocha.flow import add_noise, velocity_target
from openmocha.pipeline import MoChaPipeline
from openmocha.training.samples import Batch, collate, cut
from openmocha.training.shards import Encoders, encode_clips, read_record
from openmocha.training.toon_clips import ShardPlan, toon_clip
from openmocha.training.train import told_beside

SIGMAS = (0.9, 0.7, 0.5, 0.3)
FIRST_SEED = 990_000_000  # no plan of training reaches it
NUM_FRAMES = 128


def main() -> None:
    """Measure, print the table, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="toon", help="name or folder")
    parser.add_argument("--films", type=int, default=32)
    options = parser.parse_args()
    pipeline = MoChaPipeline.from_pretrained(options.model)
    batch = close_ups(pipeline, options.films)
    assert batch.speech is not None
    speeches = {
        "right speech": batch.speech,
        # Samples of a film are neighbours: half a batch away is always another one.
        "another film's": batch.speech.roll(len(batch.speech) // 2, 0),
        "none": torch.zeros_like(batch.speech),
    }
    rows = [
        {"sigma": sigma, "speech": name, **errors(pipeline, batch, speech, sigma)}
        for sigma in SIGMAS
        for name, speech in speeches.items()
    ]
    print("| sigma | speech | mouth cells | other cells |\n|---|---|---|---|")
    for row in rows:
        print("| {sigma} | {speech} | {mouth:.4f} | {other:.4f} |".format(**row))
    content = {"model": options.model, "films": options.films, "rows": rows}
    keep("speech_use", content)


def close_ups(pipeline: MoChaPipeline, num_films: int) -> Batch:
    """Four single latents of each film, with their conditions."""
    plan = ShardPlan("speech_use", "close-up", FIRST_SEED, num_films, 1, 4)
    clips = [toon_clip(FIRST_SEED + number, plan) for number in range(num_films)]
    encoders = Encoders(
        pipeline.backbone.vae, pipeline.backbone.speech_encoder, pipeline.backbone.text_encoder
    )
    records = [read_record(record) for record in encode_clips(clips, encoders)]
    samples = [
        cut(
            record,
            k,
            0,
            1,
            text=record["text_tokens"],
            with_speech=True,
            num_frames=NUM_FRAMES,
            seed=0,
            model=pipeline.backbone.transformer.config,
        )
        for record in records
        for k in range(plan.num_crops)
    ]
    return collate(samples)


@torch.inference_mode()
def errors(pipeline: MoChaPipeline, batch: Batch, speech: Tensor, sigma: float) -> dict[str, float]:
    """Mean squared error of the velocity in cells with a mouth and in all others."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch.latents.shape, generator=generator)
    sigmas = torch.full((len(noise),), sigma)
    noisy = add_noise(batch.latents, noise, sigmas)
    network = pipeline.backbone.transformer
    beside = told_beside(network, batch)
    velocity = network(noisy, sigmas, batch.text, speech, batch.speech_windows, **beside)
    error = (velocity - velocity_target(batch.latents, noise)).square()
    mouth = repeat(batch.mouth_cells > 0, "B F h w -> B C F h w", C=error.shape[1])
    return {"mouth": float(error[mouth].mean()), "other": float(error[~mouth].mean())}


if __name__ == "__main__":
    main()
