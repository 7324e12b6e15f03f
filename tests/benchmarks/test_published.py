"""The paper's table: as printed, with nothing that nobody confirmed; benchmarks known by their names alone."""

import itertools

import pytest

from elasticface.benchmarks.published import COLUMNS, ROWS, columns_of


@pytest.mark.parametrize(
    ("name", "title"),
    [
        *(("lfw", "LFW"), ("LFW", "LFW"), ("agedb_30", "AgeDB-30"), ("AgeDB-30", "AgeDB-30"), ("CFP_FP", "CFP-FP")),
        *(("calfw", "CALFW"), ("cplfw", "CPLFW"), ("IJB-C 1:1", "IJB-C"), ("IJB-B 1:1", "IJB-B")),
        *(("MegaFace", "MegaFace"), ("MegaFace (R)", "MegaFace (R)")),
        *((other, None) for other in ("lfw-deepfunneled", "heldout", "cfp_ff", "IJB-C 1:N", "a/lfw", "", "---")),
    ],
)
def test_benchmarks_are_known_by_name_without_case_and_punctuation(name: str, title: str | None) -> None:
    assert {COLUMNS[i].title for i in columns_of(name)} == ({title} if title else set())


def test_the_nine_benchmarks_have_their_columns_side_by_side() -> None:
    titles = [title for title, _ in itertools.groupby(column.title for column in COLUMNS)]
    assert titles == [*("LFW", "AgeDB-30", "CALFW", "CPLFW", "CFP-FP", "IJB-B", "IJB-C", "MegaFace", "MegaFace (R)")]


def test_every_row_has_a_cell_a_column_and_figures_as_printed() -> None:
    for row in ROWS.values():
        assert len(row) == len(COLUMNS)
        assert all(text is None or (50 < float(text) < 100 and len(text.partition(".")[2]) in (1, 2)) for text in row)
    assert ROWS["ElasticFace-Arc+"][:5] == ("99.82", "98.35", "96.17", "93.28", "98.60")
    assert ROWS["ElasticFace-Cos+"] == (
        "99.80",
        "98.28",
        "96.18",
        "93.23",
        "98.73",
        "95.43",
        "96.65",
        None,
        None,
        None,
        None,
    )
    assert [name for name, row in ROWS.items() if None not in row[:7]] == [
        "ArcFace",
        "CurricularFace",
        "ElasticFace-Cos+",
    ]
