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
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import torch

from openmocha import media
from openmocha.backbones import folder as model_folders
from openmocha.backbones.backbone import Backbone, Conditions, fit_speech
from openmocha.filming import Making, film_pieces
from openmocha.memory import Memory
from openmocha.output import PROVENANCE, MoChaOutput, MoChaStream
from openmocha.precision import matrix_dtype, usable_device
from openmocha.prompt import Script, parse_prompt
from openmocha.rewording import with_shot
from openmocha.sampling import Quality, Sampling
from openmocha.takes import GAP_S, Take, takes_of, with_people
from openmocha.turns import NoTurnsError


class FilmSettings(TypedDict, total=False):
    """What else can be asked of a film; see `MoChaPipeline.stream`."""

    height: int | None
    width: int | None
    num_frames: int | None
    num_inference_steps: int | None
    text_guidance_scale: float | None
    speech_guidance_scale: float | None
    feeling_guidance_scale: float | None
    negative_prompt: str | None
    seed: int | None
    quality: Quality | None
    allow_cut: bool
    together: bool
    verbatim: bool
    progress: Callable[[int, int], None] | None


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
        **settings: Unpack[FilmSettings],
    ) -> MoChaOutput:
        """Make a film and keep it in memory; `stream` says what each argument means."""
        return self.stream(prompt, speech, image, **settings).finish()

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
        feeling_guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        quality: Quality | None = None,
        allow_cut: bool = False,
        together: bool = False,
        verbatim: bool = False,
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
            text_guidance_scale, speech_guidance_scale, feeling_guidance_scale: 1 = no guidance;
                the last acts on what a retold prompt says of feelings.
            negative_prompt: what the film shall not be; the model's own if not given.
            seed: of the noise; drawn and reported in the settings if not given.
            quality: "high", or "fast": few steps with guidance of their own, where a model can. Not
                given: "fast" where it can and neither steps, scales nor negative prompt are.
            allow_cut: use the beginning of a speech that is too long for a model that makes films
                in one pass.
            together: make all clips of a script in one take, as the paper does; else a model that
                can makes them one by one (takes.py).
            verbatim: tell the model the prompt as it is; else one that can is told it in words of
                its own, and what it leaves open is settled by the seed (toon/retelling.py).
            progress: called after each step with (steps done, steps in all).

        Raises ValueError or OSError for anything wrong with the prompt, the speech, or a setting;
        warns about a silent speech, and one in which no other voice is found for a second clip.
        """
        script = self._script(prompt)
        sampling = self._sampling(
            quality,
            negative_prompt,
            num_inference_steps=num_inference_steps,
            text_guidance_scale=text_guidance_scale,
            speech_guidance_scale=speech_guidance_scale,
            feeling_guidance_scale=feeling_guidance_scale,
        ).with_given(height=height, width=width)
        speeches = gather_speeches(() if script is None else script.speech_files, speech)
        recording = media.join_speeches(speeches, GAP_S) if speeches else None
        picture = media.load_image(image) if isinstance(image, str | os.PathLike) else image
        kind, words = self.backbone.format, "" if script is None else script.prompt
        kind.check_request(sampling, words, recording is not None, picture is not None)
        num_frames = self._num_frames(recording, num_frames, allow_cut)
        if negative_prompt is None:
            negative_prompt = kind.negative_prompt
        seed = secrets.randbelow(2**31) if seed is None else seed

        takes = self._planned(script, speeches, num_frames, together)
        if sampling.retell and words and picture is None and not verbatim:
            takes = self._retold(takes, seed, recording)
        encoded = self._encoded(takes, negative_prompt, recording, picture, sampling)
        making = Making(sampling, kind.num_latents(self.sampling.num_frames), seed, progress)
        asked = {"prompt": words, "negative_prompt": negative_prompt, "seed": seed}
        made = {"num_frames": num_frames, "takes": [asdict(take) for take in takes]}
        return MoChaStream(
            film_pieces(self.backbone, takes, encoded, making),
            num_frames,
            sampling.height,
            sampling.width,
            None if recording is None else fit_speech(recording, num_frames, kind.fps),
            kind.fps,
            PROVENANCE | asked | sampling.in_force() | made | self._identity(),
        )

    def _sampling(
        self, quality: Quality | None, negative_prompt: str | None, **steps_and_scales: float | None
    ) -> Sampling:
        """The settings of a quality, changed where steps or scales are given."""
        given = {**steps_and_scales, "negative_prompt": negative_prompt}
        set_by_hand = [name for name, value in given.items() if value is not None]
        return self.sampling.of_quality(quality, set_by_hand).with_given(**steps_and_scales)

    def _planned(
        self,
        script: Script | None,
        speeches: Sequence[media.Speech],
        num_frames: int,
        together: bool,
    ) -> list[Take]:
        """A take per clip where a model can; else, or where one recording does not tell when each
        begins (which warns), one of all clips at once, as the paper."""
        if script is None:
            return [Take("", num_frames)]
        if len(script.clips) == 1:
            return [with_people(Take(script.prompt, num_frames), script, 0)]
        kind = self.backbone.format
        if speeches and kind.continues and not together:
            try:
                return takes_of(script, speeches, num_frames, kind.fps, kind.frames_per_latent)
            except NoTurnsError as error:
                message = f"all clips become one take: {error}"
                warnings.warn(message, media.SpeechWarning, stacklevel=3)
        return [Take(script.prompt, num_frames, one_shot=False)]

    def _retold(
        self, takes: Sequence[Take], seed: int, recording: media.Speech | None
    ) -> list[Take]:
        """The takes in the model's own words."""
        speaking = recording is not None and not media.is_silent(recording)
        told = self.backbone.understood(takes, seed, speaking)
        retold = []
        for take, one in zip(takes, told, strict=True):
            camera = one.camera if self.backbone.format.told_views else None
            story = one.story if self.backbone.format.told_figures else None
            take = replace(take, words=one.words, calm=one.calm, apart=one.apart)
            retold.append(replace(take, camera=camera, story=story))
        return retold

    def _identity(self) -> dict[str, Any]:
        """Which model made a film, and on what."""
        return {
            "model": self.name,
            "fps": self.backbone.format.fps,
            "device": self.backbone.device.type,
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
        }

    @torch.inference_mode()
    def _encoded(
        self,
        takes: Sequence[Take],
        negative_prompt: str,
        recording: media.Speech | None,
        picture: media.Frames | None,
        sampling: Sampling,
    ) -> list[Conditions]:
        """Everything that each take is made from. The speech is encoded as a whole, then cut."""
        backbone = self.backbone
        no_words = backbone.encode_text(negative_prompt)
        lengths = [take.num_frames for take in takes]
        speech = backbone.encode_speech(recording, sum(lengths))
        parts = [speech] * len(takes)
        if speech is not None and len(takes) > 1:
            parts = list(torch.split(speech, lengths, dim=1))
        encoded = []
        for take, part in zip(takes, parts, strict=True):
            told, calm = backbone.encode_told(take.words, take.calm, take.story)
            apart = tuple(one.encoded(backbone) for one in take.apart)
            encoded.append(Conditions(told, no_words, part, calm=calm, apart=apart))
        if picture is not None:
            first = backbone.encode_image(picture, sampling.height, sampling.width)
            encoded[0] = replace(encoded[0], known=first)
        return encoded

    # --- the request ------------------------------------------------------------------------------

    def _script(self, prompt: str | Script) -> Script | None:
        """A prompt as a script, its shots named if the model asks for it; None where nothing is
        said and the model needs no words."""
        if isinstance(prompt, str):
            if not prompt.strip() and not self.backbone.format.needs_prompt:
                return None
            prompt = parse_prompt(prompt)
        shot = self.sampling.default_shot
        return with_shot(prompt, shot) if shot else prompt

    def _num_frames(
        self, speech: media.Speech | None, num_frames: int | None, allow_cut: bool
    ) -> int:
        """Frames of the film: the speech's length (or what was asked), in whole latent frames."""
        kind, in_one_pass = self.backbone.format, self.sampling.num_frames
        longest = None if kind.continues else in_one_pass
        if speech is None:
            wanted = in_one_pass if num_frames is None else num_frames
            if wanted < 1 or (longest is not None and wanted > longest):
                most = "or more" if longest is None else f"to {longest}"
                raise ValueError(f"num_frames is {wanted}; this model makes 1 {most}")
        else:
            wanted = max(1, round(len(speech) / media.SPEECH_RATE_HZ * kind.fps))
        if longest is not None and wanted > longest:
            self._check_cut(wanted / kind.fps, allow_cut)
            wanted = longest
        return kind.whole_length(wanted)

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


def gather_speeches(
    files: Sequence[Path], speech: str | os.PathLike[str] | media.Speech | None
) -> list[media.Speech]:
    """The film's recordings: the one given, or the script's in their order, or none.

    Raises ValueError where both are given; warns where all is silent.
    """
    if files and speech is not None:
        raise ValueError("the script names speech files and a speech was given too; keep one")
    if files:
        speeches = [media.load_speech(file) for file in files]
    elif speech is None:
        return []
    elif isinstance(speech, str | os.PathLike):
        speeches = [media.load_speech(speech)]
    else:
        media.check_speech(speech)
        speeches = [speech]
    if all(media.is_silent(one) for one in speeches):
        message = "the speech is silent: nobody will be seen speaking"
        warnings.warn(message, media.SpeechWarning, stacklevel=3)
    return speeches
