"""Speech and a prompt in, a film of talking characters out.

    prompt -> text tokens  --+
                             +-> denoise (noise -> latents) -> VAE decode -> frames
    speech -> speech tokens -+

    film = MoChaPipeline.from_pretrained("toon")(prompt="A cat talks.", speech="talk.wav")
    film.save("film.mp4")

Dimension letters: B batch, C latent channels, F latent frames, h w latent rows/cols, L text tokens,
T video frames, H W pixels.
"""

import os
import platform
import secrets
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from einops import einsum, rearrange, repeat
from torch import Tensor

import openmocha
from openmocha import flow, media
from openmocha.models import store
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.text_encoder import PACKAGE, PACKAGE_SHA256, TextEncoder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE
from openmocha.precision import matrix_dtype, mixed_precision
from openmocha.prompt import Script, parse_prompt
from openmocha.sampling import SETTINGS_FILE, Sampling

TextTokens = tuple[Tensor, Tensor]  # token states (1, L, D) and mask (1, L)


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
    """The parts of a model folder, and the recipe that makes a film with them."""

    def __init__(
        self,
        transformer: MoChaTransformer3DModel,
        vae: VideoVAE,
        speech_encoder: SpeechEncoder,
        text_encoder: TextEncoder,
        sampling: Sampling = Sampling(),  # noqa: B008
        name: str = "unnamed",
    ) -> None:
        self.transformer = transformer.eval()
        self.vae = vae.eval()
        self.speech_encoder = speech_encoder
        self.text_encoder = text_encoder
        self.sampling = sampling
        self.name = name
        self.device = torch.device("cpu")
        self.dtype = matrix_dtype(self.device)

    def __call__(
        self,
        prompt: str | Script,
        speech: str | os.PathLike[str] | media.Speech | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        text_guidance_scale: float | None = None,
        speech_guidance_scale: float | None = None,
        seed: int | None = None,
        allow_cut: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> MoChaOutput:
        """Make a film.

        Args:
            prompt: free text, the paper's template, or a Script (whose clips may name recordings).
            speech: a media file, or samples (n,) float32 at 16 kHz. None: the script's recordings,
                else a film without sound.
            height, width: pixels, multiples of 16; the model's own size if not given.
            num_frames: length of a film without speech; with speech, the speech says it.
            text_guidance_scale, speech_guidance_scale: 1 = no guidance.
            seed: of the noise; drawn and reported in the settings if not given.
            allow_cut: use the beginning of a speech that is longer than the model's clip.
            progress: called after each step with (steps done, steps in all).

        Raises ValueError or OSError for anything wrong with the prompt, the speech, or a setting;
        warns about a silent speech.
        """
        script = prompt if isinstance(prompt, Script) else parse_prompt(prompt)
        sampling = self.sampling.with_given(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            text_guidance_scale=text_guidance_scale,
            speech_guidance_scale=speech_guidance_scale,
        )
        recording = gather_speech(script, speech)
        num_frames = self._num_frames(recording, num_frames, allow_cut)
        seed = secrets.randbelow(2**31) if seed is None else seed

        with torch.inference_mode():
            text = self.encode_text(script.prompt)
            no_text = self.encode_text("")
            spoken = fit_speech(recording, num_frames)
            speech_tokens = self.encode_speech(recording, num_frames)
            noise = self.draw_noise(num_frames, sampling, seed)
            latents = self.denoise(noise, text, no_text, speech_tokens, sampling, progress)
            frames = self.decode(latents)
        settings = self._settings(script.prompt, seed, num_frames, sampling)
        return MoChaOutput(frames, spoken, media.FPS, settings)

    # --- the steps of the recipe -----------------------------------------------------------------

    def encode_text(self, prompt: str) -> TextTokens:
        """Token states (1, L, D) and mask (1, L); ValueError beyond 256 tokens."""
        states, mask = self.text_encoder.encode([prompt])
        return states.to(self.device), mask.to(self.device)

    def encode_speech(self, speech: media.Speech | None, num_frames: int) -> Tensor | None:
        """One token per video frame, (1, T, layers, width), or None where nobody speaks.

        Features of the whole recording, then cut; a silent one's would be those of its noise,
        brought to the level of a voice.
        """
        if speech is None:
            return None
        all_frames = max(num_frames, round(len(speech) / media.SPEECH_RATE_HZ * media.FPS))
        whole = fit_speech(speech, all_frames)
        assert whole is not None
        tokens: Tensor = self.speech_encoder.encode(whole, all_frames)[:num_frames]
        if media.is_silent(speech):
            tokens = torch.zeros_like(tokens)
        return tokens[None].to(self.device)

    def draw_noise(self, num_frames: int, sampling: Sampling, seed: int) -> Tensor:
        """(1, C, F, h, w), drawn on the CPU so that a seed means the same film on every device."""
        shape = (
            self.vae.config.latent_channels,
            num_frames // self.vae.config.frames_per_latent,
            sampling.height // self.vae.config.pixels_per_latent,
            sampling.width // self.vae.config.pixels_per_latent,
        )
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn((1, *shape), generator=generator).to(self.device)

    def denoise(
        self,
        noise: Tensor,
        text: TextTokens,
        no_text: TextTokens,
        speech_tokens: Tensor | None,
        sampling: Sampling,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Euler steps from noise to latents, guided by text and speech separately
        (flow.guidance_weights)."""
        steps = sampling.num_inference_steps
        sigmas = flow.sigma_schedule(steps, sampling.shift).to(self.device)
        weights, texts, speeches = guidance_batch(text, no_text, speech_tokens, sampling)
        latents, num = noise, len(weights)
        for step in range(steps):
            sigma, next_sigma = sigmas[step], sigmas[step + 1]
            batch = repeat(latents, "1 C F h w -> B C F h w", B=num)
            with mixed_precision(self.device, self.dtype):
                velocities = self.transformer(batch, sigma.expand(num), [texts], speeches)
            velocity = einsum(weights, velocities.float(), "B, B C F h w -> C F h w")[None]
            latents = flow.euler_step(latents, velocity, sigma[None], next_sigma[None])
            if progress is not None:
                progress(step + 1, steps)
        return latents

    def decode(self, latents: Tensor) -> media.Frames:
        """Latents (1, C, F, h, w) -> frames uint8 (T, H, W, 3)."""
        with mixed_precision(self.device, self.dtype):
            video = self.vae.decode(latents)
        pixels = (video.float().clamp(-1, 1) + 1) * 127.5
        frames: media.Frames = (
            rearrange(pixels, "1 T c H W -> T H W c").round().to(torch.uint8).cpu().numpy()
        )
        return frames

    # --- settings --------------------------------------------------------------------------------

    def _num_frames(
        self, speech: media.Speech | None, num_frames: int | None, allow_cut: bool
    ) -> int:
        """Frames of the film: the speech's length (or what was asked), in whole latent frames."""
        longest = self.sampling.num_frames
        if speech is None:
            wanted = longest if num_frames is None else num_frames
            if not 1 <= wanted <= longest:
                raise ValueError(f"num_frames is {wanted}; this model makes 1 to {longest}")
        else:
            seconds = len(speech) / media.SPEECH_RATE_HZ
            wanted = max(1, round(seconds * media.FPS))
            if wanted > longest and not allow_cut:
                raise ValueError(
                    f"the speech is {seconds:.2f} s long; this model makes films of at most "
                    f"{longest / media.FPS:.2f} s ({longest} frames). Allow the cut (--allow-cut) "
                    f"to use the first {longest / media.FPS:.2f} s, or give a shorter recording"
                )
            if wanted > longest:
                message = f"the first {longest / media.FPS:.2f} s of {seconds:.2f} s are used"
                warnings.warn(message, media.SpeechWarning, stacklevel=3)
        r = self.vae.config.frames_per_latent
        return min(longest, -(-wanted // r) * r)

    def _settings(
        self, prompt: str, seed: int, num_frames: int, sampling: Sampling
    ) -> dict[str, Any]:
        return {
            "made_by": "a model: this film was generated, nobody was recorded in it",
            "prompt": prompt,
            "model": self.name,
            "seed": seed,
            **asdict(sampling),
            "num_frames": num_frames,
            "fps": media.FPS,
            "device": self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
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
    ) -> Self:
        """Load a model by name or folder, its files checked against their checksums.

        dtype is what the matrices are multiplied in; None chooses bfloat16 where the hardware has
        it, else float32. Raises what `store.model_folder` and `store.verify` raise, and ValueError
        for a device that this machine lacks.
        """
        device = usable_device(device)
        folder = store.model_folder(name)
        store.verify(folder)
        text_package, text_sha256 = store.read_json(folder / store.INDEX, ["text_encoder"])[
            "text_encoder"
        ]
        if (text_package, text_sha256) != (PACKAGE, PACKAGE_SHA256):
            raise ValueError(
                f"model {name} wants the text encoder {text_package} (sha256 {text_sha256[:12]}); "
                f"this version knows {PACKAGE} ({PACKAGE_SHA256[:12]}): install a matching version"
            )
        pipeline = cls(
            MoChaTransformer3DModel.from_pretrained(folder / "transformer"),
            VideoVAE.from_pretrained(folder / "vae"),
            SpeechEncoder.from_pretrained(folder / "speech_encoder"),
            TextEncoder.from_pretrained(),
            Sampling.from_folder(folder / "scheduler"),
            str(name),
        )
        return pipeline.to(device, dtype)

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move the networks to a device and choose what they multiply in."""
        self.device = usable_device(device)
        self.dtype = dtype or matrix_dtype(self.device)
        self.transformer.to(self.device)
        self.vae.to(self.device)
        return self

    def save_pretrained(
        self, folder: str | os.PathLike[str], dtype: torch.dtype = torch.float16
    ) -> None:
        """Write the model folder, weights in `dtype` (float16: half the size, 11 bits); the
        checksums come last."""
        folder = Path(folder)
        self.transformer.save_pretrained(folder / "transformer", dtype)
        self.vae.save_pretrained(folder / "vae", dtype=dtype)
        self.speech_encoder.save_pretrained(folder / "speech_encoder", dtype=dtype)
        store.write_json(folder / "scheduler" / SETTINGS_FILE, asdict(self.sampling))
        index = {
            "_class_name": type(self).__name__,
            "_openmocha_version": openmocha.__version__,
            "transformer": ["openmocha", type(self.transformer).__name__],
            "vae": ["openmocha", type(self.vae).__name__],
            "speech_encoder": ["openmocha", type(self.speech_encoder).__name__],
            "scheduler": ["openmocha", Sampling.__name__],
            "text_encoder": [PACKAGE, PACKAGE_SHA256],
        }
        store.write_json(folder / store.INDEX, index)
        store.write_checksums(folder)


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
    script: Script, speech: str | os.PathLike[str] | media.Speech | None
) -> media.Speech | None:
    """The one recording of the film: as given, or the script's clips joined in their order.

    Raises ValueError where both are given; warns where it is silent.
    """
    files = script.speech_files
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


def fit_speech(speech: media.Speech | None, num_frames: int) -> media.Speech | None:
    """Cut or pad with silence to the length of the film."""
    if speech is None:
        return None
    num_samples = round(Fraction(num_frames, media.FPS) * media.SPEECH_RATE_HZ)
    fitted = np.zeros(num_samples, np.float32)
    fitted[: len(speech)] = speech[:num_samples]
    return fitted


def guidance_batch(
    text: TextTokens, no_text: TextTokens, speech_tokens: Tensor | None, sampling: Sampling
) -> tuple[Tensor, TextTokens, Tensor | None]:
    """The conditions of guidance that have a weight, as one batch: weights (B,), text, speech."""
    spoken = speech_tokens is not None
    weights = flow.guidance_weights(
        sampling.text_guidance_scale, sampling.speech_guidance_scale if spoken else 0.0
    )
    conditions = ((no_text, False), (text, False), (text, True))
    used = [(w, *c) for w, c in zip(weights, conditions, strict=True) if w != 0]
    speeches = None
    if speech_tokens is not None:
        # zeros before the projector = no speech
        speeches = torch.cat([speech_tokens * float(hears) for _, _, hears in used])
    weight = torch.tensor([float(w) for w, _, _ in used], device=text[0].device)
    return weight, stack_text([words for _, words, _ in used]), speeches


def stack_text(texts: Sequence[TextTokens]) -> TextTokens:
    """Prompts of several lengths as one batch, padded with zeros: (B, L, D) and mask (B, L)."""
    longest = max(mask.shape[1] for _, mask in texts)
    tokens = [torch.nn.functional.pad(t, (0, 0, 0, longest - t.shape[1])) for t, _ in texts]
    masks = [torch.nn.functional.pad(m, (0, longest - m.shape[1])) for _, m in texts]
    return torch.cat(tokens), torch.cat(masks)
