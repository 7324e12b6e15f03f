"""The vision transformers against the public checkpoints: names, shapes, order, and what they compute."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elasticface import backbones
from elasticface.backbones.vit import Block, VisionTransformer
from elasticface.base.errors import InputError
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.model.exporting import export
from elasticface.model.loading import load

WIDTH_AND_DEPTH = {"vit-t": (256, 12), "vit-s": (512, 12), "vit-b": (512, 24), "vit-l": (768, 24)}
TOKENS = 144
FACES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
Entries = list[tuple[str, tuple[int, ...]]]


def norm(name: str, channels: int) -> Entries:
    vectors = [(f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")]
    return [*vectors, (f"{name}.num_batches_tracked", ())]


def published_entries(width: int, depth: int, embedding_size: int = 512) -> Entries:
    """Names and shapes in a public checkpoint's order, written down from the checkpoints, not from our modules."""
    entries: Entries = [("pos_embed", (1, TOKENS, width)), ("mask_token", (1, 1, width))]
    entries += [("patch_embed.proj.weight", (width, 3, 9, 9)), ("patch_embed.proj.bias", (width,))]
    for index in range(depth):
        block = f"blocks.{index}"
        entries += [(f"{block}.norm1.weight", (width,)), (f"{block}.norm1.bias", (width,))]
        entries += [(f"{block}.attn.qkv.weight", (3 * width, width))]
        entries += [(f"{block}.attn.proj.weight", (width, width)), (f"{block}.attn.proj.bias", (width,))]
        entries += [(f"{block}.norm2.weight", (width,)), (f"{block}.norm2.bias", (width,))]
        entries += [(f"{block}.mlp.fc1.weight", (4 * width, width)), (f"{block}.mlp.fc1.bias", (4 * width,))]
        entries += [(f"{block}.mlp.fc2.weight", (width, 4 * width)), (f"{block}.mlp.fc2.bias", (width,))]
    entries += [("norm.weight", (width,)), ("norm.bias", (width,))]
    entries += [("feature.0.weight", (width, TOKENS * width)), *norm("feature.1", width)]
    return [*entries, ("feature.2.weight", (embedding_size, width)), *norm("feature.3", embedding_size)]


def shapes_only(name: str, embedding_size: int = 512, **options: float) -> nn.Module:
    with torch.device("meta"):
        return backbones.create(name, embedding_size, **options)


def longhand_layer_norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def longhand_batch_norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    unit = (x - state[f"{name}.running_mean"]) / torch.sqrt(state[f"{name}.running_var"] + 2e-5)
    return unit * state[f"{name}.weight"] + state[f"{name}.bias"]


def longhand_block(x: Tensor, state: dict[str, Tensor], name: str, heads: int) -> Tensor:
    """One image's tokens [T, width], head by head, as in the paper's appendix A."""
    normed = longhand_layer_norm(x, state, f"{name}norm1")
    q, k, v = (normed @ state[f"{name}attn.qkv.weight"].T).chunk(3, dim=1)
    size = x.shape[1] // heads
    attended = []
    for head in range(heads):
        of_head = slice(head * size, (head + 1) * size)
        weights = torch.softmax(q[:, of_head] @ k[:, of_head].T / math.sqrt(size), dim=1)
        attended.append(weights @ v[:, of_head])
    x = x + torch.cat(attended, 1) @ state[f"{name}attn.proj.weight"].T + state[f"{name}attn.proj.bias"]
    inner = longhand_layer_norm(x, state, f"{name}norm2") @ state[f"{name}mlp.fc1.weight"].T
    inner = (inner + state[f"{name}mlp.fc1.bias"]).clamp(0, 6)
    return x + inner @ state[f"{name}mlp.fc2.weight"].T + state[f"{name}mlp.fc2.bias"]


