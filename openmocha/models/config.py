"""MoChaConfig, the shape of the transformer, and its named presets: toon, mocha_4b, mocha_30b."""

import difflib
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from openmocha.models.speech_attention import SpeechMode, uniform_windows

if TYPE_CHECKING:
    from torch import Tensor

# Three text encoders, 256 tokens each. The paper names none; these are the widths of UL2, ByT5 and
# MetaCLIP, which Movie Gen uses.
TEXT_WIDTHS = (4096, 1472, 1280)


@dataclass(frozen=True)
class MoChaConfig:
    """Shape of the network. Raises ValueError where the numbers do not fit together."""

    layers: int
    width: int
    ffn: int
    heads: int
    text_widths: tuple[int, ...]
    speech_layers: int
    speech_width: int
    speech_hidden: int = 512
    speech_stack: int = 5  # neighbours on either side in the projector
    norm_speech: bool = False  # LayerNorm after the projector; the paper has the MLP alone
    speech_attention: SpeechMode | Literal["none"] = "window"
    window_left: int = 1
    window_right: int = 1
    frames_per_latent: int = 4  # r
    max_speech_tokens: int = 512  # length of the table of "global+learnable"
    latent_channels: int = 16
    patch: int = 2
    sigma_width: int = 256  # width of the noise level's embedding
    rope_theta: float = 10000.0
    embed_places: bool = False  # add each token's place in the picture; the paper has RoPE alone
    embed_times: bool = False  # and its time in what is seen at once, from that one's beginning
    precondition: bool = False  # scale input and output by the noise level (flow.preconditioning)
    continues: bool = False  # trained with clean beginnings: makes takes of any length
    told_views: bool = False  # trained with the camera's way (places.py); the paper has words alone
    told_figures: bool = (
        False  # trained with stick figures (models/figures.py), where there are any
    )
    modulate_cross_attention: bool = False  # the paper norms these inputs without modulation

    def __post_init__(self) -> None:
        object.__setattr__(self, "text_widths", tuple(self.text_widths))
        if self.embed_times and not self.embed_places:
            raise ValueError("embed_times adds to embed_places, which is off; set both")
        modes = (*get_args(SpeechMode), "none")
        if self.speech_attention not in modes:
            raise ValueError(
                f"speech_attention is {self.speech_attention!r}; choose one of {', '.join(modes)}"
            )
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} over {self.heads} heads; heads must divide it into even parts"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MoChaConfig":
        """Build from JSON values; unknown names raise ValueError with the nearest known one."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise ValueError(f"unknown setting {name!r} in the transformer's config{hint}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"the transformer's config is incomplete: {error}") from error

    def heard_by(self, start: int, stop: int, num_frames: int) -> tuple[slice, "Tensor"]:
        """The speech tokens that latent frames `start` to `stop` of a film of `num_frames` need,
        and their windows (F, W), rows of that slice.

        The slice holds everything that the windows and the projector's stack reach, so a part of a
        film hears exactly what the same latent frames hear in the whole film; at the film's ends it
        is shifted inward, as the windows are.
        """
        r, left, right = self.frames_per_latent, self.window_left, self.window_right
        margin = max(left, right) + self.speech_stack
        windows = uniform_windows(num_frames // r, r, left, right)[start:stop]
        num_tokens = min(num_frames, r * (stop - start) + 2 * margin)
        first = min(max(0, r * start - margin), num_frames - num_tokens)
        return slice(first, first + num_tokens), windows - first

    @property
    def modulation_rows(self) -> int:
        """(shift, scale, gate) of self-attention and FFN; (shift, scale) of the others if asked."""
        return 10 if self.modulate_cross_attention else 6


def toon() -> MoChaConfig:
    """The toon recipe's model: MiniLM text, a Wav2Vec2 of 6 layers x 128, 32 latent channels."""
    # Small, because it trains for hours on two cores: in that time a wider one sees too few films.
    return MoChaConfig(
        layers=8,
        width=192,
        ffn=512,
        heads=3,
        text_widths=(384,),
        speech_layers=6,
        speech_width=128,
        speech_hidden=160,
        norm_speech=True,
        speech_attention="window+rope",
        latent_channels=32,
        patch=1,
        embed_places=True,
        embed_times=True,
        precondition=True,
        continues=True,
        told_views=True,
        told_figures=True,
        # 8 x 8 x 32 positions: small theta separates them better (Heo et al. 2024, RoPE-ViT).
        rope_theta=100.0,
    )


def mocha_4b() -> MoChaConfig:
    """About 4B with speech. The paper gives no shape for its 4B model; this one is ours."""
    return MoChaConfig(
        layers=30,
        width=2560,
        ffn=6912,
        heads=20,
        text_widths=TEXT_WIDTHS,
        speech_layers=12,
        speech_width=768,
    )


def mocha_30b() -> MoChaConfig:
    """The paper's DiT-30B: 29.0B without speech attention, 36.2B with it."""
    return MoChaConfig(
        layers=48,
        width=6144,
        ffn=16384,
        heads=48,
        text_widths=TEXT_WIDTHS,
        speech_layers=12,
        speech_width=768,
    )


def with_settings(config: MoChaConfig, **settings: Any) -> MoChaConfig:
    """config with some settings changed; unknown names raise ValueError."""
    MoChaConfig.from_dict({**asdict(config), **settings})
    return replace(config, **settings)
