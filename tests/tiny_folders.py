"""Folders of large models, tiny and random, as diffusers and transformers save them."""

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
    WhisperConfig,
)

from openmocha.models.whisper_features import WhisperFeatures


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "cat": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")


def wan_folder(folder: Path) -> Path:
    """Wan text-to-video."""
    torch.manual_seed(0)
    WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=UMT5EncoderModel(
            UMT5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        transformer=WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=32, ffn_dim=32,
            num_layers=2,
        ).to(torch.bfloat16),
        vae=AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def hunyuan_folder(folder: Path) -> Path:
    """HunyuanVideo."""
    torch.manual_seed(0)
    llama = LlamaConfig(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    clip = CLIPTextConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    HunyuanVideoPipeline(
        text_encoder=LlamaModel(llama),
        tokenizer=tokenizer(),
        transformer=HunyuanVideoTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, num_layers=2, num_single_layers=2,
            text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(4, 6, 6),
        ),
        vae=AutoencoderKLHunyuanVideo(
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, layers_per_block=1
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=CLIPTextModel(clip),
        tokenizer_2=tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def whisper_folder(folder: Path) -> Path:
    """Whisper, four encoder layers of width 16."""
    torch.manual_seed(3)
    whisper_features().save_pretrained(folder)
    return folder


def whisper_features() -> WhisperFeatures:
    return WhisperFeatures.from_config(
        WhisperConfig(
            d_model=16, encoder_layers=4, decoder_layers=0, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=60,
            num_mel_bins=80, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=1,
        )
    )  # fmt: skip


def voice(seconds: float = 0.6) -> np.ndarray:
    """Noise, loud enough not to be silence."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * 16_000))
    return (0.3 * noise).astype(np.float32)
