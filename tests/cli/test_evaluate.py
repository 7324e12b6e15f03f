"""`elasticface evaluate`: figures and files, on pairs, packs, IJB and MegaFace, and what it refuses."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import SMALL, content, done, refused, run, words, write_landmarks
from conftest import write_pairs, write_people
from large import write_features, write_ijb, write_megaface
from onnx import TensorProto, helper

import elasticface
from elasticface import backbones, evaluation
from elasticface.base.errors import InputError
from elasticface.benchmarks.opening import Benchmark, Model, Result
from elasticface.benchmarks.stored import read_results
from elasticface.faces.landmarks import COLUMNS
from elasticface.model.encoder import Card, FaceEncoder


def test_from_faces_to_a_report(people: Path) -> None:
    done("train", people, "--out", "run", *SMALL, "--max-steps", "4", "--validate", people)
    out = done("evaluate", "run", people)
    assert "run/results.json" in out
    assert "run/report.html" in out
    found = json.loads(Path("run/results.json").read_text())
    assert set(found["rules"]) == {"at-most", "nearest"}
    assert found["versions"]["elasticface"] == elasticface.__version__
    assert {"torch", "numpy", "python"} <= found["versions"].keys()
    (result,) = found["results"]
    assert (result["model"], result["benchmark"]) == ("run", "faces")
    assert "squared L2 distance" in result["protocol"]
    assert result["counts"] == {"pairs": 48, "genuine": 24, "impostor": 24, "images": 30, "skipped_pairs": 0}
    assert 0 <= result["accuracy"] <= 1
    assert 0 <= result["eer"] <= 1
    assert len(result["per_fold"]) == 2
    for rule in ("at-most", "nearest"):
        assert set(result["tar_at_far"][rule]) == {"0.001", "0.01", "0.1"}
    page = Path("run/report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "person_00" in page
    assert f"{100 * result['accuracy']:.2f}" in page


def test_results_go_where_they_are_sent_with_a_baseline_beside(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "deep/results", "--baseline", people, "--no-flip")
    found = json.loads(Path("deep/results/results.json").read_text())
    assert [result["model"] for result in found["results"]] == ["small", "whitened PCA"]
    assert sorted(os.listdir("deep/results")) == ["report.html", "results.json", "scores"]
    assert os.listdir() == ["deep"]


def test_a_checkpoint_of_an_unfinished_run_is_evaluated_beside_the_runs_own_results(people: Path) -> None:
    more = ("--max-steps", "6", "--checkpoint-every", "2", "--validate", people)
    done("train", people, "--out", "run", *SMALL, *more)
    shutil.rmtree("run/model")
    assert "use a checkpoint of it (--checkpoint last or best;" in refused("evaluate", "run", people)
    for checkpoint in ("last", "best", "4"):
        done("evaluate", "run", people, "--checkpoint", checkpoint)
    shutil.copytree("run/results-4", "run/results-last", dirs_exist_ok=True)  # of an older one than the last
    code, _, err = run("evaluate", "run", people, "--checkpoint", "last")
    assert (code, "results of run step 4 on faces are replaced" in " ".join(err.split())) == (0, True)
    accuracy = {}
    for checkpoint in ("last", "best", "4"):
        (result,) = json.loads(Path(f"run/results-{checkpoint}/results.json").read_text())["results"]
        accuracy[checkpoint] = result["accuracy"]
        assert result["model"].startswith("run step ")
    best = json.loads(Path("run/checkpoints/best.json").read_text())
    assert accuracy["best"] == best["accuracy"]
    assert not Path("run/results.json").exists()
    for wrong, told in (("5", "no checkpoint of step 5"), ("newest", "must be best, last or a step"), ("", "must be")):
        assert told in refused("evaluate", "run", people, "--checkpoint", wrong)
    assert "no run with checkpoints" in refused("evaluate", "run/model", people, "--checkpoint", "last")


def test_a_model_folder_gets_no_results_in_it(people: Path, trained: Path, model: Path) -> None:
    shutil.copytree(trained, "run")
    for path in ("run/model", model):
        before = content(Path(path))
        done("evaluate", path, people)
        assert content(Path(path)) == before
        assert sorted(os.listdir("results")) == ["report.html", "results.json", "scores"]
        shutil.rmtree("results")


def test_the_results_of_the_model_in_the_package_are_not_those_of_a_run_of_its_name(
    people: Path, trained: Path
) -> None:
    shutil.copytree(trained, "default")
    before = content(Path("default"))
    done("evaluate", "default", people)
    assert content(Path("default")) == before
    (result,) = json.loads(Path("results/results.json").read_text())["results"]
    assert result["model"] == "elasticface default"


def test_the_flip_can_be_left_out(people: Path, model: Path) -> None:
    for option, protocol in (("--flip", "image and mirror image added, "), ("--no-flip", "image alone, ")):
        done("evaluate", model, people, "--out", "results", option)
        (result,) = json.loads(Path("results/results.json").read_text())["results"]
        assert result["protocol"].startswith(protocol)


def test_results_that_are_not_measured_again_are_not_replaced(people: Path, model: Path) -> None:
    other = write_pairs(write_people(Path("other"), 3, 3, seed=1), 3, 3)
    done("evaluate", model, people, "--out", "out", "--baseline", people)
    before = content(Path("out"))
    assert "out: holds the results of whitened PCA on faces, which would be lost; measure that too, give" in refused(
        "evaluate", model, people, "--out", "out"
    )
    lost = "out: holds the results of small on faces, whitened PCA on faces, which"
    assert lost in refused("evaluate", model, other, "--out", "out")
    assert content(Path("out")) == before
    done("evaluate", model, other, people, "--out", "out", "--baseline", people)
    assert len(json.loads(Path("out/results.json").read_text())["results"]) == 4
    Path("out/results.json").write_text("{}")
    done("evaluate", model, other, "--out", "out")


def test_two_benchmarks_of_one_name_are_told_apart(model: Path) -> None:
    for parent, seed in (("a", 1), ("b", 2)):
        write_pairs(write_people(Path(parent) / "faces", 3, 3, seed=seed), 3, 3)
    done("evaluate", model, "a/faces", "b/faces", "--out", "results")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [result["benchmark"] for result in found] == ["a/faces", "b/faces"]


def test_an_onnx_of_another_size_is_evaluated_with_its_preprocessing() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["faces"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Flatten", ["pooled"], ["embeddings"]),
        ],
        "patches",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["batch", 3, 56, 56])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 147])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "patches.onnx")
    faces = write_pairs(write_people(Path("faces"), 4, 3, size=56), 4, 3)
    assert "takes images of 56 pixels" in refused("evaluate", "patches.onnx", faces)
    mean, std = "0.485,0.456,0.406", "0.229,0.224,0.225"
    done("evaluate", "patches.onnx", faces, "--size", "56", "--mean", mean, "--std", std, "--channels", "BGR")
    assert json.loads(Path("results/results.json").read_text())["results"][0]["accuracy"] == 1


def test_ijb_and_megaface_are_evaluated_beside_pairs_and_go_on_where_they_were(people: Path, model: Path) -> None:
    write_ijb(Path("IJBC"), subjects=4)
    write_megaface(Path("megaface"), people=3, distractors=10, pictures=True)
    out = done("evaluate", model, people, "IJBC", "megaface", "--out", "results")
    assert "IJB 1:1 verification: TAR at FAR, nearest" in out
    found = json.loads(Path("results/results.json").read_text())["results"]
    names = ["faces", "IJB-C 1:1", "IJB-C 1:N", "MegaFace", "MegaFace (R)"]
    assert [result["benchmark"] for result in found] == names
    page = Path("results/report.html").read_text()
    assert all(f"{name}</h2>" in page for name in names)
    kept = content(Path("results/features"))
    shutil.rmtree("IJBC/loose_crop")
    Path("IJBC/loose_crop").mkdir()  # no image is looked at again
    shutil.copytree("results/features", "elsewhere")
    done("evaluate", model, "IJBC", "--out", "again", "--features", "elsewhere")
    again = json.loads(Path("again/results.json").read_text())["results"]
    assert again == [result for result in found if result["benchmark"].startswith("IJB-C")]
    assert content(Path("elsewhere")) == kept
    # Among four people a draw without an impostor pair, or without a mate in a gallery, is no wonder.
    assert all(result["intervals_by"].startswith("none, too few people") for result in again)
    assert all("stored" not in result for result in again)
    assert sorted(os.listdir("again")) == ["report.html", "results.json"]


def test_noise_of_other_images_leaves_megaface_and_is_said_on_the_terminal() -> None:
    rows = write_megaface(Path("megaface"))
    Path("megaface/megaface_noises.txt").write_text("375/37531198@N00/4174611825_0.jpg\n")
    random = np.random.default_rng(0).normal(size=(len(rows.probes) + len(rows.distractors), 8)).astype(np.float32)
    write_features(Path("features"), rows, random[: len(rows.probes)], random[len(rows.probes) :])
    code, _, err = run("evaluate", "features", "megaface", "--out", "results")
    assert code == 0
    said = "no MegaFace (R): 1 of 2 names of facescrub_noises.txt are in the list of probes; 0 of 1 names of megaface"
    assert said in " ".join(err.split())
    (found,) = json.loads(Path("results/results.json").read_text())["results"]
    assert found["benchmark"] == "MegaFace"
    assert any(note.startswith(said) for note in found["notes"])


def test_features_do_for_a_model() -> None:
    rows = write_ijb(Path("IJBC"), pictures=False)
    np.save("published.npy", np.random.default_rng(0).normal(size=(len(rows.faces), 8)).astype(np.float32))
    done("evaluate", "published.npy", "IJBC", "--no-keep-norm")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [result["model"] for result in found] == ["published", "published"]
    assert found[0]["options"] == {"keep_norm": False, "weigh_by_detector_score": True}
    assert found[0]["protocol"].startswith("features as given, norm removed, times the detector's score;")
    np.save("short.npy", np.zeros((3, 8), np.float32))
    assert "short.npy: 3 rows where IJB-C has" in refused("evaluate", "short.npy", "IJBC", "--out", "short")
    assert "no loose_crop in it" in refused("evaluate", small_model(), "IJBC", "--out", "small-results")


def small_model() -> Path:
    FaceEncoder(backbones.create("tiny", 8), Card("small", "tiny", 8)).save(Path("small"))
    return Path("small")


def test_a_folder_of_features_does_for_a_model_on_megaface() -> None:
    rows = write_megaface(Path("megaface"))
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(len(names), 8)).astype(np.float32) for names in (rows.probes, rows.distractors)]
    write_features(Path("r100"), rows, values[0], values[1])
    done("evaluate", "r100", "megaface", "--suffix", "r100")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [result["benchmark"] for result in found] == ["MegaFace", "MegaFace (R)"]
    assert "_other.bin" in refused("evaluate", "r100", "megaface", "--suffix", "other")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate", "model"),
        ("evaluate FACES", "benchmarks"),
        ("evaluate absent FACES", "absent: no such model"),
        ("evaluate FACES FACES", "not a model folder"),
        ("evaluate MODEL absent", "absent: no such folder or tar"),
        ("evaluate MODEL FACES absent", "absent: no such folder or tar"),
        ("evaluate MODEL FACES --device abacus", "no device 'abacus'"),
        ("evaluate MODEL FACES --backbone tiny", "says itself what it is"),
        ("evaluate MODEL FACES --mean 0.5", "says itself what it is"),
        ("evaluate MODEL FACES --channels YUV", "--channels must be one of RGB, BGR, got 'YUV'"),
        ("evaluate MODEL FACES --pairs absent.txt", "absent.txt: cannot be read"),
        ("evaluate MODEL FACES --landmarks absent.csv", "absent.csv: cannot be read"),
        ("evaluate MODEL absent.bin", "absent.bin: cannot be read: No such file"),
        ("evaluate MODEL FACES FACES", "faces: is given twice"),
        ("evaluate MODEL FACES --baseline absent", "absent"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))


def test_landmarks_of_four_columns_are_refused_with_their_row(people: Path, model: Path, here: Path) -> None:
    write_landmarks(here / "header.csv", ["person_00/person_00_0001.png"], columns=4)
    assert "header.csv, row 1" in refused("align", people, "out", "--landmarks", "header.csv")
    (here / "four.csv").write_text(",".join(COLUMNS) + "\nperson_00/person_00_0001.png,0.9,1,2\n")
    assert "four.csv, row 2: 4 columns" in refused("align", people, "out", "--landmarks", "four.csv")
    assert "four.csv, row 2: 4 columns" in refused("evaluate", model, people, "--landmarks", "four.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("person_00\t1\t77", "pairs.txt, row 3: no photo person_00/person_00_0077"),
        ("person_00\t1", "pairs.txt, row 3: neither"),
        ("person_00\t1\t3", "pairs.txt: only genuine pairs"),
    ],
)
def test_wrong_pairs_are_refused_with_their_row(row: str, message: str, people: Path, model: Path, here: Path) -> None:
    (here / "pairs.txt").write_text(f"2\t1\nperson_00\t1\t2\n{row}\n")
    assert message in refused("evaluate", model, people, "--pairs", "pairs.txt")


@pytest.mark.parametrize("before", [(), ("FACES",)])
def test_photos_that_are_not_aligned_are_refused_before_anything_is_embedded(
    before: tuple[str, ...], people: Path, model: Path, here: Path
) -> None:
    write_pairs(write_people(here / "large", 3, 3, size=224), 3, 3)
    code, out, err = run("evaluate", model, *(people for _ in before), "large", "--out", "results")
    assert (code, out) == (2, "")
    assert "224x224 is no aligned face of 112x112" in " ".join(err.split())
    assert "embedding" not in err
    assert not Path("results").exists()


def test_features_and_images_that_are_not_there_are_refused_before_anything_is_embedded(
    people: Path, model: Path
) -> None:
    faces = write_ijb(Path("IJBC"), pictures=False).faces
    write_megaface(Path("megaface"))
    np.save("features.npy", np.zeros((len(faces), 8), np.float32))
    for of, last, told in (
        (model, "IJBC", "no loose_crop in it"),
        (model, "megaface", "no facescrub_images in it"),
        ("features.npy", people, "faces: needs a model"),
        ("features.npy", "megaface", "neither facescrub.npy nor a folder facescrub"),
    ):
        code, _, err = run("evaluate", of, "IJBC" if of == "features.npy" else people, last, "--out", "results")
        assert (code, told in " ".join(err.split())) == (2, True)
        assert not Path("results").exists()


def test_results_are_kept_where_a_later_benchmark_fails(
    people: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_pairs(write_people(Path("other"), 3, 3, seed=1), 3, 3)
    measure = evaluation.measure

    def measured(encoder: Model, benchmark: Benchmark, flip: bool, features: Path) -> Sequence[Result]:
        if benchmark.name == "other":
            raise InputError("other: gone")
        return measure(encoder, benchmark, flip, features)

    monkeypatch.setattr(evaluation, "measure", measured)
    code, _, err = run("evaluate", model, people, other, "--out", "results")
    assert (code, "other: gone" in err) == (2, True)
    (found,) = read_results("results").results
    assert found.benchmark == "faces"


@pytest.mark.parametrize("name", ["results.json", "report.html"])
def test_a_folder_where_a_result_belongs_is_refused(people: Path, model: Path, here: Path, name: str) -> None:
    (here / "out" / name).mkdir(parents=True)
    code, _, err = run("evaluate", model, people, "--out", "out")
    assert code == 2
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("elasticface: ")
    assert name in err.splitlines()[-1]
