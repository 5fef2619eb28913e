"""MoCha-Demo's transformer in the plainest way: diffusers' blocks one after the other, and
diffusers' attention with every latent frame a row of the batch. To check against and to time."""

from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.transformers.transformer_hunyuan_video import (
    HunyuanVideoSingleTransformerBlock,
    HunyuanVideoTransformerBlock,
)
from einops import rearrange

from openmocha.models.hunyuan import HunyuanMoChaTransformer3DModel


def plain_attentions(model: HunyuanMoChaTransformer3DModel) -> list[Attention | None]:
    """diffusers' attention with the weights of each block's attention to speech."""
    found: list[Attention | None] = []
    for block in (*model.transformer_blocks, *model.single_transformer_blocks):
        if block.audio_cross_attn is None:
            found.append(None)
            continue
        theirs = block.audio_cross_attn.attn
        attention = Attention(
            query_dim=theirs.to_q.in_features, heads=theirs.heads,
            dim_head=theirs.to_q.out_features // theirs.heads, bias=True, qk_norm="rms_norm",
            eps=1e-6, processor=AttnProcessor2_0(),
        )  # fmt: skip
        attention.load_state_dict(theirs.state_dict())
        found.append(attention.eval().to(theirs.to_q.weight.device))
    return found


def compose(
    model: HunyuanMoChaTransformer3DModel,
    attentions: list[Attention | None],
    given: dict[str, torch.Tensor],
    speech: torch.Tensor | None,
) -> torch.Tensor:
    """The forward; `given` are its arguments but for the speech (B, T, layers, width)."""
    latents = given["hidden_states"]
    frames, rows, cols = latents.shape[2:]
    rotary = model.rope(latents)
    temb, _ = model.time_text_embed(
        given["timestep"], given["pooled_projections"], given["guidance"]
    )
    video = model.x_embedder(latents)
    text = model.context_embedder(
        given["encoder_hidden_states"], given["timestep"], given["encoder_attention_mask"]
    )
    tokens = None if speech is None else frame_tokens(model, speech)
    blocks = (*model.transformer_blocks, *model.single_transformer_blocks)
    for block, attention in zip(blocks, attentions, strict=True):
        dual = isinstance(block, HunyuanVideoTransformerBlock)
        kind: Any = HunyuanVideoTransformerBlock if dual else HunyuanVideoSingleTransformerBlock
        video, text = kind.forward(block, video, text, temb, None, rotary)
        if attention is not None and tokens is not None:
            normed, gate, *_ = block.audio_cross_attn.norm(video, emb=temb)
            queries = rearrange(normed, "B (F P) D -> (B F) P D", F=frames)
            heard = rearrange(attention(queries, tokens), "(B F) P D -> B (F P) D", F=frames)
            video = video + gate[:, None] * heard
    patches = model.proj_out(model.norm_out(video, temb))
    return rearrange(
        patches, "B (F h w) (C p q) -> B C F (h p) (w q)", h=rows // 2, w=cols // 2, p=2, q=2
    )


def frame_tokens(model: HunyuanMoChaTransformer3DModel, speech: torch.Tensor) -> torch.Tensor:
    """(B F, 4, D): the first frame three times more, then four tokens for each latent frame."""
    padded = torch.cat([speech[:, :1].expand(-1, 3, -1, -1), speech], dim=1)
    return rearrange(model.audio_projector(padded), "B (F W) D -> (B F) W D", W=4)
