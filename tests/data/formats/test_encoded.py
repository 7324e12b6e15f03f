"""One size for all images of a source, and identities that are numbers."""

import warnings

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.data.formats.encoded import EncodedImages, NumberNames, count_identities
from elasticface.data.images.decoding import DamagedImage, encode


class Repeated(EncodedImages):
    """One image eight times."""

    labels = np.arange(8)

    def __init__(self, data: bytes, name=lambda index: f"image {index}") -> None:
        super().__init__("set", 8)
        self._data, self._name = data, name

    def name(self, index: int) -> str:
        return self._name(index)

    def _bytes(self, index: int) -> bytes:
        return self._data


def test_names_are_numbers_made_when_they_are_asked_for():
    names = NumberNames(10**9)  # as a list, tens of gigabytes
    assert len(names) == 10**9
    assert (names[0], names[-1], names[12]) == ("0", "999999999", "12")
    assert names[3:6] == ["3", "4", "5"]
    assert list(NumberNames(3)) == ["0", "1", "2"]
    assert "2" in NumberNames(3)
    assert "3" not in NumberNames(3)
    with pytest.raises(IndexError):
        names[10**9]


def test_an_image_of_the_size_needs_no_name():
    image = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_array_equal(Repeated(encode(image, ".png"), pytest.fail)[0][0], image)


def test_one_warning_names_the_first_image_that_is_resized():
    images = Repeated(encode(np.zeros((6, 4, 3), np.uint8), ".png"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for index in range(2):
            assert images[index][0].shape == (8, 8, 3)
    (warning,) = told
    assert str(warning.message).startswith("set: images that are not 8x8 pixels are resized, such as image 0 of 4x6;")


def test_damage_is_named():
    with pytest.raises(DamagedImage, match=r"^image 7: the image is empty"):
        Repeated(b"")[7]


def test_a_size_below_one_is_refused():
    with pytest.raises(InputError, match="size must be at least 1 pixel, got 0"):
        EncodedImages.__init__(Repeated(b""), "set", 0)


@pytest.mark.parametrize(
    ("labels", "told", "count", "message"),
    [
        ([0, 1, 2], None, 3, None),
        ([0, 1, 2], 3, 3, None),
        ([2, 0], None, 3, "set: 1 of 3 identities has no images, such as 1"),
        ([0, 1], 4, 4, "set: 2 of 4 identities have no images, such as 2"),
        ([0, 1, 2], 2, 3, "set: says that it has 2 identities, its labels go up to 2"),
    ],
)
def test_identities_are_counted_by_the_largest_label_and_what_the_set_says(labels, told, count, message):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert count_identities(np.array(labels), told, "set") == count
    assert [message in str(warning.message) for warning in warned] == [True] * (message is not None)
