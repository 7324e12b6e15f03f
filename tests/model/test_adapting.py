"""FaceEncoder.adapted_to: the mean of the last batch norm over faces without labels."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from embedders import HALVES, Faces, faces, halves, prepared_longhand, trained_a_little
from numpy.typing import NDArray
from torch import Tensor, nn

from elasticface.backbones.syncnorm import synchronised
from elasticface.base.errors import InputError
from elasticface.model.calibration import Calibration, Conditions, OperatingPoint
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing
from elasticface.model.loading import load

POINT = OperatingPoint(1e-2, 0.5, 5e-3, (1e-3, 2e-2), 0.9, (0.8, 0.95), 1000)
CALIBRATION = Calibration(Conditions("yunet", "arcface 112", True, "float32", (0.1,)), (POINT,), None, (), "", 9, 9, 9)


def small(seed: int = 0) -> nn.Sequential:
    """[B, 3, 8, 8] -> [B, 6], its batch norm with statistics and weights of its own."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(HALVES)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert values is not None
        nn.init.uniform_(values, 0.5, 2.0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, HALVES), norm).eval()


def encoder(network: Any = None, **card: Any) -> FaceEncoder:
    made = small() if network is None else network
    return FaceEncoder(made, Card("made up", embedding_size=HALVES, preprocessing=Preprocessing(8), **card))


def tiny() -> FaceEncoder:
    return FaceEncoder(trained_a_little(), Card("small one", "tiny", 16))


def adapted_longhand(pictures: Faces, judged: Faces) -> NDArray[np.float64]:
    """Unit-length embeddings of ``judged``, mirror images added, by :func:`tiny` adapted to ``pictures``."""
    network = trained_a_little().double()
    norm = network.features
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_var is not None

    def features(images: Faces) -> Tensor:
        inputs = torch.from_numpy(prepared_longhand(images, Preprocessing()))
        with torch.no_grad():
            return network.fc(torch.flatten(network.stages(network.stem(inputs)), 1))  # type: ignore[no-any-return, operator]

    with torch.no_grad():
        mean = torch.cat([features(pictures), features(pictures[:, :, ::-1])]).mean(0)
        each = [
            (features(images) - mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            for images in (judged, judged[:, :, ::-1])
        ]
        found: NDArray[np.float64] = nn.functional.normalize(each[0] + each[1]).numpy()
    return found


def test_the_mean_is_that_of_the_faces_and_their_mirror_images_in_float64_longhand() -> None:
    pictures, judged = faces(12, 112), faces(4, 112, seed=1)
    found = tiny().adapted_to(pictures).embed(judged)
    np.testing.assert_allclose(found, adapted_longhand(pictures, judged), rtol=0, atol=1e-5)
    assert np.abs(found - tiny().embed(judged)).max() > 1e-2


@pytest.mark.parametrize("backbone", ["mobilefacenet", "iresnet18", "vit-t"])
def test_the_mean_embedding_of_the_faces_is_the_bias_of_the_last_layer(backbone: str) -> None:
    network = trained_a_little(backbone)
    norm = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)][-1]
    nn.init.normal_(norm.bias)
    rows = (
        FaceEncoder(network, Card(backbone, backbone, 16))
        .adapted_to(faces(10, 112))
        .embed(faces(10, 112), normalize=False)
    )
    np.testing.assert_allclose(rows.mean(0), 2 * norm.bias.detach().numpy(), rtol=0, atol=1e-4 * np.abs(rows).max())


def test_order_and_batches_of_the_faces_do_not_matter() -> None:
    pictures = faces(23)
    expected = encoder().adapted_to(pictures).embed(pictures)
    shuffled = np.random.default_rng(0).permutation(pictures)
    for batch_size in (1, 7, 23, 64):
        found = encoder().adapted_to(shuffled, batch_size=batch_size).embed(pictures)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_lazy_input_is_held_a_batch_at_a_time() -> None:
    made = 0
    seen: list[int] = []  # how many faces there were at each call of the network
    network = small()
    network.register_forward_pre_hook(lambda *_: seen.append(made))

    def lazily() -> Iterator[Faces]:
        nonlocal made
        for picture in faces(20):
            made += 1
            yield picture

    encoder(network).adapted_to(lazily(), batch_size=6)
    assert seen == [0, 6, 6, 12, 12, 18, 18, 20, 20]


def test_adapting_again_to_the_same_faces_changes_nothing() -> None:
    once = encoder().adapted_to(faces(12))
    again = once.adapted_to(faces(12))
    assert np.array_equal(again.embed(faces(5, seed=1)), once.embed(faces(5, seed=1)))
    assert again.card == once.card


