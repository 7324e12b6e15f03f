"""What the tests of the rooms share: a studio with a few people in it, and longhand ways to look at a surface."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from elasticface.data.synthetic import asset
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.scene import Scene
from elasticface.data.synthetic.studio import Sitter, Studio


@pytest.fixture(scope="session")
def head() -> asset.Head:
    return asset.load()


@pytest.fixture(scope="session")
def studio() -> Studio:
    return Studio(0)


@pytest.fixture(scope="session")
def sitters(studio: Studio) -> list[Sitter]:
    """Four people, women and men among them, with head and skin."""
    people = [studio.person(number) for number in range(40)]
    women = [person for person in people if person.sex < 0.3][:2]
    men = [person for person in people if person.sex > 0.7][:2]
    return [studio.seat(person) for person in (*women, *men)]


@pytest.fixture(scope="session")
def person(studio: Studio) -> Person:
    """With glasses and a beard, so that both can vary."""
    someone = next(p for number in range(40) if (p := studio.person(number)).sex > 0.7)
    habits = replace(someone.habits, glasses=0.5, beard=0.6)
    return replace(someone, heterogeneity=1.0, habits=habits)


@pytest.fixture(scope="session")
def scenes(studio: Studio) -> list[Scene]:
    """Of many people, who vary more and less."""
    return [studio.scene(number, photo) for number in range(60) for photo in range(10)]


@pytest.fixture(scope="session")
def skin(head: asset.Head) -> NDArray[np.int32]:
    """The triangles [T, 3] of the skin that is seen from outside."""
    triangles = head.triangles[head.parts == asset.SKIN]
    return triangles[(head.inside_mouth[triangles] < 0.5).all(1)]


@pytest.fixture(scope="session")
def outermost() -> Callable[..., NDArray[np.float64]]:
    return _outermost


def _outermost(points: NDArray, triangles: NDArray, places: NDArray, step: float) -> NDArray[np.float64]:
    """How far out a surface reaches behind each place, by the slow rasteriser in float64.

    Args:
        points: [V, 3], two coordinates over the surface and the distance out.
        triangles: [T, 3]; those that are large in the coordinates, as at the seam of an angle, are left out.
        places: [N, 2], where to look.
        step: between the pixels that are looked at; the answer is that of the nearest.

    Returns:
        [N], -inf where there is no surface.
    """
    points, places = points.astype(np.float64), places.astype(np.float64)
    low, high = places.min(0) - step, places.max(0) + step
    corners = points[triangles][..., :2]
    triangles = triangles[(np.ptp(corners, axis=1) < 1.5).all(1)]
    columns, rows = np.ceil((high - low) / step).astype(int)
    pixels = np.column_stack([(points[:, :2] - low) / step, points[:, 2]])
    found, weights = asset.rasterise(pixels, triangles, rows, columns)
    out = np.where(found >= 0, (points[triangles[found], 2] * weights).sum(-1), -np.inf)
    column, row = np.floor((places - low) / step).astype(int).T
    return out[row, column]
