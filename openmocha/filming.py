"""Noise to frames: take by take (takes.py), pass by pass (continuation.py).

    for each take, for each of its passes:
        noise -> denoise, what is known held -> decode what is new -> frames

Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols, T video
frames, H W pixels.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from openmocha import media
from openmocha.backbones.backbone import Backbone, Conditions, held
from openmocha.continuation import Pass, holding_scene, overlap_of, passes, scene_of
from openmocha.models.places import SceneView, on_the_way, zooming
from openmocha.sampling import Sampling
from openmocha.takes import Take

Progress = Callable[[int, int], None]
TOGETHER_ABOVE = 0.8  # noise level down to which people in one shot are told of each other


@dataclass(frozen=True)
class Making:
    """How a film is made: its settings, the latent frames of the longest pass, and who is told
    after each step (steps done, steps in all)."""

    sampling: Sampling
    longest: int
    seed: int
    progress: Progress | None = None


def film_pieces(
    backbone: Backbone, takes: Sequence[Take], encoded: Sequence[Conditions], making: Making
) -> Iterator[media.Frames]:
    """The frames of all takes, a piece after each pass; `encoded` are the takes' conditions.

    Raises ValueError at once where takes of that length cannot be made, and while frames are taken
    where a GPU's memory does not suffice.
    """
    planned = planned_passes(backbone, takes, making.longest)
    return _film(backbone, takes, encoded, planned, making)


@torch.inference_mode()
def _film(
    backbone: Backbone,
    takes: Sequence[Take],
    encoded: Sequence[Conditions],
    planned: Sequence[Sequence[Pass]],
    making: Making,
) -> Iterator[media.Frames]:
    backbone.before_denoising()
    generator = torch.Generator("cpu").manual_seed(making.seed)
    after_step = counted(making, sum(len(part) for part in planned))
    ends: list[Conditions] = []  # of each take: its last latents, and what was heard there
    for take, conditions, part in zip(takes, encoded, planned, strict=True):
        conditions = replace(conditions, views=views_of(backbone, take, making))
        if take.after is not None:
            conditions = going_on(conditions, ends[take.after], part[-1].total)
        latents = None
        for one in part:
            if latents is not None:
                conditions = replace(conditions, known=latents[:, :, -one.known :])
            noise = draw_noise(backbone, one.stop - one.start, making.sampling, generator)
            shown = part_of(backbone, conditions, one)
            latents = denoise_in_memory(backbone, noise, shown, making.sampling, after_step)
            if take.one_shot and conditions.scene is None and one.stop < one.total:
                at_rest = 0 if conditions.views is None else -overlap_of(making.longest)
                conditions = replace(conditions, scene=scene_of(latents[:, :, at_rest:]))
            yield as_frames(decode_shown(backbone, latents, one))
        assert latents is not None
        ends.append(end_of(backbone, conditions, latents, part[-1].total, making.longest))


def planned_passes(backbone: Backbone, takes: Sequence[Take], longest: int) -> list[list[Pass]]:
    """The passes of each take. One that goes on begins with as many frames as its predecessor
    ended with."""
    planned: list[list[Pass]] = []
    for take in takes:
        new, hidden = backbone.format.num_latents(take.num_frames), 0
        if take.after is not None:
            hidden = min(overlap_of(longest), planned[take.after][-1].total)
        planned.append(list(passes(hidden + new, longest, hidden=hidden)))
    return planned


def counted(making: Making, num_passes: int) -> Callable[[], None]:
    """Called after every step: tells how many of all are done."""
    done, total = 0, num_passes * making.sampling.num_inference_steps

    def told() -> None:
        nonlocal done
        done += 1
        if making.progress is not None:
            making.progress(done, total)

    return told


def views_of(backbone: Backbone, take: Take, making: Making) -> Tensor | None:
    """Where a model is told that a take's camera is (1, F, 3); None where it rests."""
    if take.camera is None:
        return None
    total = backbone.format.num_latents(take.num_frames)
    way = told_way(take.camera, making.sampling.told_zoom)
    return on_the_way(*way, total, moving_of(total, making.longest)).to(backbone.device)


def told_way(way: tuple[SceneView, SceneView], told_zoom: float) -> tuple[SceneView, SceneView]:
    """The way of a camera as a model is told it: one that zooms, `told_zoom` times as far."""
    first, last = way
    if first[0] == last[0]:
        return way
    return zooming(first, told_zoom), zooming(last, told_zoom)


def moving_of(total: int, longest: int) -> int:
    """In how many latent frames of a take a camera moves that does: in all of a take of one pass,
    of a longer one in those that no other pass goes on from."""
    return total if total <= longest else longest - overlap_of(longest)


def going_on(conditions: Conditions, before: Conditions, total: int) -> Conditions:
    """The conditions of a take of `total` latent frames that begins with the end of another: its
    latents, its speech, and its camera, which then rests where it is."""
    speech, views = conditions.speech, before.views
    if views is not None:
        rest = views[:, -1:].expand(-1, total - views.shape[1], -1)
        views = torch.cat([views, rest], dim=1)
    if speech is not None:
        assert before.speech is not None  # a film is heard as a whole, or not at all
        speech = torch.cat([before.speech, speech], dim=1)
    known, start = before.known, -before.num_known
    return replace(conditions, speech=speech, known=known, views=views, start=start, before=before)


