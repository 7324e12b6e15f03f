"""What is said beside the figures: each remark once a benchmark, with the models' names where it is not of all."""

from dataclasses import replace

from made_results import identification, make_result, verification

from elasticface.report.notes import remarks, terminal_notes


def test_remarks_are_the_notes_and_what_was_left_out() -> None:
    assert remarks(verification()) == (
        "1,234 images where IJB-C has 469,375",
        "2 images missing or damaged",
        "17 pairs skipped",
    )
    one = replace(identification(), counts={"damaged_images": 1, "skipped_templates": 1})
    assert remarks(one) == ("1 image missing or damaged", "1 template skipped")
    assert remarks(make_result()) == ()


def test_what_all_models_share_is_said_once_and_the_rest_with_their_names() -> None:
    a, b, c = (replace(verification(model), notes=("fewer", "other"), counts={}) for model in "abc")
    other = replace(verification("b", "IJB-B 1:1"), notes=("fewer",), counts={})
    assert terminal_notes([a, b, c]) == ["IJB-C 1:1: fewer; other"]
    damaged = [replace(one, counts={"damaged_images": 2, "skipped_pairs": 3}) for one in (a, c)]
    assert terminal_notes([damaged[0], b, damaged[1], other, make_result("b")]) == [
        "IJB-C 1:1: fewer; other",
        "IJB-C 1:1: a, c: 2 images missing or damaged; 3 pairs skipped",
        "IJB-B 1:1: fewer",
    ]


def test_pairs_that_were_skipped_are_said_too() -> None:
    result = make_result()
    result = replace(result, counts={**result.counts, "skipped_pairs": 3})
    assert terminal_notes([result]) == ["lfw: 3 pairs skipped"]