def test_a_constant_offset_of_the_features_is_removed() -> None:
    moved = small()
    with torch.no_grad():
        moved[1].bias += torch.tensor([4.0, -2.0, 0.5, 8.0, -16.0, 1.0])
    found = [encoder(network).adapted_to(faces(12)).embed(faces(5, seed=1)) for network in (moved, small())]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)
    assert np.abs(encoder(moved).embed(faces(5)) - encoder().embed(faces(5))).max() > 0.1


def test_the_model_itself_stays_as_it_was() -> None:
    made = encoder(calibration=CALIBRATION, training={"figures": {}})
    before, card = copy.deepcopy(made.network), copy.deepcopy(made.card)
    made.adapted_to(faces(12))
    assert made.card == card
    states = before.state_dict(), made.network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_card_says_on_how_many_photos_and_what_no_longer_holds_is_left_out() -> None:
    training = {"loss": "arcface", "licence": "Apache-2.0", "figures": {"LFW": 0.9}, "faces": "no photo of anyone"}
    card = encoder(calibration=CALIBRATION, training=training).adapted_to(faces(11)).card
    assert card.name == "made up, adapted"
    assert card.training == {
        "loss": "arcface",
        "licence": "Apache-2.0",
        "adapted": {"photos": 11, "what": "mean of the last batch norm"},
    }
    assert card.calibration is None
    assert card.preprocessing == Preprocessing(8)


@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded_it_gives_the_same_embeddings(half: bool, tmp_path: Any) -> None:
    adapted = tiny().adapted_to(faces(12, 112))
    adapted.save(tmp_path / "adapted", half=half)
    again = load(tmp_path / "adapted")
    assert again.card == adapted.card
    closeness = 2e-3 if half else 0.0
    np.testing.assert_allclose(again.embed(faces(3, 112)), adapted.embed(faces(3, 112)), rtol=0, atol=closeness)


@pytest.mark.parametrize(
    ("dtype", "closeness"), [(torch.float64, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)], ids=str
)
def test_a_network_of_another_precision_is_adapted_in_its_own(dtype: torch.dtype, closeness: float) -> None:
    found = encoder(small().to(dtype)).adapted_to(faces(12))
    assert isinstance(found.network, nn.Module)
    assert {value.dtype for value in found.network.state_dict().values() if value.is_floating_point()} == {dtype}
    expected = encoder().adapted_to(faces(12)).embed(faces(5))
    np.testing.assert_allclose(found.embed(faces(5)), expected, rtol=0, atol=closeness)


def test_training_mode_synchronised_norms_and_compiled_networks_are_adapted_alike() -> None:
    expected = encoder().adapted_to(faces(12)).embed(faces(5))
    with torch.inference_mode():
        unchangeable = small()
    for network in (
        small().train(),
        synchronised(small()),
        nn.SyncBatchNorm.convert_sync_batchnorm(small()),  # type: ignore[no-untyped-call]
        torch.compile(small(), backend="eager"),
        unchangeable,
    ):
        found = encoder(network).adapted_to(faces(12))
        np.testing.assert_allclose(found.embed(faces(5)), expected, rtol=0, atol=1e-6)


class Unit(nn.Module):
    """A network that brings its embeddings to length 1 itself: an offset before that is no offset after it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.inner(images))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (halves, "made up: only a torch network can be adapted, not an .onnx; adapt the model folder, run or weights"),
        (small()[:2], "made up: cannot be adapted: its last layer is not a batch norm over the embedding"),
        (Unit(), "made up: cannot be adapted: its last layer is not a batch norm over the embedding"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6, track_running_stats=False)),
            "made up: cannot be adapted",
        ),
    ],
    ids=["function", "linear", "unit length", "no statistics"],
)
def test_a_network_without_a_last_batch_norm_is_refused_before_any_face_is_read(network: Any, message: str) -> None:
    def never() -> Iterator[Faces]:
        raise AssertionError("a face was asked for")
        yield

    with pytest.raises(InputError) as refused:
        encoder(network).adapted_to(never())
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_faces_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"takes at least 10 faces, and there are {count}; give photos of more people"):
        encoder().adapted_to(faces(count))
    encoder().adapted_to(faces(10))


def test_features_that_are_no_numbers_are_refused() -> None:
    broken = small()
    with torch.no_grad():
        broken[1].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="made up: its features hold NaN or infinity; the model is broken"):
        encoder(broken).adapted_to(faces(10))


def test_faces_are_refused_as_embed_refuses_them() -> None:
    with pytest.raises(InputError, match="image 10: 9x9 pixels"):
        encoder().adapted_to([*faces(10), faces(1, 9)[0]])
    with pytest.raises(InputError, match="NoneType where images are needed"):
        encoder().adapted_to(None)
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        encoder().adapted_to(faces(10), batch_size=0)
