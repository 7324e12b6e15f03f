"""The iresnets against the public checkpoints: names, shapes, order, and what they compute."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticface import backbones
from elasticface.backbones.iresnet import Block, IResNet
from elasticface.base.errors import InputError

BLOCKS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
WIDTHS = (64, 128, 256, 512)
Entries = list[tuple[str, tuple[int, ...]]]


def norm(name: str, channels: int) -> Entries:
    vectors = [(f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")]
    return [*vectors, (f"{name}.num_batches_tracked", ())]


def published_entries(blocks: tuple[int, ...], embedding_size: int = 512) -> Entries:
    """Names and shapes in a public checkpoint's order, written down from the checkpoints, not from our modules."""
    entries: Entries = [("conv1.weight", (64, 3, 3, 3)), *norm("bn1", 64), ("prelu.weight", (64,))]
    inputs = 64
    for stage, (width, depth) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
        for index in range(depth):
            block = f"layer{stage}.{index}"
            entries += norm(f"{block}.bn1", inputs)
            entries += [(f"{block}.conv1.weight", (width, inputs, 3, 3))]
            entries += norm(f"{block}.bn2", width)
            entries += [(f"{block}.prelu.weight", (width,))]
            entries += [(f"{block}.conv2.weight", (width, width, 3, 3))]
            entries += norm(f"{block}.bn3", width)
            if index == 0:
                entries += [(f"{block}.downsample.0.weight", (width, inputs, 1, 1))]
                entries += norm(f"{block}.downsample.1", width)
            inputs = width
    entries += norm("bn2", 512)
    entries += [("fc.weight", (embedding_size, 25088)), ("fc.bias", (embedding_size,))]
    return entries + norm("features", embedding_size)


def shapes_only(name: str, embedding_size: int = 512, **options: object) -> nn.Module:
    with torch.device("meta"):
        return backbones.create(name, embedding_size, **options)


def longhand_norm(x: Tensor, state: dict[str, Tensor], name: str, training: bool = False) -> Tensor:
    """(x - mean) / √(var + 1e-5) · scale + shift, with the batch's own biased statistics in training."""
    axes = [0, *range(2, x.ndim)]
    mean = x.mean(axes) if training else state[f"{name}.running_mean"]
    var = x.var(axes, correction=0) if training else state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / torch.sqrt(var + 1e-5)
    shift = state[f"{name}.bias"] - mean * scale
    channelwise = (1, -1, *[1] * (x.ndim - 2))
    return x * scale.view(channelwise) + shift.view(channelwise)


def longhand_prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope.view(1, -1, 1, 1))


def longhand_block(x: Tensor, state: dict[str, Tensor], name: str, stride: int, training: bool = False) -> Tensor:
    out = longhand_norm(x, state, f"{name}bn1", training)
    out = F.conv2d(out, state[f"{name}conv1.weight"], padding=1)
    out = longhand_norm(out, state, f"{name}bn2", training)
    out = longhand_prelu(out, state[f"{name}prelu.weight"])
    out = F.conv2d(out, state[f"{name}conv2.weight"], stride=stride, padding=1)
    out = longhand_norm(out, state, f"{name}bn3", training)
    if f"{name}downsample.0.weight" in state:
        x = F.conv2d(x, state[f"{name}downsample.0.weight"], stride=stride)
        x = longhand_norm(x, state, f"{name}downsample.1", training)
    return out + x


