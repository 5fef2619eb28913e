"""Speech and a prompt in, a film of talking characters out.

    prompt -> text tokens  --+
    image  -> first latent --+-> denoise (noise -> latents) -> VAE decode -> frames
    speech -> speech tokens -+

    film = MoChaPipeline.from_pretrained("toon")(prompt="A cat talks.", speech="talk.wav")
    film.save("film.mp4")

What differs between models (networks, guidance, frame rate) is in backbones/.
Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols, T video
frames, H W pixels.
"""

import os
import platform
import secrets
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

import openmocha
from openmocha import media
from openmocha.backbones import folder as model_folders
from openmocha.backbones.backbone import Backbone, Conditions, fit_speech, held
from openmocha.memory import Memory
from openmocha.precision import matrix_dtype
from openmocha.prompt import Script, parse_prompt
from openmocha.sampling import Sampling


@dataclass(frozen=True)
class MoChaOutput:
    """A finished film: frames uint8 (T, H, W, 3), its speech, and what made it."""

    frames: media.Frames
    speech: media.Speech | None
    fps: float
    settings: dict[str, Any]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an mp4 with the settings in its metadata; raises what `media.FilmWriter` raises."""
        media.write_film(path, self.frames, self.speech, self.fps, self.settings)


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

    def __call__(
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
    ) -> MoChaOutput:
        """Make a film.

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
            allow_cut: use the beginning of a speech that is longer than the model's clip.
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

        with torch.inference_mode():
            conditions = Conditions(
                words=self.backbone.encode_text(words),
                no_words=self.backbone.encode_text(negative_prompt),
                speech=self.backbone.encode_speech(recording, num_frames),
                first_frame=None
                if picture is None
                else self.backbone.encode_image(picture, sampling.height, sampling.width),
            )
            self.backbone.before_denoising()
            noise = self.draw_noise(num_frames, sampling, seed)
            latents = self._denoise(noise, conditions, sampling, progress)
            frames = as_frames(self._decode(latents))
        fps = self.backbone.format.fps
        spoken = None if recording is None else fit_speech(recording, num_frames, fps)
        settings = self._settings(words, negative_prompt, seed, num_frames, sampling)
        return MoChaOutput(frames, spoken, fps, settings)

    def draw_noise(self, num_frames: int, sampling: Sampling, seed: int) -> Tensor:
        """(1, C, F, h, w), drawn on the CPU so that a seed means the same film on every device."""
        shape = self.backbone.latent_shape(num_frames, sampling.height, sampling.width)
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn((1, *shape), generator=generator).to(self.backbone.device)

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

    # --- settings --------------------------------------------------------------------------------

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
        longest, fps = self.sampling.num_frames, self.backbone.format.fps
        if speech is None:
            wanted = longest if num_frames is None else num_frames
            if not 1 <= wanted <= longest:
                raise ValueError(f"num_frames is {wanted}; this model makes 1 to {longest}")
        else:
            seconds = len(speech) / media.SPEECH_RATE_HZ
            wanted = max(1, round(seconds * fps))
            if wanted > longest and not allow_cut:
                raise ValueError(
                    f"the speech is {seconds:.2f} s long; this model makes films of at most "
                    f"{longest / fps:.2f} s ({longest} frames). Allow the cut (--allow-cut) "
                    f"to use the first {longest / fps:.2f} s, or give a shorter recording"
                )
            if wanted > longest:
                message = f"the first {longest / fps:.2f} s of {seconds:.2f} s are used"
                warnings.warn(message, media.SpeechWarning, stacklevel=3)
        return min(longest, self.backbone.format.whole_length(wanted))

    def _settings(
        self, prompt: str, negative: str, seed: int, num_frames: int, sampling: Sampling
    ) -> dict[str, Any]:
        return {
            "made_by": "a model: this film was generated, nobody was recorded in it",
            "prompt": prompt,
            "negative_prompt": negative,
            "model": self.name,
            "seed": seed,
            **asdict(sampling),
            "num_frames": num_frames,
            "fps": self.backbone.format.fps,
            "device": self.backbone.device.type,
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
            "versions": {
                "openmocha": openmocha.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

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
    """Noise (1, C, F, h, w) -> latents, one guided velocity a step; a given first frame stays as
    it is."""
    solver = backbone.solver(sampling)
    latents = held(noise, conditions.first_frame)
    for step in range(sampling.num_inference_steps):
        velocity = backbone.velocity(latents, solver.level(step), conditions, sampling)
        latents = held(solver.step(step, velocity, latents), conditions.first_frame)
        if progress is not None:
            progress(step + 1, sampling.num_inference_steps)
    return latents


def as_frames(pixels: Tensor) -> media.Frames:
    """Pixels (1, T, 3, H, W) in [-1, 1] -> frames uint8 (T, H, W, 3)."""
    shown = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    frames: media.Frames = np.ascontiguousarray(rearrange(shown, "1 T c H W -> T H W c").numpy())
    return frames


def usable_device(device: str | torch.device) -> torch.device:
    """The torch device of a name. Raises ValueError for one that is unknown or not there."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device {str(device)!r} cannot be used ({reason}); try cpu, or cuda with a GPU"
        ) from error


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
