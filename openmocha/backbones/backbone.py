"""What every model brings to the one recipe of pipeline.py, whatever its networks are.

    format                what it can make: frame rate, lengths, sizes, whether from an image
    encode_*              prompt, speech and image -> what its transformer is conditioned on
    solver                noise levels, and the step from one to the next
    velocity              one guided prediction
    decode                latents -> frames

Velocities and noise levels follow flow.py. Dimension letters: B batch, C latent channels, F latent
frames, h w latent rows/cols, T video frames, H W pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor, nn

from openmocha import flow, media
from openmocha.models.places import SceneView
from openmocha.sampling import MAX_SIDE, Sampling, check_size

if TYPE_CHECKING:
    from openmocha.takes import Take
    from openmocha.toon.stories import Story


@dataclass(frozen=True)
class FilmFormat:
    """What films a model can make.

    `causal`: its VAE makes 1 + r k frames of 1 + k latents; otherwise r k frames of k.
    """

    fps: int = media.FPS
    frames_per_latent: int = 4
    causal: bool = False
    side_multiple: int = 16
    smallest_side: int = 64
    largest_side: int = MAX_SIDE
    negative_prompt: str = ""
    takes_image: bool = False
    continues: bool = False  # makes films of any length, pass by pass
    needs_prompt: bool = True
    needs_speech: bool = False
    hears: bool = True
    told_views: bool = False  # is told where the camera is (models/places.py)
    told_figures: bool = False  # is told what is done where, frame by frame (models/figures.py)

    def check_request(self, sampling: Sampling, prompt: str, speech: bool, image: bool) -> None:
        """Raise ValueError for anything asked that this model cannot do."""
        check_size(
            sampling.width,
            sampling.height,
            self.side_multiple,
            self.smallest_side,
            self.largest_side,
        )
        if self.needs_prompt and not prompt.strip():
            raise ValueError("the prompt is empty; say who is seen, where, and what they do")
        if self.needs_speech and not speech:
            raise ValueError("this model makes films of speech only; give a speech recording")
        if speech and not self.hears:
            raise ValueError(
                "this model has not learnt to hear: it has no speech encoder; make a film without "
                "speech, or add one with `openmocha init` and train it"
            )
        if image and not self.takes_image:
            raise ValueError("this model cannot start from an image; leave the image out")

    def whole_length(self, num_frames: int) -> int:
        """The nearest length that latents stand for: cut to 1 + r k by a causal VAE, else filled up
        to r k.

        >>> FilmFormat().whole_length(9), FilmFormat(causal=True).whole_length(12)
        (12, 9)
        """
        r = self.frames_per_latent
        return (num_frames - 1) // r * r + 1 if self.causal else -(-num_frames // r) * r

    def num_latents(self, num_frames: int) -> int:
        """Latent frames of a film of whole length."""
        r = self.frames_per_latent
        return (num_frames - 1) // r + 1 if self.causal else num_frames // r


@dataclass(frozen=True)
class Conditions:
    """What a film is made from, encoded once: words and no (or negative) words in the model's own
    form, speech tokens (1, S, layers, width) with the windows (F, W) into them (None: the model's
    own), clean first latents (1, C, K, h, w) that the film begins with (an image, or the end of
    what was made before), the words less their feelings, where they have any, the scene
    (1, C, 1, h, w) that a pass goes on with (continuation.scene_of), the people of a shot from left
    to right, where it shows several (filming.velocity_apart), where the camera is in each latent
    frame, (1, F, 3) as in models/places.py, None where it rests, which latent frame of its take is
    the first of these (negative: of the end of the one before), and that take's end, if one is gone
    on from."""

    words: Any
    no_words: Any
    speech: Tensor | None = None
    windows: Tensor | None = None
    known: Tensor | None = None
    calm: Any = None
    scene: Tensor | None = None
    apart: tuple["Alone", ...] = ()
    views: Tensor | None = None
    start: int = 0
    before: "Conditions | None" = None

    @property
    def num_known(self) -> int:
        """K, how many latent frames are given."""
        return 0 if self.known is None else self.known.shape[2]


@dataclass(frozen=True)
class Alone:
    """One of the people in a shot, told as if nobody else were seen: words, the same without
    feelings (None where there are none), as text or encoded, whether it is they who speak, and what
    they do."""

    words: Any
    calm: Any
    speaks: bool
    story: "Story | None" = None

    def encoded(self, backbone: "Backbone") -> "Alone":
        """The same in a model's own form."""
        words, calm = backbone.encode_told(self.words, self.calm, self.story)
        return replace(self, words=words, calm=calm)


