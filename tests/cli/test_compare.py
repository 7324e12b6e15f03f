"""`elasticface compare`: stored results beside each other."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import content, done, refused, words
from large import write_features, write_ijb, write_megaface
from made_results import Page


def test_stored_results_are_compared(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "one", "--baseline", people)
    done("evaluate", model, people, "--out", "two", "--no-flip")
    out = done("compare", "one", "two", "--out", "both", "--draws", "100")
    assert out.endswith("both/comparison.json\nboth/report.html\n")
    assert "A: one: small" in out
    made = json.loads(Path("both/comparison.json").read_text())
    assert made["models"] == ["one: small", "whitened PCA", "two: small"]
    assert {contrast["units"] for contrast in made["contrasts"]} == {"people"}
    assert len(made["contrasts"]) == 3
    figures = ["accuracy", "0.001", "0.01", "0.1", "eer"]
    assert all([d["figure"] for d in contrast["differences"]] == figures for contrast in made["contrasts"])
    assert {contrast["draws"] for contrast in made["contrasts"]} == {100}
    assert made["borda"] == {}  # by the paper's benchmarks alone
    assert any(note.startswith("no Borda count: none of LFW, ") for note in made["notes"])
    stored = json.loads(Path("one/results.json").read_text())["results"][0]
    assert made["contrasts"][0]["differences"][0]["first"] == stored["accuracy"]
    assert "two: small" in Path("both/report.html").read_text()
    assert "faces, 48 pairs" in done("compare", "one", "--draws", "100")


def test_stored_results_on_large_benchmarks_are_compared() -> None:
    rows, large = write_ijb(Path("IJBC"), subjects=40, pictures=False), write_megaface(Path("MegaFace"))
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        np.save(f"{name}.npy", rng.normal(1, 1, (len(rows.faces), 8)).astype(np.float32))
        probes, others = (rng.normal(1, 1, (len(of), 8)).astype(np.float32) for of in (large.probes, large.distractors))
        write_features(Path(name), large, probes, others)
        done("evaluate", f"{name}.npy", "IJBC", "--out", f"ijb-{name}")
        done("evaluate", name, "MegaFace", "--out", f"mega-{name}")
    out = done("compare", "ijb-a", "ijb-b", "mega-a", "mega-b", "--out", "both", "--draws", "100")
    assert "IJB-C 1:1, 80 genuine pairs" in out
    made = json.loads(Path("both/comparison.json").read_text())
    compared = [(c["benchmark"], c["units"], c["draws"], len(c["differences"])) for c in made["contrasts"]]
    names = ("IJB-C 1:1", 12), ("IJB-C 1:N", 5), ("MegaFace", 2), ("MegaFace (R)", 2)
    assert compared == [(name, "subjects", 2000, count) for name, count in names]
    assert any(d["interval"] for c in made["contrasts"] for d in c["differences"])
    assert made["borda"] == {}
    found = json.loads(Path("ijb-a/results.json").read_text())["results"]
    assert made["contrasts"][1]["differences"][0]["first"] == found[1]["rank"]["1"]
    assert (
        "2,000 bootstrap resamples over people, by the benchmark's own lists"
        in Page(Path("both/report.html").read_text()).text
    )
    for result in found:
        assert result["intervals_by"] == "bootstrap over 40 people, 2,000 draws"
        assert set(result["stored"]) == {"file", "sha256", "units", "trials"}
        del result["stored"]
    Path("ijb-a/results.json").write_text(json.dumps({"format_version": 2, "results": found, "versions": {}}))
    done("compare", "ijb-a", "ijb-b", "--out", "without", "--draws", "100")
    without = json.loads(Path("without/comparison.json").read_text())
    assert {d["interval"] for c in without["contrasts"] for d in c["differences"]} == {None}
    for number in (0, 1):
        both, neither = (of["contrasts"][number]["differences"] for of in (made, without))
        assert [d["value"] for d in both] == [d["value"] for d in neither]
    assert "IJB-C 1:1: no resamples are stored for a, so their differences have no intervals" in without["notes"]


def test_the_report_of_another_command_is_not_replaced(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "one", "--baseline", people)
    before = content(Path("one"))
    assert "one: its report.html is that of an evaluation; give another" in refused("compare", "one", "--out", "one")
    assert content(Path("one")) == before
    for _ in range(2):  # one's own is
        done("compare", "one", "--out", "both", "--draws", "100")
    assert "both: its report.html is that of a comparison" in refused("evaluate", model, people, "--out", "both")


def test_results_on_other_pairs_are_not_compared(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "one")
    lines = (people / "pairs.txt").read_text().splitlines()
    Path("fewer.txt").write_text("\n".join(lines[1:-1]) + "\n")
    done("evaluate", model, people, "--pairs", "fewer.txt", "--out", "two")
    refusal = refused("compare", "one", "two", "--out", "both")
    assert "faces: one: small (48) and two: small (47) were not measured on the same pairs; evaluate both on" in refusal
    assert not Path("both").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare", "results"),
        ("compare absent", "absent: not there; give a folder of results"),
        ("compare FACES", "results.json: not there; give a folder of results"),
        ("compare FACES FACES", "faces: is given twice"),
        ("compare FACES --draws 9", "--draws must be 100 to 100,000, not 9"),
        ("compare FACES --seed -1", "--seed must be 0 or more, not -1"),
        ("compare FACES --out /dev/null/x", "cannot be written"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))