def shaken(net: nn.Module) -> nn.Module:
    """Values of its own for every parameter and running statistic, large enough that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(0)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_floating_point():
            scale = 1 / math.sqrt(value.shape[1]) if value.ndim == 2 else 0.5
            value.data.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype) * scale)
            if "running_var" in name or (value.ndim == 1 and name.endswith("weight")):
                value.data.abs_().add_(0.5)
    return net


@pytest.mark.parametrize("name", WIDTH_AND_DEPTH)
def test_state_dict_is_that_of_the_public_checkpoints(name: str) -> None:
    state = shapes_only(name).state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == published_entries(*WIDTH_AND_DEPTH[name])


def test_embedding_size_and_options_leave_the_other_names_alone() -> None:
    state = shapes_only("vit-t", 128, drop_path=0.1).state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == published_entries(256, 12, 128)


# Published as 1.51, 5.74, 11.42 and 25.31 GFLOPs, which are multiply-adds with some of the additions.
@pytest.mark.parametrize(("name", "published"), [("vit-t", 1.51), ("vit-s", 5.74), ("vit-b", 11.42), ("vit-l", 25.31)])
def test_multiply_adds_by_the_formula_and_as_published(name: str, published: float) -> None:
    width, depth = WIDTH_AND_DEPTH[name]
    block = TOKENS * 12 * width**2 + 2 * TOKENS**2 * width
    expected = TOKENS * 3 * 81 * width + depth * block + TOKENS * width**2 + width * 512
    assert backbones.multiply_adds(shapes_only(name)) == expected
    assert expected / 1e9 == pytest.approx(published, rel=0.005)


def test_heads_of_a_block_attend_as_the_formula_says() -> None:
    block = shaken(Block(24, 3)).double()
    x = torch.randn(2, 10, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([longhand_block(image, block.state_dict(), "", 3) for image in x])
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_the_whole_net_computes_what_the_formulas_say() -> None:
    net = shaken(VisionTransformer(16, 2, 5, heads=4)).double().eval()
    state = net.state_dict()
    images = torch.rand(2, 3, 112, 112, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = []
    for image in images:
        patches = [image[:, 9 * i : 9 * i + 9, 9 * j : 9 * j + 9].flatten() for i in range(12) for j in range(12)]
        x = torch.stack(patches) @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
        x = x + state["pos_embed"][0]
        for block in range(2):
            x = longhand_block(x, state, f"blocks.{block}.", 4)
        x = longhand_layer_norm(x, state, "norm").flatten() @ state["feature.0.weight"].T
        x = longhand_batch_norm(x, state, "feature.1") @ state["feature.2.weight"].T
        expected.append(longhand_batch_norm(x, state, "feature.3"))
    torch.testing.assert_close(net(images), torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_a_branch_is_left_out_for_whole_images_and_kept_in_the_mean() -> None:
    block, x = Block(8, 2, drop_path=0.25), torch.ones(4000, 3, 8)
    torch.manual_seed(0)
    kept = block._sometimes(x)
    assert set(kept.flatten().tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)
    assert block.eval()._sometimes(x) is x


def test_drop_path_grows_from_nothing_to_its_value() -> None:
    blocks = shapes_only("vit-t", drop_path=0.11).get_submodule("blocks")
    assert [block.drop_path for block in blocks] == pytest.approx([0.01 * i for i in range(12)])
    for impossible in (-0.1, 1.0):
        with pytest.raises(InputError, match=r"drop_path must be at least 0 and below 1"):
            shapes_only("vit-t", drop_path=impossible)


def test_the_mask_token_of_the_checkpoints_is_not_trained() -> None:
    net = shapes_only("vit-t")
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["mask_token"]


def test_a_published_file_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = backbones.create("vit-t", 16)
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, tmp_path / "vit.pth")
    encoder = load(tmp_path / "vit.pth", "vit-t", embedding_size=16)
    expected = FaceEncoder(net, Card("net", "vit-t", 16)).embed(FACES)
    np.testing.assert_allclose(encoder.embed(FACES), expected, atol=1e-6)


def test_what_is_exported_of_a_net_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    encoder = FaceEncoder(VisionTransformer(256, 2, 16), Card("net", "vit-t", 16))  # two blocks stand for twelve
    export(encoder, tmp_path / "vit.onnx")
    np.testing.assert_allclose(load(tmp_path / "vit.onnx").embed(FACES), encoder.embed(FACES), atol=1e-4)
