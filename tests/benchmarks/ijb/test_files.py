"""The folders of IJB-B and IJB-C: what belongs in them is read, and what is wrong is one clear line."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from large import IjbRows, write_ijb, write_rows

from elasticface.base.errors import InputError
from elasticface.benchmarks.ijb.files import kind_of, read_ijb


@pytest.mark.parametrize("kind", ["ijbb", "ijbc"])
def test_everything_in_the_folder_is_read(tmp_path: Path, kind: str) -> None:
    rows = write_ijb(tmp_path, kind, subjects=5, pictures=False)
    found = read_ijb(tmp_path)
    assert found.kind == kind_of(tmp_path) == kind
    assert list(zip(found.names, found.templates.tolist(), found.media.tolist(), strict=True)) == rows.faces
    assert np.array_equal(found.landmarks, [points for points, _ in rows.points])
    assert found.detector_scores.tolist() == [score for _, score in rows.points]
    assert found.template_ids.tolist() == sorted({template for _, template, _ in rows.faces})
    pairs = zip(found.template_ids[found.first], found.template_ids[found.second], found.same, strict=True)
    assert [(int(a), int(b), int(c)) for a, b, c in pairs] == rows.pairs
    assert [gallery.name for gallery in found.galleries] == (["S1", "S2"] if kind == "ijbb" else ["G1", "G2"])
    assert found.probes is not None
    for read, written in zip((*found.galleries, found.probes), (*rows.galleries, rows.probes), strict=True):
        ids = found.template_ids[read.templates].tolist()
        assert dict(zip(ids, read.subjects.tolist(), strict=True)) == written


def test_ids_may_be_as_large_as_they_like(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=4, pictures=False)
    small = read_ijb(tmp_path)
    far = 2**31 - 1 - max(template for _, template, _ in rows.faces)
    rows.faces = [(name, template + far, medium) for name, template, medium in rows.faces]
    rows.pairs = [(a + far, b + far, c) for a, b, c in rows.pairs]
    rows.galleries = [{template + far: s for template, s in gallery.items()} for gallery in rows.galleries]
    rows.probes = {template + far: s for template, s in rows.probes.items()}
    write_rows(tmp_path, "ijbc", rows)
    large = read_ijb(tmp_path)
    assert large.template_ids.max() == 2**31 - 1
    assert np.array_equal(large.first, small.first)
    assert np.array_equal(large.second, small.second)
    rows.pairs[2] = (far + 1, far + 2, 1)
    write_rows(tmp_path, "ijbc", rows)
    with pytest.raises(InputError, match=rf"template_pair_label\.txt, row 3: template {far + 1} has no image"):
        read_ijb(tmp_path)


def test_without_galleries_there_is_no_search(tmp_path: Path) -> None:
    write_ijb(tmp_path, pictures=False)
    for file in tmp_path.glob("meta/*_1N_*"):
        file.unlink()
    found = read_ijb(tmp_path)
    assert (found.galleries, found.probes) == ((), None)


def test_columns_are_found_by_their_names_and_blank_lines_passed_over(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=3, pictures=False)
    path = tmp_path / "meta" / "ijbc_1N_probe_mixed.csv"
    lines = "".join(f'"a, b",{subject},x, {template} \n \n' for template, subject in rows.probes.items()) + "\t  "
    path.write_text("\ufeffFILENAME,subject_id,OTHER,Template_Id\n" + lines)
    found = read_ijb(tmp_path)
    assert found.probes is not None
    assert found.template_ids[found.probes.templates].tolist() == list(rows.probes)


@pytest.mark.parametrize(
    "name",
    ["name_5pts_score.txt", "template_pair_label.txt", "1N_gallery_G1.csv", "1N_gallery_G2.csv", "1N_probe_mixed.csv"],
)
def test_a_missing_piece_is_named(tmp_path: Path, name: str) -> None:
    write_ijb(tmp_path, pictures=False)
    (tmp_path / "meta" / f"ijbc_{name}").unlink()
    with pytest.raises(InputError, match=rf"meta/ijbc_{name} missing"):
        read_ijb(tmp_path)


def test_another_folder_is_none_of_ijb(tmp_path: Path) -> None:
    assert kind_of(tmp_path) is None
    assert kind_of(tmp_path / "absent") is None
    with pytest.raises(InputError, match=r"no meta/ijbb_face_tid_mid\.txt or meta/ijbc_face_tid_mid\.txt"):
        read_ijb(tmp_path)


def test_missing_images_are_an_error_only_where_they_are_needed(tmp_path: Path) -> None:
    write_ijb(tmp_path, pictures=False)
    found = read_ijb(tmp_path)
    with pytest.raises(InputError, match="no loose_crop in it"):
        _ = found.images
    (tmp_path / "loose_crop.tar").touch()
    assert found.images == tmp_path / "loose_crop.tar"


def swap_points(rows: IjbRows) -> None:
    rows.faces[3], rows.faces[4] = rows.faces[4], rows.faces[3]


def unknown_template(rows: IjbRows) -> None:
    rows.pairs[6] = (rows.pairs[6][0], 3, 0)


def unknown_large_template(rows: IjbRows) -> None:
    rows.pairs[6] = (2**31 - 1, rows.pairs[6][1], 0)


def only_impostors(rows: IjbRows) -> None:
    rows.pairs = [(a, b, 0) for a, b, _ in rows.pairs]


def two_of_one_subject(rows: IjbRows) -> None:
    first, second = list(rows.galleries[0])[:2]
    rows.galleries[0][second] = rows.galleries[0][first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown_template, r"template_pair_label\.txt, row 7: template 3 has no image in ijbc_face_tid_mid\.txt"),
        (unknown_large_template, r"template_pair_label\.txt, row 7: template 2147483647 has no image"),
        (only_impostors, "only impostor pairs; both kinds are needed"),
        (two_of_one_subject, r"gallery_G1\.csv: subject \d+ has the templates \d+ and \d+; a gallery has one"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, change: Callable[[IjbRows], None], message: str) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    change(rows)
    write_rows(tmp_path, "ijbc", rows)
    with pytest.raises(InputError, match=message):
        read_ijb(tmp_path)


def test_both_files_of_images_have_the_same_order(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    points = tmp_path / "meta" / "ijbc_name_5pts_score.txt"
    before = points.read_text()
    swap_points(rows)
    write_rows(tmp_path, "ijbc", rows)
    points.write_text(before)
    with pytest.raises(InputError, match=r"5pts_score\.txt, row 4: 4\.jpg where ijbc_face_tid_mid\.txt has 5\.jpg"):
        read_ijb(tmp_path)
    points.write_text("".join(points.read_text().splitlines(keepends=True)[:-1]))
    swap_points(rows)
    media = tmp_path / "meta" / "ijbc_face_tid_mid.txt"
    media.write_text("".join(f"{n} {t} {m}\n" for n, t, m in rows.faces))
    with pytest.raises(InputError, match=rf"{len(rows.faces) - 1} rows where .* has {len(rows.faces)}"):
        read_ijb(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: no columns TEMPLATE_ID and SUBJECT_ID"),
        ("TEMPLATE_ID,NAME\n1,2\n", "row 1: no columns"),
        ("TEMPLATE_ID,SUBJECT_ID\n", "no templates after the first line"),
        ("TEMPLATE_ID,SUBJECT_ID\n{id},5\n\n{id},6\n", "row 4: template {id} is of subject 6, and of 5 before"),
        ("TEMPLATE_ID,SUBJECT_ID\n3,5\n", "row 2: template 3 has no image"),
        ("TEMPLATE_ID,SUBJECT_ID\n{id},x\n", "row 2: TEMPLATE_ID or SUBJECT_ID no id: {id},x"),
        ("TEMPLATE_ID,SUBJECT_ID\n{id}\n", "row 2: TEMPLATE_ID or SUBJECT_ID no id"),
        ("TEMPLATE_ID,SUBJECT_ID\n{id},2147483648\n", "row 2: TEMPLATE_ID or SUBJECT_ID no id"),
        ("TEMPLATE_ID,SUBJECT_ID\n{id}," + "9" * 5000 + "\n", "1N_probe_mixed"),
        ("TEMPLATE_ID,SUBJECT_ID\n" + "x" * 200_000 + "\n", "not CSV"),
    ],
)
def test_a_wrong_list_of_templates_is_refused(tmp_path: Path, text: str, message: str) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    template = next(iter(rows.probes))
    (tmp_path / "meta" / "ijbc_1N_probe_mixed.csv").write_text(text.replace("{id}", str(template)))
    with pytest.raises(InputError, match=message.replace("{id}", str(template))) as caught:
        read_ijb(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_read_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    write_ijb(tmp_path, pictures=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_ijb(tmp_path).kind = "ijbb"  # type: ignore[misc]
