"""The eyes: CLIP's vision tower, transformers' class over the checkpoint's weights.

What leaves is the last hidden state of the encoder, class token and patches, before the post-layernorm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from engine.spec import VisionSpec


class VisionTower(nn.Module):
    """uint8 pictures to token features."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.clip = CLIPVisionModel(_config(spec))
        self.clip.post_layernorm = nn.Identity()  # the published model never reads past it
        # Tables name their device, so that a model made on meta tensors has them.
        positions = torch.arange(spec.tokens, device="cpu").unsqueeze(0)
        self.clip.embeddings.register_buffer("position_ids", positions, persistent=False)
        for name, values in (("mean", spec.mean), ("std", spec.std)):
            self.register_buffer(name, torch.tensor(values, device="cpu").view(-1, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames: uint8 [F, S, S, C], RGB and perhaps motion. Returns pixel values [F, C, S, S] and features [F, P, E]."""
        pixels = self.normalise(frames)
        return pixels, self.encode(pixels)

    def normalise(self, frames: Tensor) -> Tensor:
        """CLIP's preprocessing of whole-numbered pictures: scale to one, subtract the mean, divide by the deviation."""
        return (frames.permute(0, 3, 1, 2).float() / 255.0 - self.mean) / self.std

    def encode(self, pixels: Tensor) -> Tensor:
        clip = self.clip
        weights = clip.embeddings.patch_embedding.weight
        hidden = clip.pre_layrnorm(clip.embeddings(pixels.to(weights.dtype)))
        features: Tensor = clip.encoder(inputs_embeds=hidden).last_hidden_state
        return features.float()


def _config(spec: VisionSpec) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=spec.width,
        num_channels=spec.planes,
        intermediate_size=spec.mlp_width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        hidden_act=spec.activation,
        layer_norm_eps=1e-5,
    )