def shake(module: nn.Module, seed: int = 0) -> None:
    """Give every norm and PReLU values of its own, so that two of them cannot be swapped unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.ndim == 1:
            positive = name.endswith(("weight", "running_var"))
            value.data.copy_(torch.rand(value.shape, generator=generator) + (0.5 if positive else -0.5))


@pytest.mark.parametrize("name", BLOCKS)
def test_state_dict_is_that_of_the_public_checkpoints(name: str) -> None:
    state = shapes_only(name).state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == published_entries(BLOCKS[name])


def test_embedding_size_and_options_leave_the_other_names_alone() -> None:
    state = shapes_only("iresnet18", 128, dropout=0.4, zero_init_residual=True).state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == published_entries(BLOCKS["iresnet18"], 128)


# The stem has 27·64 + 128 + 64; a block from i to o channels 2i + 9io + 2o + o + 9oo + 2o, the first of a stage io + 2o
# more; the end 2·512 + 25088·512 + 512 + 2·512. Published as 24.03, 34.14, 43.59 and 65.16 million.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("iresnet18", 24_025_600),
        ("iresnet34", 34_139_328),
        ("iresnet50", 43_590_848),
        ("iresnet100", 65_156_160),
        ("iresnet200", 118_833_920),
    ],
)
def test_parameter_count(name: str, parameters: int) -> None:
    longhand = 27 * 64 + 128 + 64 + 2 * 512 + 25088 * 512 + 512 + 2 * 512
    i = 64
    for o, depth in zip(WIDTHS, BLOCKS[name], strict=True):
        longhand += 2 * i + 9 * i * o + 9 * o * o + 5 * o + i * o + 2 * o
        longhand += (depth - 1) * (18 * o * o + 7 * o)
        i = o
    assert longhand == parameters
    assert sum(p.numel() for p in shapes_only(name).parameters()) == parameters


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(6, 6, 1), (6, 10, 2), (6, 6, 2)])
def test_block_is_its_formula(inputs: int, outputs: int, stride: int, training: bool) -> None:
    block = Block(inputs, outputs, stride).double().train(training)
    shake(block)
    state = {key: value.clone() for key, value in block.state_dict().items()}
    x = torch.randn(3, inputs, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = longhand_block(x, state, "", stride, training)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_net_is_its_formula_read_off_a_checkpoint() -> None:
    torch.manual_seed(0)
    net = backbones.create("iresnet18", 32).double().eval()
    shake(net)
    state = net.state_dict()
    images = torch.rand(1, 3, 112, 112, dtype=torch.float64) * 2 - 1
    x = F.conv2d(images, state["conv1.weight"], padding=1)
    x = longhand_prelu(longhand_norm(x, state, "bn1"), state["prelu.weight"])
    for stage in (1, 2, 3, 4):
        x = longhand_block(x, state, f"layer{stage}.0.", stride=2)
        x = longhand_block(x, state, f"layer{stage}.1.", stride=1)
    x = longhand_norm(x, state, "bn2").reshape(1, -1)
    x = x @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(net(images), longhand_norm(x, state, "features"), rtol=1e-10, atol=1e-8)


def test_fc_reads_a_channels_last_map_in_nchw_order_and_the_format_holds_until_there() -> None:
    torch.manual_seed(0)
    net = backbones.create("iresnet18", 16).to(memory_format=torch.channels_last).eval()
    assert isinstance(net, IResNet)
    seen: list[Tensor] = []
    net.bn2.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    net.fc.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(torch.randn(2, 3, 112, 112).contiguous(memory_format=torch.channels_last))
    last_map, flat = seen
    assert last_map.is_contiguous(memory_format=torch.channels_last)
    c, row, column = 300, 2, 5
    assert torch.equal(flat[:, c * 49 + row * 7 + column], last_map[:, c, row, column])
    assert torch.equal(flat, last_map.contiguous().view(2, -1))


def test_fresh_weights_are_those_of_the_published_training_code() -> None:
    torch.manual_seed(0)
    net = backbones.create("iresnet18")
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            error = 4 * 0.1 / (2 * module.weight.numel()) ** 0.5  # four standard errors of a standard deviation
            assert abs(float(module.weight.detach().std()) - 0.1) < error, name
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
            assert module.eps == 1e-5, name


def test_only_the_scale_of_the_embedding_is_frozen() -> None:
    frozen = {name for name, p in shapes_only("iresnet18").named_parameters() if not p.requires_grad}
    assert frozen == {"features.weight"}


def test_zero_init_residual_starts_blocks_as_the_identity() -> None:
    torch.manual_seed(0)
    net = IResNet((2, 1, 1, 1), 8, zero_init_residual=True)
    x = torch.randn(2, 64, 8, 8)
    assert torch.equal(net.layer1[1](x), x)
    assert not torch.equal(IResNet((2, 1, 1, 1), 8).layer1[1](x), x)


def test_dropout_falls_on_the_flattened_map_and_in_training_alone() -> None:
    torch.manual_seed(0)
    net = IResNet((1, 1, 1, 1), 8, dropout=0.4)
    seen: list[Tensor] = []
    net.fc.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, 112, 112)
    net(images)
    net.eval()(images)
    training, evaluation = seen
    assert float((training == 0).float().mean()) == pytest.approx(0.4, abs=0.02)
    assert (evaluation != 0).all()


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_outside_its_range_is_refused(dropout: float) -> None:
    with pytest.raises(InputError, match="dropout must be at least 0 and below 1"):
        shapes_only("iresnet18", dropout=dropout)


@pytest.mark.parametrize("name", BLOCKS)
def test_options_are_keyword_only(name: str) -> None:
    parameters = inspect.signature(getattr(backbones.iresnet, name)).parameters.values()
    keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert keyword_only == ["dropout", "zero_init_residual"]