@dataclass(frozen=True)
class Told:
    """A prompt in words that a model was trained with; `calm` is the same with everybody's feelings
    left out, None where nobody shows any; `apart` are two people in one shot, from left to right,
    each told alone; `camera` where a camera that moves is first and last; `story` what the one
    person who is seen does."""

    words: str
    calm: str | None = None
    apart: tuple[Alone, ...] = ()
    camera: tuple[SceneView, SceneView] | None = None
    story: "Story | None" = None


class Solver(ABC):
    """Noise levels of a film, from 1 down to 0, and the step from one to the next."""

    sigmas: Tensor  # (steps + 1,)

    def level(self, step: int) -> float:
        """What the transformer is told at a step: sigma."""
        return float(self.sigmas[step])

    @abstractmethod
    def step(self, step: int, velocity: Tensor, latents: Tensor) -> Tensor:
        """Latents at the next level."""


class Euler(Solver):
    """The plain solver (flow.euler_step)."""

    def __init__(self, sigmas: Tensor) -> None:
        self.sigmas = sigmas

    def step(self, step: int, velocity: Tensor, latents: Tensor) -> Tensor:
        sigma, following = self.sigmas[step : step + 2].to(latents.device).unbind()
        return flow.euler_step(latents, velocity, sigma[None], following[None])


