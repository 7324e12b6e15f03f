"""elasticface.recognition.found_by: what found the faces, by the name that its own finder has."""

from pathlib import Path

import pytest

from elasticface.base.errors import InputError
from elasticface.faces import FaceFinder, aligned
from elasticface.recognition.found_by import detector_of, named_detector


def test_names_are_those_of_the_finder_and_others_stay() -> None:
    assert named_detector("yunet") == FaceFinder().name == "yunet-2023mar/1"
    assert named_detector("yunet, smallest 60") == FaceFinder(smallest=60).name
    for name in ("some other", "yunet-2023mar/1, smallest 60"):
        assert named_detector(name) == name
    with pytest.raises(InputError, match="uniface is not installed"):
        named_detector("uniface")
    for name in ("", " ", "x" * 501):
        with pytest.raises(InputError, match="--detector must be a name of at most 500 characters"):
            named_detector(name)


def test_the_summary_of_aligned_faces_says_it(tmp_path: Path) -> None:
    folders = {name: tmp_path / (name or "nobody") for name in ("one", "other", None)}
    for name, folder in folders.items():
        folder.mkdir()
        aligned.write(folder, aligned.Summary(112, "jpg", detector=name))
    assert detector_of([folders["one"]]) == "one"
    assert detector_of([folders[None]]) == detector_of([tmp_path]) == "unknown"
    with pytest.raises(InputError, match=r"different detectors \(one, other, unknown\) make no common threshold"):
        detector_of(list(folders.values()))
    (folders["one"] / aligned.FILE).write_text('{"size": 112, "format": "jpg", "detector": ""}')
    with pytest.raises(InputError, match=r"align.json: detector is ''.*; align the photos again"):
        detector_of([folders["one"]])
