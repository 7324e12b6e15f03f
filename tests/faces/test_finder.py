"""elasticface.faces.finder: faces of all sizes, in photos that are turned any way, with points where they are."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.data.images.alignment import TEMPLATE, align
from elasticface.faces import Detections, FaceFinder, finder
from elasticface.faces.detector import Face

FACE_SHARE = 80 / 112
"""Width of the box in an aligned image."""


def worst(face, side, x, y):
    """The largest distance of a point from where the template has it, in a pasted face of this side, as a share."""
    return np.abs(face.points - (TEMPLATE * (side / 112) + [x, y])).max() / side


@pytest.mark.parametrize("width", [24, 40, 120, 300, 1000])
def test_faces_of_every_size_are_found_in_a_large_photo(rendered, photo_of, width):
    side = round(width / FACE_SHARE)
    # At 24 pixels YuNet misses another of the four, and puts the points of a third a tenth of the side off.
    photo = photo_of(1500, 2000, (rendered[1], side, 70, 60))
    (face,) = FaceFinder().find(photo)
    assert worst(face, side, 70, 60) < 0.08
    assert abs((face.box[2] - face.box[0]) / width - 1) < 0.3


def test_a_face_that_fills_the_photo_is_found(rendered):
    (face,) = FaceFinder().find(rendered[1][20:108, 16:96].copy())
    assert face.score > 0.8


def test_the_whole_of_a_photo_of_fifty_megapixels_is_looked_at(rendered, photo_of):
    placed = [(rendered[0], 42, 8560, 5700), (rendered[1], 420, 4200, 2600), (rendered[2], 4000, 20, 1500)]
    faces = FaceFinder(turned=False).find(photo_of(5773, 8660, *placed))
    assert len(faces) == 3
    for face, (_, side, x, y) in zip(faces, reversed(placed), strict=True):
        assert worst(face, side, x, y) < 0.1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_gives_the_points_of_the_upright_one(rendered, photo_of, quarters):
    photo = photo_of(300, 400, (rendered[2], 160, 130, 60))
    (upright,) = FaceFinder().find(photo)
    turned = np.ascontiguousarray(np.rot90(photo, quarters))
    (face,) = FaceFinder().find(turned)
    width, height = 399, 299
    x, y = upright.points.T
    expected = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[quarters]
    np.testing.assert_allclose(face.points, np.stack(expected, axis=1), atol=1e-6)
    assert face.box[0] < face.points[:, 0].min()
    assert face.box[3] > face.points[:, 1].max()


def test_faces_come_largest_first_and_once_each(rendered, photo_of):
    placed = [(rendered[0], 60, 20, 20), (rendered[1], 200, 300, 30), (rendered[2], 120, 120, 250)]
    faces = FaceFinder().find(photo_of(500, 600, *placed))
    assert len(faces) == 3
    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert worst(faces[0], 200, 300, 30) < 0.08


@pytest.mark.parametrize("photo", [np.zeros((1, 1, 3)), np.full((3, 900, 3), 255), np.zeros((640, 480, 3))])
def test_photos_without_a_face_have_none(photo):
    assert FaceFinder().find(photo.astype(np.uint8)) == []


def test_a_finder_is_pickled_to_workers(rendered, photo_of):
    photo = photo_of(200, 200, (rendered[0], 150, 20, 20))
    before, after = (it.find(photo)[0] for it in (FaceFinder(), pickle.loads(pickle.dumps(FaceFinder()))))
    np.testing.assert_array_equal(before.points, after.points)


def test_settings_are_told_and_checked():
    assert FaceFinder().name == "yunet-2023mar/1"
    assert FaceFinder(smallest=40, turned=False).name == "yunet-2023mar/1, smallest 40, upright only"
    with pytest.raises(InputError, match="smallest must be at least 12"):
        FaceFinder(smallest=5)


class _Scripted:
    """A detector that finds one face in the middle of whatever it sees, of the score that its picture's corner says."""

    name, upright_score = "scripted", 0.9

    def find(self, image):
        height, width = image.shape[:2]
        side = min(height, width) / 2
        points = (TEMPLATE / 112 - 0.5) * side + [width / 2, height / 2]
        box = np.array([width - side, height - side, width + side, height + side]) / 2
        return Detections(box[None], np.array([image[0, 0, 0] / 255]), points[None])


def test_the_orientation_with_the_highest_score_counts_and_sure_ones_are_not_tried_again():
    looked = []

    class Counting(_Scripted):
        def find(self, image):
            looked.append(image.shape)
            return super().find(image)

    photo = np.full((60, 60, 3), 240, np.uint8)
    assert len(FaceFinder(Counting()).find(photo)) == 1
    assert len(looked) == 3  # a pass, and a second one on the face and its mirror image


def test_a_candidate_that_the_second_pass_does_not_confirm_is_dropped():
    class Once(_Scripted):
        def find(self, image):
            found = super().find(image)
            return found if image.shape[0] != finder._CROP else Detections(*(part[:0] for part in vars(found).values()))

    assert FaceFinder(Once(), turned=False).find(np.full((60, 60, 3), 240, np.uint8)) == []