class Backbone(ABC):
    """The networks of a model folder. Weights are loaded by the functions of folder.py."""

    format: FilmFormat
    transformer: nn.Module
    vae: nn.Module
    speech_encoder: Any
    device: torch.device
    dtype: torch.dtype

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the networks and choose what they multiply in."""

    @abstractmethod
    def encode_text(self, prompt: str) -> Any:
        """A prompt in the transformer's own form. Raises ValueError where it is too long."""

    def encode_told(
        self, words: str, calm: str | None, story: "Story | None"
    ) -> tuple[Any, Any | None]:
        """Words, and the same without feelings where there are any, in the transformer's own form,
        each with what is done (`story`), if the model can be told."""
        return self.encode_text(words), None if calm is None else self.encode_text(calm)

    def understood(self, takes: Sequence["Take"], seed: int, speaking: bool) -> list[Told]:
        """What is seen in a film's takes in words that the model was trained with, what they leave
        open settled by lots of `seed`; as they are, where a model cannot tell. `speaking`: whether
        a voice is heard."""
        return [Told(take.words) for take in takes]

    @abstractmethod
    def velocity(
        self, latents: Tensor, sigma: float, conditions: Conditions, sampling: Sampling
    ) -> Tensor:
        """Guided velocity (1, C, F, h, w) of latents at one noise level; known first frames of
        `conditions` are told to the transformer as the model was trained to hear it."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (1, C, F, h, w) -> pixels (1, T, 3, H, W) in [-1, 1]."""

    def decode_sparingly(self, latents: Tensor) -> Tensor:
        """As decode, where that needed more memory than there is: slower, if the model can."""
        return self.decode(latents)

    @abstractmethod
    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Pixels (1, T, 3, H, W) in [-1, 1] -> latents (1, C, F, h, w)."""

    @abstractmethod
    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, h, w) of a film of whole length."""

    def before_denoising(self) -> None:  # noqa: B027 (most have nothing to do)
        """Called when a film's conditions are encoded. What was needed for them may go."""

    def solver(self, sampling: Sampling) -> Solver:
        """Euler steps, where a model says nothing else."""
        if sampling.quality == "fast":
            return Euler(torch.tensor([*(step.sigma for step in sampling.fast_steps), 0.0]))
        return Euler(flow.sigma_schedule(sampling.num_inference_steps, sampling.shift))

    def encode_speech(self, speech: media.Speech | None, num_frames: int) -> Tensor | None:
        """One token per video frame, (1, T, layers, width), or None where nobody speaks.

        Features of the whole recording, then cut; a silent one's would be those of its noise,
        brought to the level of a voice.
        """
        if speech is None:
            return None
        all_frames = max(num_frames, round(len(speech) / media.SPEECH_RATE_HZ * self.format.fps))
        whole = fit_speech(speech, all_frames, self.format.fps)
        tokens: Tensor = self.speech_encoder.encode(whole, all_frames)[:num_frames]
        if media.is_silent(speech):
            tokens = torch.zeros_like(tokens)
        return tokens[None].to(self.device)

    def heard(self, speech: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Of a film's speech tokens (1, T, layers, width) what its latent frames `start` to `stop`
        need, with windows into it. Models that make a film in one pass need all of it."""
        return speech, None

    def encode_image(self, image: np.ndarray, height: int, width: int) -> Tensor:
        """An image uint8 (H, W, 3) -> the latent of a film's first frame (1, C, 1, h, w)."""
        pixels = image_pixels(image, height, width).to(self.device)
        if not self.format.causal:  # an image is a frame, repeated as often as a latent holds
            pixels = pixels.expand(-1, self.format.frames_per_latent, -1, -1, -1)
        return self.encode_frames(pixels)


def fit_speech(speech: media.Speech, num_frames: int, fps: int) -> media.Speech:
    """Cut or pad with silence to the length of the film."""
    fitted = np.zeros(round(Fraction(num_frames, fps) * media.SPEECH_RATE_HZ), np.float32)
    fitted[: len(speech)] = speech[: len(fitted)]
    return fitted


def image_pixels(image: np.ndarray, height: int, width: int) -> Tensor:
    """An image uint8 (H, W, 3) as one frame (1, 1, 3, height, width) in [-1, 1].

    Bicubic, and stretched: the aspect ratio is not kept. Raises ValueError for another shape.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"the image has shape {image.shape} and type {image.dtype}; expected uint8 "
            "(rows, columns, 3), RGB"
        )
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(image)), "H W c -> 1 c H W")
    scaled = nnf.interpolate(
        pixels / 127.5 - 1, size=(height, width), mode="bicubic", align_corners=False
    )
    return scaled[:, None]


def held(latents: Tensor, known: Tensor | None) -> Tensor:
    """The latents with the known first ones (1, C, K, h, w) put in their place, if any."""
    if known is None:
        return latents
    return torch.cat([known.to(latents), latents[:, :, known.shape[2] :]], dim=2)


def weighted(passes: Sequence[tuple[float, Any, Tensor | None]]) -> list[tuple[Any, ...]]:
    """The passes (weight, words, speech) of guidance that have a weight: the others need not be
    computed."""
    return [one for one in passes if one[0] != 0]


def mocha_passes(
    conditions: Conditions, sampling: Sampling
) -> list[tuple[float, Any, Tensor | None]]:
    """The paper's order: no words and no speech, words alone, both (flow.guidance_weights). Then,
    with negative weight, the words without feelings: what is small in a picture needs a pull of its
    own. Where words alone have no weight, it is the pull between words that are spoken.

    No speech is zeros before the projector.
    """
    speech = conditions.speech
    speech_scale = 0.0 if speech is None else sampling.speech_guidance_scale
    silence = None if speech is None else torch.zeros_like(speech)
    null, text, full = flow.guidance_weights(sampling.text_guidance_scale, speech_scale)
    pull = 0.0 if conditions.calm is None else sampling.feeling_guidance_scale - 1
    spoken = pull if text == 0 else 0.0
    passes = [
        (null, conditions.no_words, silence),
        (text + pull - spoken, conditions.words, silence),
        (full + spoken, conditions.words, speech),
        (spoken - pull, conditions.calm, silence),
        (-spoken, conditions.calm, speech),
    ]
    return weighted(passes)
