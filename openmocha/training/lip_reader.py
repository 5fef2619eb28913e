"""Fit the lip readers that the package carries on the toon film set: its mouths are known. No
pictures are needed.

curation/lip_reader.json       linear, the beginning of every fit on photographs; voices and
                               recording chains as in training
curation/toon_lip_reader.json  a layer of hidden units, for drawn films as it is; speech with
                               music or noise far behind it

python -m openmocha.training.lip_reader
"""

import numpy as np

from openmocha.curation.lips import (
    CONTEXT,
    FOLDS,
    SHIPPED,
    SHIPPED_TOON,
    LipReader,
    mel_context,
)
from openmocha.curation.listen import MEL_BANDS, MEL_FFT, log_mel
from openmocha.toon.augment import augment, coloured_noise, music
from openmocha.toon.films import FPS, NUM_FRAMES
from openmocha.toon.mouths import mouth_track
from openmocha.toon.stories import make_story
from openmocha.toon.turns import spoken_turns

NUM_STORIES, NUM_TOON_STORIES = 400, 1200
RIDGE = 100.0
UNITS, EPOCHS, BATCH, LARGEST_LR = 32, 8, 512, 4e-3
SHOTS = ("close-up", "medium", "medium close-up")
Read = tuple[np.ndarray, np.ndarray]  # mel frames (v, 20), opening (v,)


def fit_shipped_reader() -> LipReader:
    """A reader whose folds are alike: no film of a user was in the sample."""
    rng = np.random.default_rng(0)
    features, openings = [], []
    for seed in range(NUM_STORIES):
        story = make_story(seed, ("close-up", "medium")[seed % 2], "train")
        turns = spoken_turns(story, NUM_FRAMES, FPS)
        if not turns:
            continue
        speech = turns[0].speech
        speech = augment(speech, rng)[: len(speech)] if seed % 2 else speech
        noise = 1e-4 * rng.standard_normal(len(speech)).astype(np.float32)
        features.append(mel_context(mel_of(speech + noise)))
        openings.append(levelled(mouth_track(turns[0].phones, NUM_FRAMES, FPS)[:, 0]))
    x, y = np.concatenate(features), np.concatenate(openings)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return LipReader(np.tile(weights, (FOLDS, 1)), len(features), "toon-1")


def mel_of(speech: np.ndarray) -> np.ndarray:
    padded = np.pad(speech, MEL_FFT // 2)
    return log_mel(padded, -(MEL_FFT // 2), range(NUM_FRAMES))


def levelled(opening: np.ndarray) -> np.ndarray:
    return np.asarray((opening - opening.mean()) / (opening.std() + 1e-6))


def toon_reads() -> list[Read]:
    """Speech of many stories at one level, music or noise 25 to 50 dB below, and its mouths."""
    rng = np.random.default_rng(0)
    reads = []
    for seed in range(NUM_TOON_STORIES):
        turns = spoken_turns(make_story(seed, SHOTS[seed % 3], "train"), NUM_FRAMES, FPS)
        if not turns:
            continue
        speech = turns[0].speech
        speech = augment(speech, rng)[: len(speech)] if seed % 3 == 0 else speech
        loud = np.abs(speech) > 0.02 * np.abs(speech).max()
        speech = speech / np.sqrt(np.square(speech[loud]).mean())
        behind = (coloured_noise if rng.random() < 0.5 else music)(len(speech), rng)
        sound = 0.08 * (speech + 10 ** (-rng.uniform(25, 50) / 20) * behind)
        opening = mouth_track(turns[0].phones, NUM_FRAMES, FPS)[:, 0]
        reads.append((mel_of(sound.astype(np.float32)), levelled(opening)))
    return reads


def fit_toon_reader(reads: list[Read]) -> LipReader:
    """One hidden layer, least squares by AdamW; the same weights on every run of one machine."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    x = torch.tensor(np.concatenate([scaled(mel) for mel, _ in reads])).float()
    y = torch.tensor(np.concatenate([opening for _, opening in reads])).float()
    network = nn.Sequential(nn.Linear(x.shape[1], UNITS), nn.Tanh(), nn.Linear(UNITS, 1))
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LARGEST_LR, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(x)), BATCH):
            loss = (network(x[chosen])[:, 0] - y[chosen]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    hidden = np.column_stack([state["0.weight"], state["0.bias"]])
    # what is read is compared by correlation: the last bias says nothing
    return LipReader(np.tile(state["2.weight"], (FOLDS, 1)), len(reads), "drawn-1", hidden)


def scaled(mel: np.ndarray) -> np.ndarray:
    """Mel frames in context as LipReader.guess gives them to the hidden layer."""
    features = mel_context(mel)
    middle = features[:, CONTEXT * MEL_BANDS : (CONTEXT + 1) * MEL_BANDS]
    return np.asarray(features / (middle.std() + 1e-6))


if __name__ == "__main__":
    fit_shipped_reader().save(SHIPPED)
    fit_toon_reader(toon_reads()).save(SHIPPED_TOON)
