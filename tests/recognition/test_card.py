"""A calibration in a model's card or beside its file: kept, read, refused when damaged, void for another model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import content
from compared import made_up
from embedders import trained_a_little

from elasticface.base.errors import InputError
from elasticface.model.calibration import gallery_fmr
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.model.exporting import export
from elasticface.model.loading import load
from elasticface.model.storing import calibration_beside, store_calibration
from elasticface.recognition.conditions import conditions_of


@pytest.fixture
def encoder() -> FaceEncoder:
    return FaceEncoder(trained_a_little(), Card("tiny", "tiny", 16))


@pytest.fixture
def folder(encoder: FaceEncoder, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "model")
    return tmp_path / "model"


# ---------------------------------------------------------------------------------------------- the record


def test_a_threshold_is_given_for_a_calibrated_rate_alone() -> None:
    assert made_up().threshold(1e-2).threshold == 0.35
    assert made_up().threshold(0.1 * (1 + 1e-12)).threshold == 0.21
    with pytest.raises(InputError, match=r"false match rate of 0\.05, but for 0\.1, 0\.01; give one of these"):
        made_up().threshold(0.05)


def test_a_rate_that_is_named_can_be_given_again() -> None:
    thirds = dataclasses.replace(made_up(), points=(dataclasses.replace(made_up().points[0], fmr=1 / 300),))
    with pytest.raises(InputError) as refused:
        thirds.threshold(0.00333333)
    _, _, named = str(refused.value).partition("but for ")
    assert thirds.threshold(float(named.partition(";")[0])) is thirds.points[0]


def test_the_log_likelihood_ratio_is_affine_in_the_similarity() -> None:
    assert made_up().llr(0.5) == 12.5 * 0.5 - 3.25
    assert dataclasses.replace(made_up(), likelihood=None).llr(0.5) is None


@pytest.mark.parametrize(("fmr", "comparisons"), [(0.3, 5), (1e-3, 1), (1e-2, 1000), (0.5, 0), (0.0, 7), (1.0, 3)])
def test_false_matches_of_a_gallery_are_the_longhand_formula(fmr: float, comparisons: int) -> None:
    assert gallery_fmr(fmr, comparisons) == pytest.approx(1 - (1 - fmr) ** comparisons, rel=1e-12)


def test_false_matches_of_a_gallery_are_exact_where_the_formula_rounds_away() -> None:
    assert gallery_fmr(1e-18, 1000) == pytest.approx(1e-15, rel=1e-12)
    assert gallery_fmr(1.0, 0) == 0
    with pytest.raises(ValueError, match="must lie in"):
        gallery_fmr(1.5, 2)
    with pytest.raises(ValueError, match="at least 0"):
        gallery_fmr(0.5, -1)


# ---------------------------------------------------------------------------------------------- what it is bound to


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detector": "retinaface"}, "the detector was 'yunet' and is 'retinaface'"),
        ({"alignment": "eyes"}, "the alignment was 'template' and is 'eyes'"),
        ({"flip": False}, "the mirror image was added and is not"),
        ({"precision": "bfloat16"}, "the precision was 'float32' and is 'bfloat16'"),
        ({"fingerprint": (0.5, -0.9)}, "the model is another one: fixed images have other embeddings"),
        ({"fingerprint": (0.5,)}, "the model is another one: fixed images have other embeddings"),
        ({"fingerprint": (0.5, -1.0005)}, None),
    ],
)
def test_the_first_difference_is_said_in_words(change: dict[str, Any], words: str | None) -> None:
    calibration = made_up()
    assert calibration.difference(dataclasses.replace(calibration.conditions, **change)) == words


def test_other_weights_precision_flip_and_preprocessing_void_a_calibration(encoder: FaceEncoder) -> None:
    calibration = made_up(conditions_of(encoder, "yunet"))
    assert calibration.difference(conditions_of(encoder, "yunet")) is None
    assert "detector" in str(calibration.difference(conditions_of(encoder)))
    assert "mirror" in str(calibration.difference(conditions_of(encoder, "yunet", flip=False)))
    torch.manual_seed(2)
    nudged = FaceEncoder(trained_a_little(), encoder.card)
    assert isinstance(nudged.network, torch.nn.Module)
    with torch.no_grad():
        for weight in nudged.network.parameters():
            weight += 0.02 * torch.randn_like(weight)
    assert "another one" in str(calibration.difference(conditions_of(nudged, "yunet")))
    expects = dataclasses.replace(encoder.card.preprocessing, channels="BGR")
    other = FaceEncoder(encoder.network, dataclasses.replace(encoder.card, preprocessing=expects))
    assert "another one" in str(calibration.difference(conditions_of(other, "yunet")))
    half = FaceEncoder(trained_a_little().to(torch.bfloat16), encoder.card)
    assert "precision" in str(calibration.difference(conditions_of(half, "yunet")))


@pytest.mark.filterwarnings("ignore")  # of torch, about its older exporter, which is the faster one
def test_an_exported_network_has_the_fingerprint_of_its_source(encoder: FaceEncoder, tmp_path: Path) -> None:
    assert isinstance(encoder.network, torch.nn.Module)
    path = tmp_path / "tiny.onnx"
    torch.onnx.export(
        encoder.network, (torch.zeros(2, 3, 112, 112),), path, dynamo=False, dynamic_axes={"x": {0: "n"}},
        input_names=["x"],
    )  # fmt: skip
    before, now = conditions_of(encoder, "yunet"), conditions_of(load(path), "yunet")
    assert before.difference(now) is None
    np.testing.assert_allclose(before.fingerprint, now.fingerprint, atol=1e-3)


# ---------------------------------------------------------------------------------------------- kept and read


def test_it_is_kept_in_the_card_and_nothing_else_changes(folder: Path) -> None:
    before = content(folder)
    assert load(folder).card.calibration is None
    assert store_calibration(folder, made_up()) == folder / "model.json"
    assert load(folder).card.calibration == made_up()
    after = json.loads((folder / "model.json").read_text())
    assert after.pop("calibration")["unit_count"] == 79
    assert {"calibration": None, **after} == json.loads(before["model.json"])
    assert (folder / "model.safetensors").read_bytes() == before["model.safetensors"]


def test_a_saved_encoder_keeps_its_calibration(encoder: FaceEncoder, tmp_path: Path) -> None:
    card = dataclasses.replace(encoder.card, calibration=made_up())
    FaceEncoder(encoder.network, card).save(tmp_path / "model")
    assert load(tmp_path / "model").card == card


def test_a_run_folder_keeps_it_in_its_model(folder: Path) -> None:
    assert store_calibration(folder.parent, made_up()) == folder / "model.json"
    assert load(folder.parent).card.calibration == made_up()


def test_a_card_from_before_calibration_is_read(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    del card["calibration"]
    (folder / "model.json").write_text(json.dumps(card))
    assert load(folder).card.calibration is None


def test_beside_a_single_file_it_goes_over_what_the_model_itself_says(encoder: FaceEncoder, tmp_path: Path) -> None:
    path = tmp_path / "public.onnx"
    encoder.card = dataclasses.replace(encoder.card, calibration=made_up())
    export(encoder, path)
    assert load(path).card.calibration == made_up()
    later = dataclasses.replace(made_up(), unit_count=80)
    assert store_calibration(path, later) == tmp_path / "public.onnx.calibration.json"
    assert load(path).card.calibration == later
    assert calibration_beside(tmp_path / "public.pth") is None  # another model
    export(load(path), tmp_path / "again.onnx")
    assert load(tmp_path / "again.onnx").card.calibration == later
    with pytest.raises(InputError, match=r"public.onnx.calibration.json: the calibration of another file of that name"):
        export(load(tmp_path / "again.onnx"), path, overwrite=True)


def without(place: str) -> Any:
    def damage(calibration: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in calibration.items() if name != place}

    return damage


HOSTILE = {
    "a list": (lambda _: [], "expected object"),
    "an unknown field": (lambda c: {**c, "percent": 99}, "percent: no such field"),
    "no points": (lambda c: {**c, "points": []}, "points"),
    "many points": (lambda c: {**c, "points": c["points"] * 40}, "points"),
    "no conditions": (without("conditions"), "conditions"),
    "threshold too high": (lambda c: {**c, "points": [{**c["points"][0], "threshold": 1e9}]}, "threshold"),
    "threshold a text": (lambda c: {**c, "points": [{**c["points"][0], "threshold": "0.2"}]}, "threshold"),
    "fmr 0": (lambda c: {**c, "points": [{**c["points"][0], "fmr": 0}]}, "fmr"),
    "interval of one": (lambda c: {**c, "points": [{**c["points"][0], "fmr_interval": [0.1]}]}, "fmr_interval"),
    "flip a number": (lambda c: {**c, "conditions": {**c["conditions"], "flip": 1}}, "flip"),
    "long name": (lambda c: {**c, "conditions": {**c["conditions"], "detector": "x" * 501}}, "detector"),
    "long fingerprint": (lambda c: {**c, "conditions": {**c["conditions"], "fingerprint": [0] * 257}}, "fingerprint"),
    "slope huge": (lambda c: {**c, "likelihood": {**c["likelihood"], "slope": 1e7}}, "slope"),
    "units negative": (lambda c: {**c, "unit_count": -1}, "unit_count"),
    "units huge": (lambda c: {**c, "unit_count": 10**400}, "unit_count"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_is_refused_in_one_line(name: str, folder: Path, encoder: FaceEncoder, tmp_path: Path) -> None:
    damage, words = HOSTILE[name]
    plain = json.loads(json.dumps(dataclasses.asdict(made_up())))
    card = json.loads((folder / "model.json").read_text()) | {"calibration": damage(plain)}
    (folder / "model.json").write_text(json.dumps(card))
    beside = tmp_path / "public.onnx.calibration.json"
    damaged = damage({"format": 1, **plain})
    beside.write_text(json.dumps(damaged))
    for read in (lambda: load(folder), lambda: calibration_beside(tmp_path / "public.onnx")):
        with pytest.raises(InputError) as error:
            read()
        assert len(str(error.value).splitlines()) == 1
        assert words in str(error.value)


def test_a_file_of_another_format_is_refused(encoder: FaceEncoder, tmp_path: Path) -> None:
    beside = store_calibration(tmp_path / "public.onnx", made_up())
    beside.write_text(beside.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="not a calibration of format 1"):
        calibration_beside(tmp_path / "public.onnx")
