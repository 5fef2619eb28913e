"""HuMo's public weights in our names, and back.

HuMo keeps Wan's original names and adds its own for speech; diffusers renamed Wan's (its norm2 is
Wan's norm3, and the other way round). Every name is paired with its counterpart in full, so nothing
is replaced by accident inside another name.
"""

from collections.abc import Mapping

from torch import Tensor

PROJECTOR = "speech_projector"
_BLOCK = {
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "speech_norm": "audio_cross_attn_wrapper.norm1_audio",
}
_ATTENTION = {
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "speech_attn": "audio_cross_attn_wrapper.audio_cross_attn",
}
_PROJECTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o"}
_TOP = {
    "patch_embedding": "patch_embedding",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    f"{PROJECTOR}.linear_1": "audio_proj.audio_proj_glob_1.layer",
    f"{PROJECTOR}.linear_2": "audio_proj.audio_proj_glob_2.layer",
    f"{PROJECTOR}.linear_3": "audio_proj.audio_proj_glob_3.layer",
    f"{PROJECTOR}.norm": "audio_proj.audio_proj_glob_norm.layer",
}


def humo_names(num_layers: int) -> dict[str, str]:
    """Every parameter's name in WanMoChaTransformer3DModel -> its name in HuMo's files."""
    modules, names = dict(_TOP), {"scale_shift_table": "head.modulation"}
    for i in range(num_layers):
        ours, theirs = f"blocks.{i}", f"blocks.{i}"
        names[f"{ours}.scale_shift_table"] = f"{theirs}.modulation"
        modules |= {f"{ours}.{a}": f"{theirs}.{b}" for a, b in _BLOCK.items()}
        for a, b in _ATTENTION.items():
            modules |= {f"{ours}.{a}.{x}": f"{theirs}.{b}.{y}" for x, y in _PROJECTION.items()}
            for norm in ("norm_q", "norm_k"):
                names[f"{ours}.{a}.{norm}.weight"] = f"{theirs}.{b}.{norm}.weight"
    for ending in ("weight", "bias"):
        names |= {f"{a}.{ending}": f"{b}.{ending}" for a, b in modules.items()}
    return names


def from_humo(tensors: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """HuMo's tensors by our names. Raises ValueError where a name is missing or unknown."""
    return _renamed(tensors, {b: a for a, b in humo_names(num_layers).items()})


def to_humo(tensors: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Our tensors by HuMo's names. Raises ValueError where a name is missing or unknown."""
    return _renamed(tensors, humo_names(num_layers))


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    missing, unknown = sorted(names.keys() - tensors), sorted(tensors.keys() - names)
    if missing or unknown:
        raise ValueError(
            f"the checkpoint does not fit HuMo with these layers: {len(missing)} names missing "
            f"({', '.join(missing[:3])}), {len(unknown)} unknown ({', '.join(unknown[:3])}); check "
            "that all files of one model were given"
        )
    return {names[name]: tensor for name, tensor in tensors.items()}
