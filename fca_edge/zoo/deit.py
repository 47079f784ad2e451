"""DeiT-T ("Training data-efficient image transformers", ICML 2021), the plain transformer.

FcaFormer starts from its structure. State-dict keys are those of the official
checkpoints, which are also timm's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.zoo.layers import Mlp, Sites, merge_heads, scaled, split_heads
from fca_edge.zoo.specs import DeiTSpec


class TokenAttention(nn.Module):
    """Attention of tokens (B, N, C) over each other."""

    QUERY_SCALES: ClassVar[Sites] = (("scale", "qkv"),)

    scale: float | None

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(*split_heads(self.qkv(x), self.heads, 3))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return (B, Nq, C) for queries of Nq tokens; q, k, v are (B, heads, N, C / heads)."""
        logits = scaled(q, self.scale) @ k.transpose(-2, -1)  # (B, heads, Nq, N)
        out: Tensor = self.proj(merge_heads(logits.softmax(-1) @ v))
        return out


class DeiTBlock(nn.Module):
    """Attention and MLP, each with a residual. (B, N, C) kept."""

    NORM_FEEDS: ClassVar[Sites] = (("norm1", "attn.qkv"), ("norm2", "mlp.fc1"))

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = TokenAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchTokens(nn.Module):
    """Square patches as tokens: (B, 3, H, W) to (B, N, C)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class DeiT(nn.Module):
    """Classifier without distillation: (B, 3, img_size, img_size) to logits (B, num_classes)."""

    NORM_FEEDS: ClassVar[Sites] = (("norm", "head"),)
    POOLED: ClassVar[Sites] = (("blocks", "norm"),)

    def __init__(self, spec: DeiTSpec, img_size: int, num_classes: int) -> None:
        super().__init__()
        (dim,), (depth,) = spec.dims, spec.depths
        tokens = 1 + (img_size // spec.patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.patch_embed = PatchTokens(dim, spec.patch)
        self.blocks = nn.Sequential(*[DeiTBlock(dim, spec.heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # A row of zeros for the class token, which then comes with the positions: both are
        # constants, and runtimes delegate a padding but not every concatenation with one.
        x = F.pad(self.patch_embed(x), (0, 0, 1, 0)) + self.positions()
        x = self.blocks(x)  # (B, N, C)
        out: Tensor = self.head(self.norm(x[:, 0]))
        return out

    def positions(self) -> Tensor:
        """What is added to every token (1, N, C), the class token included."""
        patches = self.pos_embed.shape[1] - 1
        return self.pos_embed + F.pad(self.cls_token, (0, 0, 0, patches))
