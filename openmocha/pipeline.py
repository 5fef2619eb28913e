"""Speech and a prompt in, a film of talking characters out.

    prompt -> text tokens  --+
    image  -> first latent --+-> denoise (noise -> latents) -> VAE decode -> frames
    speech -> speech tokens -+          ^------ the last latents, where the film goes on

    film = MoChaPipeline.from_pretrained("toon")(prompt="A cat talks.", speech="talk.wav")
    film.save("film.mp4")

What differs between models (networks, guidance, frame rate) is in backbones/.
Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols, T video
frames, H W pixels.
"""

import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from openmocha import media
from openmocha.backbones import folder as model_folders
from openmocha.backbones.backbone import Backbone, Conditions, fit_speech, held
from openmocha.continuation import Pass, passes
from openmocha.memory import Memory
from openmocha.output import PROVENANCE, MoChaOutput, MoChaStream
from openmocha.precision import matrix_dtype, usable_device
from openmocha.prompt import Script, parse_prompt
from openmocha.sampling import Sampling


class MoChaPipeline:
    """A model, its settings, and the recipe that makes a film with them."""

    def __init__(
        self,
        backbone: Backbone,
        sampling: Sampling = Sampling(),  # noqa: B008
        name: str = "unnamed",
    ) -> None:
        self.backbone = backbone
        self.sampling = sampling
        self.name = name

    def __call__(self, *request: Any, **settings: Any) -> MoChaOutput:
        """Make a film and keep it in memory; `stream` says what can be asked for."""
        return self.stream(*request, **settings).finish()

    def stream(
        self,
        prompt: str | Script,
        speech: str | os.PathLike[str] | media.Speech | None = None,
        image: str | os.PathLike[str] | media.Frames | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        text_guidance_scale: float | None = None,
        speech_guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        allow_cut: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> MoChaStream:
        """Check a request and encode it; the film is made while its pieces are taken.

        Args:
            prompt: free text, the paper's template, or a Script (whose clips may name recordings).
            speech: a media file, or samples (n,) float32 at 16 kHz. None: the script's recordings,
                else a film without sound.
            image: the film's first frame, a file or uint8 (H, W, 3); stretched to the film's size.
            height, width: pixels; the model's own size if not given.
            num_frames: length of a film without speech; with speech, the speech says it.
            text_guidance_scale, speech_guidance_scale: 1 = no guidance.
            negative_prompt: what the film shall not be; the model's own if not given.
            seed: of the noise; drawn and reported in the settings if not given.
            allow_cut: use the beginning of a speech that is too long for a model that makes films
                in one pass.
            progress: called after each step with (steps done, steps in all).

        Raises ValueError or OSError for anything wrong with the prompt, the speech, or a setting;
        warns about a silent speech.
        """
        words, speech_files = self._words(prompt)
        sampling = self.sampling.with_given(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            text_guidance_scale=text_guidance_scale,
            speech_guidance_scale=speech_guidance_scale,
        )
        recording = gather_speech(speech_files, speech)
        picture = media.load_image(image) if isinstance(image, str | os.PathLike) else image
        self.backbone.format.check_request(
            sampling, words, recording is not None, picture is not None
        )
        num_frames = self._num_frames(recording, num_frames, allow_cut)
        if negative_prompt is None:
            negative_prompt = self.backbone.format.negative_prompt
        seed = secrets.randbelow(2**31) if seed is None else seed

        conditions = self._conditions(
            words, negative_prompt, recording, picture, num_frames, sampling
        )
        pieces = self._pieces(conditions, num_frames, sampling, seed, progress)
        fps = self.backbone.format.fps
        spoken = None if recording is None else fit_speech(recording, num_frames, fps)
        settings = {
            "prompt": words,
            "negative_prompt": negative_prompt,
            "model": self.name,
            "seed": seed,
            **asdict(sampling),
            "num_frames": num_frames,
            "fps": fps,
            "device": self.backbone.device.type,
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
        }
        return MoChaStream(
            pieces, num_frames, sampling.height, sampling.width, spoken, fps, PROVENANCE | settings
        )

    # --- the film, pass by pass ------------------------------------------------------------------

    @torch.inference_mode()
    def _conditions(
        self,
        words: str,
        negative_prompt: str,
        recording: media.Speech | None,
        picture: media.Frames | None,
        num_frames: int,
        sampling: Sampling,
    ) -> Conditions:
        """Everything that the film is made from, encoded."""
        backbone, known = self.backbone, None
        if picture is not None:
            known = backbone.encode_image(picture, sampling.height, sampling.width)
        return Conditions(
            words=backbone.encode_text(words),
            no_words=backbone.encode_text(negative_prompt),
            speech=backbone.encode_speech(recording, num_frames),
            known=known,
        )

    @torch.inference_mode()
    def _pieces(
        self,
        conditions: Conditions,
        num_frames: int,
        sampling: Sampling,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Iterator[media.Frames]:
        """Noise -> latents -> frames, once for a short film, in overlapping passes for a long one
        (continuation.py)."""
        self.backbone.before_denoising()
        noise = self.draw_noise(num_frames, sampling, seed)
        planned = self._passes(num_frames)
        latents = None
        for number, one in enumerate(planned):
            if latents is not None:
                conditions = replace(conditions, known=latents[:, :, -one.known :])
            heard = self._heard(conditions, one)
            told = in_all(progress, number, len(planned))
            latents = self._denoise(next(noise), heard, sampling, told)
            yield as_frames(self._decode_shown(latents, one))

    def _passes(self, num_frames: int) -> list[Pass]:
        plan = self.backbone.format
        total, longest = (plan.num_latents(n) for n in (num_frames, self.sampling.num_frames))
        return list(passes(total, longest if plan.continues else max(longest, total)))

    def draw_noise(self, num_frames: int, sampling: Sampling, seed: int) -> Iterator[Tensor]:
        """(1, C, F, h, w) of each pass, drawn on the CPU so that a seed means the same film on
        every device."""
        channels, _, *size = self.backbone.latent_shape(num_frames, sampling.height, sampling.width)
        generator = torch.Generator("cpu").manual_seed(seed)
        for one in self._passes(num_frames):
            shape = (1, channels, one.stop - one.start, *size)
            yield torch.randn(shape, generator=generator).to(self.backbone.device)

    def _heard(self, conditions: Conditions, one: Pass) -> Conditions:
        """The conditions with the part of the speech that a pass needs."""
        if conditions.speech is None:
            return conditions
        speech, windows = self.backbone.heard(conditions.speech, one.start, one.stop)
        return replace(conditions, speech=speech, windows=windows)

    def _decode_shown(self, latents: Tensor, one: Pass) -> Tensor:
        """The frames that a pass adds; the decoder sees a latent frame on either side."""
        first, last = one.shown
        pixels = self._decode(latents[:, :, max(0, first - 1) : last + 1])
        r = self.backbone.format.frames_per_latent
        skipped = r if first else 0
        return pixels[:, skipped : skipped + r * (last - first)]

    # --- memory ----------------------------------------------------------------------------------

    def _denoise(
        self,
        noise: Tensor,
        conditions: Conditions,
        sampling: Sampling,
        progress: Callable[[int, int], None] | None,
    ) -> Tensor:
        try:
            return denoise(self.backbone, noise, conditions, sampling, progress)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"the GPU ran out of memory at {sampling.width}x{sampling.height} and "
                f"{noise.shape[2]} latent frames; try a lower --memory setting, a smaller --size "
                "or a shorter recording"
            ) from error

    def _decode(self, latents: Tensor) -> Tensor:
        """The work is done by now: a film that cannot be decoded at once is decoded slowly."""
        try:
            return self.backbone.decode(latents)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return self.backbone.decode_sparingly(latents)

    # --- the request ------------------------------------------------------------------------------

    def _words(self, prompt: str | Script) -> tuple[str, Sequence[Path]]:
        """What the model is told, and the recordings that a script names."""
        if isinstance(prompt, str) and not prompt.strip() and not self.backbone.format.needs_prompt:
            return "", ()
        script = prompt if isinstance(prompt, Script) else parse_prompt(prompt)
        return script.prompt, script.speech_files

    def _num_frames(
        self, speech: media.Speech | None, num_frames: int | None, allow_cut: bool
    ) -> int:
        """Frames of the film: the speech's length (or what was asked), in whole latent frames."""
        plan, in_one_pass = self.backbone.format, self.sampling.num_frames
        longest = None if plan.continues else in_one_pass
        if speech is None:
            wanted = in_one_pass if num_frames is None else num_frames
            if wanted < 1 or (longest is not None and wanted > longest):
                most = "or more" if longest is None else f"to {longest}"
                raise ValueError(f"num_frames is {wanted}; this model makes 1 {most}")
        else:
            wanted = max(1, round(len(speech) / media.SPEECH_RATE_HZ * plan.fps))
        if longest is not None and wanted > longest:
            self._check_cut(wanted / plan.fps, allow_cut)
            wanted = longest
        return plan.whole_length(wanted)

    def _check_cut(self, seconds: float, allow_cut: bool) -> None:
        """Raise ValueError, or warn, that a model of one pass leaves some of a speech away."""
        longest = self.sampling.num_frames
        used_s = longest / self.backbone.format.fps
        if not allow_cut:
            raise ValueError(
                f"the speech is {seconds:.2f} s long; this model makes films of at most "
                f"{used_s:.2f} s ({longest} frames). Allow the cut (--allow-cut) "
                f"to use the first {used_s:.2f} s, or give a shorter recording"
            )
        message = f"the first {used_s:.2f} s of {seconds:.2f} s are used"
        warnings.warn(message, media.SpeechWarning, stacklevel=4)

    # --- model folder ----------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "toon",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        memory: Memory | None = None,
        lora: str | os.PathLike[str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> Self:
        """Load a model by name, folder or hub repository, its files checked.

        Args:
            dtype: what matrices are multiplied in; None chooses bfloat16 where the hardware has it,
                else float32.
            memory: how a large model is placed on a GPU (memory.py); "balanced" if not given.
            lora: a file for a large model's transformer.
            say: told about downloads and the memory plan, before the work starts.

        Raises what `store.model_folder` and `store.verify` raise, and ValueError for a device that
        this machine lacks or a model that does not fit it.
        """
        device = usable_device(device)
        dtype = dtype or matrix_dtype(device)
        lora = None if lora is None else Path(lora)
        backbone, sampling = model_folders.load(name, device, dtype, memory, lora, say)
        return cls(backbone, sampling, str(name))

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move the networks to a device and choose what they multiply in."""
        device = usable_device(device)
        self.backbone.to(device, dtype or matrix_dtype(device))
        return self

    def save_pretrained(
        self, folder: str | os.PathLike[str], dtype: torch.dtype = torch.float16
    ) -> None:
        """Write the model folder, weights in `dtype` (float16: half the size, 11 bits); the
        checksums come last."""
        model_folders.save(self.backbone, self.sampling, folder, dtype)


def denoise(
    backbone: Backbone,
    noise: Tensor,
    conditions: Conditions,
    sampling: Sampling,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Noise (1, C, F, h, w) -> latents, one guided velocity a step; known first frames stay
    as they are."""
    solver = backbone.solver(sampling)
    latents = held(noise, conditions.known)
    for step in range(sampling.num_inference_steps):
        velocity = backbone.velocity(latents, solver.level(step), conditions, sampling)
        latents = held(solver.step(step, velocity, latents), conditions.known)
        if progress is not None:
            progress(step + 1, sampling.num_inference_steps)
    return latents


def in_all(
    progress: Callable[[int, int], None] | None, number: int, passes: int
) -> Callable[[int, int], None] | None:
    """Progress of pass `number` as that of all passes."""
    if progress is None:
        return None
    return lambda done, steps: progress(number * steps + done, passes * steps)


def as_frames(pixels: Tensor) -> media.Frames:
    """Pixels (1, T, 3, H, W) in [-1, 1] -> frames uint8 (T, H, W, 3)."""
    shown = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    frames: media.Frames = np.ascontiguousarray(rearrange(shown, "1 T c H W -> T H W c").numpy())
    return frames


def gather_speech(
    files: Sequence[Path], speech: str | os.PathLike[str] | media.Speech | None
) -> media.Speech | None:
    """The one recording of the film: as given, or the script's clips joined in their order.

    Raises ValueError where both are given; warns where it is silent.
    """
    if files and speech is not None:
        raise ValueError("the script names speech files and a speech was given too; keep one")
    if files:
        recording = media.join_speeches([media.load_speech(file) for file in files])
    elif speech is None:
        return None
    elif isinstance(speech, str | os.PathLike):
        recording = media.load_speech(speech)
    else:
        recording = speech
        media.check_speech(recording)
    if media.is_silent(recording):
        message = "the speech is silent: nobody will be seen speaking"
        warnings.warn(message, media.SpeechWarning, stacklevel=3)
    return recording
