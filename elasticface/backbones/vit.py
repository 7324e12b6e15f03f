"""Vision transformers for aligned faces: vit-t, vit-s, vit-b and vit-l.

The encoder of Dosovitskiy et al., "An Image is Worth 16×16 Words" (ICLR 2021): patches become tokens, each block is
norm, attention and sum, then norm, MLP and sum. Three things are those of the nets that faces were published with, as
trained on WebFace42M with Partial FC: patches of 9×9 pixels; ReLU6 in the MLP; and no class token. All tokens together
go into a linear layer, so that the net still knows where in the face a feature sits.

The modules are registered under the names of the public PyTorch checkpoints, which therefore load as they are.
Renaming an attribute here breaks that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from elasticface.base.errors import InputError

SIZE = 112  # side of the input in pixels
_PATCH = 9
_SIDE = SIZE // _PATCH  # 12 patches; the 4 pixels that are left at the right and at the bottom are not looked at
_TOKENS = _SIDE**2
_STD = 0.02  # of a fresh net's weights
_EPS = 2e-5  # of the last two batch norms


class Attention(nn.Module):
    """[B, tokens, width] -> the same: softmax(q·kᵀ/√d)·v in each of ``heads`` parts of the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (B, tokens, 3, heads, d)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, tokens, d)
        attended = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """[B, tokens, width] -> the same, through four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.relu6(self.fc1(x)))
        return out


class Block(nn.Module):
    """[B, tokens, width] -> the same: x + attention(norm(x)), then x + MLP(norm(x)).

    Args:
        width: of a token.
        heads: of the attention.
        drop_path: probability, in training, that an image's tokens pass by the attention, and likewise by the MLP
            (Huang et al., "Deep Networks with Stochastic Depth", 2016); what is not left out is divided by 1 − it.
    """

    def __init__(self, width: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._sometimes(self.attn(self.norm1(x)))
        return x + self._sometimes(self.mlp(self.norm2(x)))

    def _sometimes(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        kept = 1 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(kept).div_(kept)


class PatchEmbedding(nn.Module):
    """[B, 3, 112, 112] -> [B, 144, width]: a linear map of every patch, row by row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, _PATCH, stride=_PATCH)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return out


class VisionTransformer(nn.Module):
    """[B, 3, 112, 112] float in [-1, 1] -> [B, embedding_size], not normalised to unit length.

    Args:
        width: of a token.
        depth: number of blocks.
        embedding_size: D, the length of an embedding.
        heads: of the attention; they divide the width.
        drop_path: of the last block, in [0, 1); it grows linearly from 0 at the first. The public nets were trained
            with 0.05 on WebFace42M and 0.1 on smaller sets.

    Raises:
        InputError: a drop_path outside [0, 1).
    """

    def __init__(
        self, width: int, depth: int, embedding_size: int = 512, *, heads: int = 8, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise InputError(f"drop_path must be at least 0 and below 1, got {drop_path}")
        self.patch_embed = PatchEmbedding(width)
        self.pos_embed = nn.Parameter(torch.empty(1, _TOKENS, width))
        # Stands in the checkpoints for tokens that were masked in training; no token is masked here.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width), requires_grad=False)
        rates = [drop_path * block / max(depth - 1, 1) for block in range(depth)]
        self.blocks = nn.ModuleList([Block(width, heads, rate) for rate in rates])
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(_TOKENS * width, width, bias=False),
            nn.BatchNorm1d(width, eps=_EPS),
            nn.Linear(width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, eps=_EPS),
        )
        nn.init.normal_(self.pos_embed, std=_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of a batch.

        Raises:
            ValueError: images that are not [B, 3, 112, 112].
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"vit takes images [B, 3, {SIZE}, {SIZE}], got {list(images.shape)}")
        x = self.patch_embed(images) + self.pos_embed  # (B, 144, width)
        for block in self.blocks:
            x = block(x)
        embeddings: Tensor = self.feature(self.norm(x).flatten(1))
        return embeddings


def vit_t(embedding_size: int = 512, *, drop_path: float = 0.0) -> VisionTransformer:
    """19.1 M parameters at 512-d: 12 blocks of width 256. Arguments as in `VisionTransformer`."""
    return VisionTransformer(256, 12, embedding_size, drop_path=drop_path)


def vit_s(embedding_size: int = 512, *, drop_path: float = 0.0) -> VisionTransformer:
    """76.0 M parameters at 512-d: 12 blocks of width 512. Arguments as in `VisionTransformer`."""
    return VisionTransformer(512, 12, embedding_size, drop_path=drop_path)


def vit_b(embedding_size: int = 512, *, drop_path: float = 0.0) -> VisionTransformer:
    """113.8 M parameters at 512-d: 24 blocks of width 512. Arguments as in `VisionTransformer`."""
    return VisionTransformer(512, 24, embedding_size, drop_path=drop_path)


def vit_l(embedding_size: int = 512, *, drop_path: float = 0.0) -> VisionTransformer:
    """255.7 M parameters at 512-d: 24 blocks of width 768. Arguments as in `VisionTransformer`."""
    return VisionTransformer(768, 24, embedding_size, drop_path=drop_path)