@pytest.mark.parametrize(("there", "most", "looks"), [(3, 3, 9), (3, 2, 7), (13, 3, 1)])
def test_more_faces_than_may_be_are_refused_and_far_more_are_not_looked_at(there, most, looks):
    looked = []

    class Row(_Scripted):
        def find(self, image):
            looked.append(image.shape)
            if image.shape[0] == finder._CROP:
                return super().find(image)
            found = super().find(np.full((60, 60, 3), 240, np.uint8))
            apart = np.arange(there) * 60.0
            boxes = found.boxes + apart[:, None] * (1, 0, 1, 0)
            points = found.points + apart[:, None, None] * (1, 0)
            return Detections(boxes, np.full(there, 0.94), points)

    photo = np.full((60, 60 * there, 3), 240, np.uint8)
    finding = FaceFinder(Row(), turned=False, most=most)
    if there <= most:
        assert len(finding.find(photo)) == there
    else:
        with pytest.raises(finder.TooManyFaces, match=f"more than {most} faces"):
            finding.find(photo)
    assert len(looked) <= looks


def test_points_in_one_place_are_no_face():
    class Collapsed(_Scripted):
        def find(self, image):
            found = super().find(image)
            return Detections(found.boxes, found.scores, np.zeros_like(found.points))

    assert FaceFinder(Collapsed(), turned=False).find(np.full((60, 60, 3), 240, np.uint8)) == []


def test_a_part_of_a_face_is_no_face_of_its_own():
    whole = Face(np.array([0.0, 0, 100, 100]), 0.95, TEMPLATE)
    part = Face(np.array([20.0, 30, 80, 90]), 0.8, TEMPLATE)
    beside = Face(np.array([90.0, 0, 190, 100]), 0.7, TEMPLATE)
    assert finder._one_a_face([part, beside, whole]) == [whole, beside]


def test_what_a_detector_sees_too_far_to_one_side_cancels_out():
    class Aslant(_Scripted):
        def find(self, image):
            found = super().find(image)
            return Detections(
                found.boxes + 9 * np.array([1, 0, 1, 0]), found.scores, found.points + 9 * np.array([1, 0])
            )

    photo = np.full((60, 60, 3), 240, np.uint8)
    straight, aslant = (FaceFinder(detector(), turned=False) for detector in (_Scripted, Aslant))
    (first,) = straight._scaled(photo, 1.0)
    (expected, found) = (finder._refined(photo, first) for finder in (straight, aslant))
    np.testing.assert_allclose(found.box, expected.box, atol=1e-9)
    np.testing.assert_allclose(found.points, expected.points, atol=1e-9)


@pytest.mark.parametrize("shrunk", [0.7, 2, 3.3, 6, 10.5])
def test_what_is_shrunk_for_the_second_pass_lies_where_the_map_has_it(shrunk):
    y, x = np.mgrid[0:900, 0:1200]
    blob = 255 * np.exp(-((x - 613.3) ** 2 + (y - 402.6) ** 2) / (2 * (9 * shrunk) ** 2))
    photo = np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)
    matrix = np.array([[1 / shrunk, 0, 100 - 613.3 / shrunk], [0, 1 / shrunk, 90 - 402.6 / shrunk]])
    crop = finder._warped(photo, matrix, 200)[..., 0].astype(np.float64)
    rows, columns = np.mgrid[0:200, 0:200]
    centre = (crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()
    np.testing.assert_allclose(centre, (100, 90), atol=0.06)


def test_in_a_very_long_photo_faces_of_all_widths_are_found(rendered, photo_of):
    placed = [(rendered[k % 3], side, 300 + 3000 * k, 20) for k, side in enumerate((60, 500, 700, 750))]
    faces = FaceFinder(turned=False).find(photo_of(780, 20_000, *placed))
    assert len(faces) == 4
    for face, (_, side, x, y) in zip(faces, reversed(placed), strict=True):
        assert worst(face, side, x, y) < 0.08


def test_a_box_without_area_hides_no_face():
    flat, face = (
        Face(np.array(box, float), score, TEMPLATE) for box, score in (((9, 9, 9, 80), 1), ((5, 5, 90, 90), 0.7))
    )
    assert finder._one_a_face([flat, face]) == [face]


@settings(max_examples=40)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    block=st.sampled_from([1, 3, 20, 500]),
    seed=st.integers(0, 2**32 - 1),
)
def test_of_any_picture_come_faces_that_can_be_aligned(height, width, block, seed):
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // block), -(-width // block), 3), np.uint8)
    photo = np.ascontiguousarray(np.kron(small, np.ones((block, block, 1), np.uint8))[:height, :width])
    for face in FaceFinder().find(photo):
        assert np.isfinite([*face.box, *face.points.ravel()]).all()
        assert face.area > 0
        assert 0 <= face.score <= 1
        assert align(photo, face.points).shape == (112, 112, 3)
