"""Fit the lip reader that the package carries (curation/lip_reader.json) on the toon film set: its
mouths are known. Voices and recording chains as in training, no pictures needed.

python -m openmocha.training.lip_reader
"""

import numpy as np

from openmocha.curation.lips import FOLDS, SHIPPED, LipReader, mel_context
from openmocha.curation.listen import MEL_FFT, log_mel
from openmocha.toon.augment import augment
from openmocha.toon.films import FPS, NUM_FRAMES
from openmocha.toon.mouths import mouth_track
from openmocha.toon.stories import make_story
from openmocha.toon.turns import spoken_turns

NUM_STORIES = 400
RIDGE = 100.0


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
        padded = np.pad(speech + noise, MEL_FFT // 2)
        features.append(mel_context(log_mel(padded, -(MEL_FFT // 2), range(NUM_FRAMES))))
        opening = mouth_track(turns[0].phones, NUM_FRAMES, FPS)[:, 0]
        openings.append((opening - opening.mean()) / (opening.std() + 1e-6))
    x, y = np.concatenate(features), np.concatenate(openings)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return LipReader(np.tile(weights, (FOLDS, 1)), len(features), "toon-1")


if __name__ == "__main__":
    fit_shipped_reader().save(SHIPPED)
