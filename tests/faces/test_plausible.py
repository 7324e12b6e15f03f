"""elasticface.faces.plausible: landmarks of the wrong kind are named, and whole files of them refused."""

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.data.images.alignment import TEMPLATE, similarity
from elasticface.faces.plausible import check_all, implausible, misfit

SWAPPED = TEMPLATE[[1, 0, 2, 4, 3]]
HEAD = np.array([[-31.5, -32, -5], [31.5, -32, -5], [0, 0, 27], [-26, 30, 5], [26, 30, 5]])
"""Five points of a head in three dimensions: x to the right, y down, z to the camera, in mm."""


def seen(yaw, pitch):
    """The head as a camera far away sees it, [5, 2]."""
    a, b = np.radians([yaw, pitch])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return (HEAD @ (about_x @ about_y).T)[:, :2] + 100


def test_the_misfit_is_what_the_best_similarity_leaves_over():
    points = TEMPLATE + np.random.default_rng(0).normal(0, 4, (5, 2))
    matrix = similarity(points)
    fitted = points @ matrix[:, :2].T + matrix[:, 2]
    spread = ((TEMPLATE - TEMPLATE.mean(0)) ** 2).sum()
    assert misfit(points) == pytest.approx(np.sqrt(((fitted - TEMPLATE) ** 2).sum() / spread))
    assert misfit(TEMPLATE * 3 + 7) == pytest.approx(0, abs=1e-6)
    assert misfit(np.ones((5, 2))) == 1


@pytest.mark.parametrize("yaw", [-90, -60, 0, 45, 90])
@pytest.mark.parametrize("pitch", [-40, 0, 40])
def test_no_pose_of_a_head_is_taken_for_wrong(yaw, pitch):
    assert implausible(seen(yaw, pitch), 200, 200) is None


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (SWAPPED, "left and right of the landmarks are swapped; left is left as seen in the upright picture"),
        (TEMPLATE * [-1, 1] + [112, 0], "left and right of the landmarks are swapped"),
        (TEMPLATE[[3, 4, 0, 1, 2]], "no face has its landmarks so"),
        (TEMPLATE / 112, "the landmarks span less than two pixels"),
        (TEMPLATE + 500, "the landmarks lie outside the photo, which has 120x110 pixels"),
        (TEMPLATE * 1e200, "the landmarks lie outside"),
    ],
)
def test_what_is_no_face_is_named(points, message):
    assert implausible(points, 120, 110).startswith(message)


def test_a_face_that_the_edge_cuts_off_is_one():
    assert implausible(TEMPLATE - [50, 0], 112, 112) is None


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (SWAPPED, "landmarks.csv: left and right, or x and y, are swapped in 20 of 20 rows; left is left as seen"),
        (TEMPLATE[:, ::-1], "left and right, or x and y, are swapped"),
        (TEMPLATE / 112, "half of its 20 landmarks span less than two pixels; they must be in pixels"),
        (TEMPLATE[[0, 1, 3, 4, 2]], "most of its 20 rows are no face's landmarks"),
    ],
)
def test_a_whole_file_of_them_is_refused_with_what_is_probably_wrong(points, message):
    with pytest.raises(InputError, match=message):
        check_all(np.stack([points + shift for shift in range(20)]), "landmarks.csv")


def test_a_few_wrong_rows_do_not_refuse_a_file():
    check_all(np.stack([*[TEMPLATE] * 6, *[SWAPPED] * 5]), "landmarks.csv")
    check_all(np.stack([seen(90, 0)] * 30), "a file of profiles")
