"""What is said beside figures: a result's own notes, and what it was measured without."""

from dataclasses import replace

from made_results import identification, make_result, verification

from elasticface.report.figures import remarks


def test_remarks_are_the_notes_and_what_was_left_out() -> None:
    assert remarks(verification()) == (
        "1,234 images where IJB-C has 469,375",
        "2 images missing or damaged",
        "17 pairs skipped",
    )
    one = replace(identification(), counts={"damaged_images": 1, "skipped_templates": 1})
    assert remarks(one) == ("1 image missing or damaged", "1 template skipped")
    assert remarks(make_result()) == ()
