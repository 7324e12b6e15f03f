"""What holds for every backbone, and how one is chosen."""

import pytest
import torch
from torch import Tensor, nn

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.base.limits import LONGEST_EMBEDDING

# One iresnet and one vit stand for all: they differ in depth and width alone.
QUICK = ["iresnet18", "mobilefacenet", "tiny", "small", "vit-t"]


def images(batch: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, 112, 112, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def backbone(name: str, embedding_size: int = 512) -> nn.Module:
    torch.manual_seed(0)
    return backbones.create(name, embedding_size)


def test_names_are_the_promised_ones() -> None:
    assert backbones.names() == [
        "iresnet18",
        "iresnet34",
        "iresnet50",
        "iresnet100",
        "iresnet200",
        "mobilefacenet",
        "tiny",
        "small",
        "vit-t",
        "vit-s",
        "vit-b",
        "vit-l",
    ]


def test_changing_the_list_of_names_changes_nothing_for_others() -> None:
    backbones.names().clear()
    assert backbones.names()


@pytest.mark.parametrize("name", backbones.names())
def test_gives_an_embedding_an_image(name: str) -> None:
    with torch.device("meta"):
        net = backbones.create(name, 64).eval()
        assert net(torch.empty(2, 3, 112, 112)).shape == (2, 64)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown backbone .resnet50.*iresnet34.*tiny, small, vit-t.*vit-l"):
        backbones.create("resnet50")


def test_unknown_option_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"iresnet18 has no option drop, .*it takes: dropout, zero_init_residual"):
        backbones.create("iresnet18", drop=0.1, dropout=0.1, width=2)
    with pytest.raises(InputError, match=r"mobilefacenet has no option dropout; it takes: no options"):
        backbones.create("mobilefacenet", dropout=0.1)


@pytest.mark.parametrize("embedding_size", [0, -1, LONGEST_EMBEDDING + 1, 10**100])
def test_embedding_of_an_impossible_length_is_refused(embedding_size: int) -> None:
    with pytest.raises(InputError, match=r"embedding_size must be 1 to 65,536, got .{1,60}$"):
        backbones.create("tiny", embedding_size)


@pytest.mark.parametrize("shape", [(2, 3, 96, 96), (2, 3, 112, 96), (2, 1, 112, 112), (3, 112, 112)])
@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "vit-t"])
def test_other_input_sizes_are_refused_with_both_shapes(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net = backbones.create(name)
        with pytest.raises(ValueError, match=rf"{name[:3]}.* takes images \[B, 3, 112, 112\], got \[{shape[0]}, "):
            net(torch.empty(shape))


@pytest.mark.parametrize("name", QUICK)
def test_channels_last_gives_the_same_embeddings(name: str) -> None:
    net, batch = backbone(name).eval(), images(2)
    with torch.no_grad():
        expected = net(batch)
        net.to(memory_format=torch.channels_last)
        found = net(batch.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["mobilefacenet", "tiny"])
def test_channels_last_gives_the_same_gradients(name: str) -> None:
    gradients = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        net = backbone(name, 16).double().to(memory_format=memory_format)
        batch = images(2).double().contiguous(memory_format=memory_format)
        embeddings = net(batch)
        embeddings.square().mul(torch.arange(16)).cos().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    for contiguous, channels_last in zip(*gradients, strict=True):
        torch.testing.assert_close(channels_last, contiguous, rtol=1e-8, atol=1e-8)


# In eval mode: a norm that takes its mean from the batch rightly gives no gradient to a shift just before it.
@pytest.mark.parametrize("name", QUICK)
def test_gradient_reaches_every_trainable_parameter(name: str) -> None:
    net = backbone(name).eval()
    embeddings = net(images(1))
    (embeddings * torch.randn(embeddings.shape)).sum().backward()
    for parameter_name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
            assert parameter.grad.any(), parameter_name
        else:
            assert parameter.grad is None, parameter_name


@pytest.mark.parametrize("name", QUICK)
def test_an_embedding_in_eval_mode_does_not_depend_on_its_batch(name: str) -> None:
    net, batch = backbone(name).eval(), images(3)
    with torch.no_grad():
        together, alone = net(batch), net(batch[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))


def test_seed_makes_the_weights() -> None:
    a, b = backbone("tiny").state_dict(), backbone("tiny").state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("name", "most"), [("tiny", 40_000_000), ("small", 70_000_000)])
def test_the_nets_for_two_cores_are_small(name: str, most: int) -> None:
    assert backbones.multiply_adds(backbones.create(name)) <= most


def test_paper_decays_every_trainable_parameter() -> None:
    with torch.device("meta"):
        net = backbones.create("iresnet18")
    (group,) = backbones.parameter_groups(net, 5e-4)
    trainable = [p for p in net.parameters() if p.requires_grad]
    assert group["weight_decay"] == 5e-4
    assert [id(p) for p in group["params"]] == [id(p) for p in trainable]


def test_norms_biases_and_prelu_slopes_can_be_spared_the_decay() -> None:
    with torch.device("meta"):
        net = backbones.create("iresnet18")
    decayed, spared = backbones.parameter_groups(net, 5e-4, decay_norm_and_bias=False)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0.0)
    name_of = {id(p): name for name, p in net.named_parameters()}
    matrices = {name_of[id(p)] for p in decayed["params"]}
    vectors = {name_of[id(p)] for p in spared["params"]}
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "fc.weight"} <= matrices
    assert {"prelu.weight", "bn1.weight", "layer1.0.downsample.1.bias", "fc.bias", "features.bias"} <= vectors
    assert matrices | vectors == set(name_of.values()) - {"features.weight"}
    assert not matrices & vectors


def test_optimizer_takes_the_groups() -> None:
    net = backbone("tiny", 16)
    torch.optim.SGD(backbones.parameter_groups(net, 5e-4, decay_norm_and_bias=False), lr=0.1, momentum=0.9)
    (only,) = backbones.parameter_groups(nn.Conv2d(3, 3, 1, bias=False), 5e-4, decay_norm_and_bias=False)
    assert only["weight_decay"] == 5e-4
