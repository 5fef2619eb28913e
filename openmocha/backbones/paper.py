"""The paper's own transformer and the parts trained with it: the embedded model, and whatever
`openmocha train` makes.

Dimension letters as in backbone.py; L text tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import einsum, repeat
from numpy.typing import NDArray
from torch import Tensor

from openmocha.backbones.backbone import (
    Alone,
    Backbone,
    Conditions,
    FilmFormat,
    Told,
    mocha_passes,
)
from openmocha.models.figures import NUM_FIGURE
from openmocha.models.places import SceneView
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.text_encoder import TextEncoder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE
from openmocha.precision import matrix_dtype, mixed_precision
from openmocha.prompt import TAG, parse_prompt
from openmocha.sampling import Sampling
from openmocha.takes import Take
from openmocha.toon.camera import at_rest, clip_way, in_scene
from openmocha.toon.caption_reader import CLIPS
from openmocha.toon.captions import caption_of
from openmocha.toon.figures import average_figures
from openmocha.toon.retelling import People, Retelling, alone, without_feelings
from openmocha.toon.stories import Story

TextTokens = tuple[Tensor, Tensor]  # token states (1, L, D) and mask (1, L)


@dataclass(frozen=True)
class Words:
    """A prompt as the transformer takes it, and the story of one person in one shot whose figure
    is told beside it, if any is."""

    text: TextTokens
    story: Story | None = None


class PaperBackbone(Backbone):
    """MoChaTransformer3DModel with VideoVAE, Wav2Vec2 and MiniLM; perhaps with a second one that
    folds guidance in, for the steps that need it (training/few_steps.py)."""

    transformer: MoChaTransformer3DModel
    guided_transformer: MoChaTransformer3DModel | None
    vae: VideoVAE
    speech_encoder: SpeechEncoder

    def __init__(
        self,
        transformer: MoChaTransformer3DModel,
        vae: VideoVAE,
        speech_encoder: SpeechEncoder,
        text_encoder: TextEncoder,
        guided_transformer: MoChaTransformer3DModel | None = None,
    ) -> None:
        self.transformer = transformer.eval()
        self.guided_transformer = guided_transformer and guided_transformer.eval()
        self.vae = vae.eval()
        self.speech_encoder = speech_encoder
        self.text_encoder = text_encoder
        self.device = torch.device("cpu")
        self.dtype = matrix_dtype(self.device)
        self.format = FilmFormat(
            frames_per_latent=vae.config.frames_per_latent,
            side_multiple=transformer.config.patch * vae.config.pixels_per_latent,
            takes_image=True,
            continues=transformer.config.continues,
            told_views=transformer.config.told_views,
            told_figures=transformer.config.told_figures,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Transformer and VAE move; the small encoders stay where they are."""
        self.device, self.dtype = device, dtype
        self.transformer.to(device)
        if self.guided_transformer is not None:
            self.guided_transformer.to(device)
        self.vae.to(device)

    def encode_text(self, prompt: str) -> Words:
        """ValueError beyond 256 tokens."""
        states, mask = self.text_encoder.encode([prompt])
        return Words((states.to(self.device), mask.to(self.device)))

    def encode_told(
        self, words: str, calm: str | None, story: Story | None
    ) -> tuple[Words, Words | None]:
        """See the base class: who is calm does the same, with a neutral face."""
        told, without = super().encode_told(words, calm, story)
        if story is None or not self.format.told_figures:
            return told, without
        return (
            replace(told, story=story),
            without and replace(without, story=without_feelings(story)),
        )

    def understood(self, takes: Sequence[Take], seed: int, speaking: bool) -> list[Told]:
        """See the base class: the caption reader's answers, as captions of the film set.

        It knows one clip, or two with another person in each; other scripts stay as they are.
        """
        film = Retelling(seed, speaking)
        told: list[Told] = []
        for take in takes:
            shown = [set(TAG.findall(clip.text)) for clip in parse_prompt(take.words).clips]
            known = len(shown) == 1 or (
                len(shown) == CLIPS
                and all(len(tags) == 1 for tags in shown)
                and shown[0] != shown[1]
            )
            answers = self.text_encoder.answers(take.words) if known else {}
            if not answers:
                told.append(Told(take.words))
                continue
            each = [self.text_encoder.answers(words) for words in take.each]
            people = People(take.who, each, take.speaker)
            story = film.story(answers, len(shown), people)
            told.append(told_story(story if take.after is None else at_rest(story)))
        return told

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, h, w)."""
        pixels = self.vae.config.pixels_per_latent
        frames = self.format.num_latents(num_frames)
        return self.vae.config.latent_channels, frames, height // pixels, width // pixels

    def velocity(
        self, latents: Tensor, sigma: float, conditions: Conditions, sampling: Sampling
    ) -> Tensor:
        """All passes of guidance as one batch; known frames have the noise level 0."""
        passes = mocha_passes(conditions, sampling)
        weights, words, speeches = zip(*passes, strict=True)
        num = len(passes)
        batch = repeat(latents, "1 C F h w -> B C F h w", B=num)
        sigmas = torch.full((num, latents.shape[2]), sigma, device=latents.device)
        sigmas[:, : conditions.num_known] = 0
        network = self.guided_transformer if sampling.folded else self.transformer
        assert network is not None  # a model without it has no quality "fast"
        with mixed_precision(self.device, self.dtype):
            velocities = network(
                batch,
                sigmas,
                [stack_text([told.text for told in words])],
                None if conditions.speech is None else torch.cat(speeches),
                conditions.windows,
                **self.told_beside(words, conditions, latents),
            )
        weight = torch.tensor(weights, dtype=torch.float32, device=latents.device)
        velocity: Tensor = einsum(weight, velocities.float(), "B, B C F h w -> C F h w")
        return velocity[None]

    def told_beside(
        self, words: Sequence[Words], conditions: Conditions, latents: Tensor
    ) -> dict[str, Tensor]:
        """What the transformer is told of latents (1, C, F, h, w) beside each pass's words: where
        the camera is, if it moves, and the figures of whoever is directed."""
        told = {}
        if conditions.views is not None:
            told["views"] = conditions.views.expand(len(words), -1, -1)
        if any(one.story is not None for one in words):
            figures = [self._figures(one, conditions, *latents.shape[2:]) for one in words]
            told["figures"] = torch.from_numpy(np.stack(figures)).to(self.device)
        return told

    def _figures(
        self, told: Words, conditions: Conditions, frames: int, rows: int, cols: int
    ) -> NDArray[np.float32]:
        """(F, K) of the first `frames` latent frames of the conditions, NaN for nobody; those from
        before the take have the figures that they were made with."""
        nobody = np.full((frames, NUM_FIGURE), np.nan, np.float32)
        if told.story is None:
            return nobody
        first, r = conditions.start, self.format.frames_per_latent
        earlier = min(frames, max(0, -first))
        parts = [nobody[:earlier]]
        if earlier and (before := conditions.before) is not None:
            before = replace(before, start=before.start + before.num_known + first)
            parts = [self._figures(before.words, before, earlier, rows, cols)]
        shown = range(first + earlier, first + frames)
        if shown:
            parts.append(average_figures(told.story, shown, rows, cols, r, self.format.fps))
        return np.concatenate(parts)

    def heard(self, speech: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """See the base class."""
        num_frames = speech.shape[1]
        tokens, windows = self.transformer.config.heard_by(start, stop, num_frames)
        return speech[:, tokens], windows.to(speech.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (1, T, 3, H, W)."""
        with mixed_precision(self.device, self.dtype):
            pixels: Tensor = self.vae.decode(latents)
        return pixels

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Latents (1, C, F, h, w)."""
        with mixed_precision(self.device, self.dtype):
            latents: Tensor = self.vae.encode(pixels)
        return latents.float()


def told_story(story: Story) -> Told:
    """A story as the captions of the film set tell it, all of it; where two people share its one
    shot, each of them alone; of one shot, how its camera moves, and what the one person does who is
    alone in it."""
    calm = without_feelings(story)
    words = caption_of(story, drop=0.0)
    calm_words = None if calm == story else caption_of(calm, drop=0.0)
    return Told(words, calm_words, told_apart(story), camera_of(story), one_person(story))


def camera_of(story: Story) -> tuple[SceneView, SceneView] | None:
    """Where the camera of a story's one shot is first and last, if it moves."""
    clip = story.clips[0]
    first, last = (in_scene(view) for view in clip_way(clip))
    return None if first == last or len(story.clips) > 1 else (first, last)


def told_apart(story: Story) -> tuple[Alone, ...]:
    """The people of a story's one shot from left to right, each told alone; () if it shows one."""
    clip = story.clips[0]
    if len(story.clips) > 1 or len(clip.cast) == 1:
        return ()
    told = [told_story(alone(story, number)) for number in range(len(clip.cast))]
    return tuple(
        Alone(one.words, one.calm, clip.speaker == k, one.story) for k, one in enumerate(told)
    )


def one_person(story: Story) -> Story | None:
    """The story, if it shows one person in one shot."""
    return story if len(story.clips) == len(story.clips[0].cast) == 1 else None


def stack_text(texts: Sequence[TextTokens]) -> TextTokens:
    """Prompts of several lengths as one batch, padded with zeros: (B, L, D) and mask (B, L)."""
    longest = max(mask.shape[1] for _, mask in texts)
    tokens = [torch.nn.functional.pad(t, (0, 0, 0, longest - t.shape[1])) for t, _ in texts]
    masks = [torch.nn.functional.pad(m, (0, longest - m.shape[1])) for _, m in texts]
    return torch.cat(tokens), torch.cat(masks)