def end_of(
    backbone: Backbone, conditions: Conditions, latents: Tensor, total: int, longest: int
) -> Conditions:
    """What a later take needs to go on from this one of `total` latent frames."""
    kept = latents[:, :, -overlap_of(longest) :]
    num_tokens = kept.shape[2] * backbone.format.frames_per_latent
    speech = None if conditions.speech is None else conditions.speech[:, -num_tokens:]
    views = None if conditions.views is None else conditions.views[:, -kept.shape[2] :]
    start = conditions.start + total - kept.shape[2]
    return replace(conditions, known=kept, speech=speech, views=views, start=start)


def part_of(backbone: Backbone, conditions: Conditions, one: Pass) -> Conditions:
    """The conditions with the part of the speech and of the camera's way that a pass needs."""
    conditions = replace(conditions, start=conditions.start + one.start)
    if conditions.views is not None:
        conditions = replace(conditions, views=conditions.views[:, one.start : one.stop])
    if conditions.speech is None:
        return conditions
    speech, windows = backbone.heard(conditions.speech, one.start, one.stop)
    return replace(conditions, speech=speech, windows=windows)


def draw_noise(
    backbone: Backbone, num_latents: int, sampling: Sampling, generator: torch.Generator
) -> Tensor:
    """(1, C, F, h, w), drawn on the CPU so that a seed means the same film on every device."""
    channels, _, *size = backbone.latent_shape(1, sampling.height, sampling.width)
    shape = (1, channels, num_latents, *size)
    return torch.randn(shape, generator=generator).to(backbone.device)


def denoise(
    backbone: Backbone,
    noise: Tensor,
    conditions: Conditions,
    sampling: Sampling,
    told: Callable[[], None] = lambda: None,
    first_step: int = 0,
) -> Tensor:
    """Noise (1, C, F, h, w) -> latents; `told` is called after each step."""
    levels = denoising(backbone, noise, conditions, sampling, told, first_step)
    return deque(levels, maxlen=1).pop()  # the last


def denoising(
    backbone: Backbone,
    noise: Tensor,
    conditions: Conditions,
    sampling: Sampling,
    told: Callable[[], None] = lambda: None,
    first_step: int = 0,
) -> Iterator[Tensor]:
    """Latents (1, C, F, h, w) at each noise level from noise on, one guided velocity a step; known
    first frames stay as they are, and the others keep to a scene, if there is one. From a later
    `first_step` on, latents of that step's noise level are taken."""
    solver = backbone.solver(sampling)
    latents = held(noise, conditions.known)
    yield latents
    for step in range(first_step, sampling.num_inference_steps):
        sigma = float(solver.sigmas[step])
        guided = sampling.at(step, sigma)
        velocity = velocity_apart(backbone, latents, solver.level(step), conditions, guided)
        if (scene := conditions.scene) is not None:
            velocity = holding_scene(velocity, latents, sigma, scene, conditions.num_known)
        latents = held(solver.step(step, velocity, latents), conditions.known)
        told()
        yield latents


def velocity_apart(
    backbone: Backbone, latents: Tensor, level: float, conditions: Conditions, sampling: Sampling
) -> Tensor:
    """The guided velocity (1, C, F, h, w); of people who are told apart each in a part of the
    picture of their own, from left to right, as if nobody else were seen (as in MultiDiffusion,
    Bar-Tal et al. 2023). Who does not speak hears nothing. At the highest noise levels it is the
    mean of that and of the velocity of all at once, which leaves room for each."""
    if not conditions.apart:
        return backbone.velocity(latents, level, conditions, sampling)
    parts = []
    for number, one in enumerate(conditions.apart):
        speech = conditions.speech
        if speech is not None and not one.speaks:
            speech = torch.zeros_like(speech)  # as encode_speech tells a silent recording
        told = replace(conditions, words=one.words, calm=one.calm, speech=speech, apart=())
        velocity = backbone.velocity(latents, level, told, sampling)
        parts.append(velocity.tensor_split(len(conditions.apart), dim=-1)[number])
    velocity = torch.cat(parts, dim=-1)
    if level > TOGETHER_ABOVE:
        at_once = backbone.velocity(latents, level, replace(conditions, apart=()), sampling)
        velocity = (velocity + at_once) / 2
    return velocity


def denoise_in_memory(
    backbone: Backbone,
    noise: Tensor,
    conditions: Conditions,
    sampling: Sampling,
    told: Callable[[], None],
) -> Tensor:
    """As denoise; a GPU without memory left becomes advice."""
    try:
        return denoise(backbone, noise, conditions, sampling, told)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"the GPU ran out of memory at {sampling.width}x{sampling.height} and "
            f"{noise.shape[2]} latent frames; try a lower --memory setting, a smaller --size, or "
            "a recording shorter than that"
        ) from error


def decode_shown(backbone: Backbone, latents: Tensor, one: Pass) -> Tensor:
    """The frames (1, T, 3, H, W) that a pass adds; a decoder sees a latent frame on either side.

    The work is done by now: what cannot be decoded at once is decoded slowly.
    """
    first, last = one.shown
    around = latents[:, :, max(0, first - 1) : last + 1]
    try:
        pixels = backbone.decode(around)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        pixels = backbone.decode_sparingly(around)
    r = backbone.format.frames_per_latent
    skipped = r if first else 0
    return pixels[:, skipped : skipped + r * (last - first)]


def as_frames(pixels: Tensor) -> media.Frames:
    """Pixels (1, T, 3, H, W) in [-1, 1] -> frames uint8 (T, H, W, 3)."""
    shown = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    frames: media.Frames = np.ascontiguousarray(rearrange(shown, "1 T c H W -> T H W c").numpy())
    return frames
