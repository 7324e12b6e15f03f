"""Alignment: the least-squares similarity onto the template, against Umeyama's SVD written out longhand."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.data.images.alignment import SIZE, TEMPLATE, align, similarity

FIVE_POINTS = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]


def longhand_umeyama(source, target):
    """Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), (34)-(43)."""
    n = len(source)
    mean_x = np.array([sum(p[0] for p in source) / n, sum(p[1] for p in source) / n])
    mean_y = np.array([sum(p[0] for p in target) / n, sum(p[1] for p in target) / n])
    variance = sum(((p - mean_x) ** 2).sum() for p in source) / n
    covariance = sum(np.outer(q - mean_y, p - mean_x) for p, q in zip(source, target, strict=True)) / n
    u, d, vt = np.linalg.svd(covariance)
    s = np.diag([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / variance
    return np.column_stack([scale * rotation, mean_y - scale * rotation @ mean_x])


coordinates = st.floats(-2000, 2000, allow_subnormal=False)
five_points = (
    st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5)
    .map(np.array)
    .filter(lambda points: np.ptp(points, axis=0).max() > 1)
)


def residual(matrix, points):
    return ((points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE) ** 2).sum()


def test_the_template_is_that_of_the_arcface_family():
    assert SIZE == 112
    assert TEMPLATE.tolist() == FIVE_POINTS


@given(five_points)
def test_the_similarity_is_umeyamas(points):
    ours, longhand = similarity(points), longhand_umeyama(points, TEMPLATE)
    # Where the best rotation is not determined (zero correlation) the two may turn differently, and fit equally well.
    assert residual(ours, points) == pytest.approx(residual(longhand, points), rel=1e-9, abs=1e-9)
    if np.hypot(*ours[:, 0]) > 1e-6:
        np.testing.assert_allclose(ours, longhand, rtol=1e-6, atol=1e-6)


@given(five_points)
def test_it_is_a_rotation_times_a_scale_and_never_a_reflection(points):
    (a, minus_b, _), (b, a_again, _) = similarity(points)
    assert a == a_again
    assert minus_b == -b
    assert a * a_again - b * minus_b >= 0


def test_mirrored_landmarks_are_not_reflected_into_place():
    mirrored = TEMPLATE * [-1, 1] + [112, 0]
    matrix = similarity(mirrored)
    assert np.linalg.det(matrix[:, :2]) > 0
    assert residual(matrix, mirrored) > 100


@given(st.floats(-np.pi, np.pi), st.floats(0.05, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_a_rotated_scaled_and_shifted_template_is_brought_back_exactly(angle, scale, x, y):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ turn.T + [x, y]
    matrix = similarity(points)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-7)


def test_the_template_scales_with_the_size():
    np.testing.assert_allclose(similarity(TEMPLATE, 224), [[2, 0, 0], [0, 2, 0]], atol=1e-12)


def test_many_sets_of_landmarks_at_once_are_what_each_is_alone():
    points = np.random.default_rng(0).normal(60, 30, (2, 3, 5, 2))
    together = similarity(points)
    assert together.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(together[1, 2], similarity(points[1, 2]), atol=1e-12)


def test_landmarks_on_the_template_leave_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(image, TEMPLATE), image)
    np.testing.assert_array_equal(align(image, TEMPLATE.ravel()), image)


def test_dots_at_the_landmarks_of_a_turned_photo_come_to_lie_on_the_template():
    angle, scale = 0.4, 2.1
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ turn.T + [120, 15]
    photo = np.zeros((400, 400, 3), np.uint8)
    for x, y in points:
        cv2.circle(photo, (round(x), round(y)), 6, (255, 255, 255), -1)
    face = align(photo, points)
    assert face.shape == (112, 112, 3)
    _, _, _, centres = cv2.connectedComponentsWithStats((face[..., 0] > 127).astype(np.uint8))
    found = centres[1:]
    assert len(found) == 5
    for point in TEMPLATE:
        assert np.hypot(*(found - point).T).min() < 1


def test_the_face_is_black_where_the_photo_ends():
    face = align(np.full((112, 112, 3), 255, np.uint8), np.add(TEMPLATE, [40, 0]))
    assert (face[:, :71] == 255).all()
    assert (face[:, 73:] == 0).all()


@pytest.mark.parametrize("shape", [(5, 3), (4, 2), (10,), (2, 5)])
def test_another_number_of_points_is_an_error(shape):
    with pytest.raises(ValueError, match=r"landmarks must be \[\.\.\., 5, 2\], got"):
        similarity(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_an_error(value):
    points = TEMPLATE.copy()
    points[3, 1] = value
    with pytest.raises(ValueError, match="landmarks must be finite numbers"):
        similarity(points)


@pytest.mark.parametrize("place", [0.0, 0.1, 123.456, 1e6])
def test_five_points_in_one_place_are_an_error(place):
    with pytest.raises(ValueError, match="the five landmarks lie in one place"):
        similarity(np.full((5, 2), place))


def test_the_longest_photos_are_aligned_by_the_part_that_is_needed() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 40_000, 3), np.uint8)
    points = TEMPLATE * 0.4 + (39_000, 5)
    np.testing.assert_array_equal(align(photo, points), align(photo[:, 38_900:39_100], points - (38_900, 0)))
    with pytest.raises(ValueError, match="span more than 32,766 pixels"):
        align(photo, TEMPLATE * 500)
