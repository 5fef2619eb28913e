"""A model of the right shape with random weights: all parts real, a film in a tenth of a second."""

import torch

from openmocha.backbones.paper import PaperBackbone
from openmocha.models.config import MoChaConfig
from openmocha.models.speech_encoder import SpeechEncoder
from openmocha.models.text_encoder import TextEncoder
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.models.video_vae import VideoVAE, VideoVAEConfig
from openmocha.pipeline import MoChaPipeline
from openmocha.sampling import Sampling

SAMPLING = Sampling(num_frames=32, height=64, width=64, num_inference_steps=2)


def tiny_transformer() -> MoChaTransformer3DModel:
    """Two layers of width 32."""
    return MoChaTransformer3DModel(
        MoChaConfig(
            layers=2,
            width=32,
            ffn=64,
            heads=2,
            text_widths=(384,),
            speech_layers=2,
            speech_width=16,
            speech_hidden=32,
            continues=True,
        )
    )


def tiny_vae() -> VideoVAE:
    """One residual block of width 8 wherever there is one; 8x8 pixels for each latent."""
    return VideoVAE(VideoVAEConfig(16, 4, (8, 8, 8), (0, 1, 1), (1, 1, 1)))


def tiny_speech_encoder() -> SpeechEncoder:
    """Wav2Vec2 of two layers x 16."""
    from transformers import Wav2Vec2Config

    return SpeechEncoder.from_config(
        Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8, 8),
            conv_kernel=(20, 16),
            conv_stride=(20, 16),
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
            feat_extract_norm="layer",
            apply_spec_augment=False,
        )
    )


def tiny_pipeline(seed: int = 0) -> MoChaPipeline:
    """All parts with random weights, also those that training starts at zero: all of it matters."""
    torch.manual_seed(seed)
    transformer, vae, speech = tiny_transformer(), tiny_vae(), tiny_speech_encoder()
    for part in (transformer, vae):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.1 if parameter.ndim < 2 else 0.3)
    speech.eval()
    backbone = PaperBackbone(transformer, vae, speech, TextEncoder.from_pretrained())
    return MoChaPipeline(backbone, SAMPLING, name="tiny")
