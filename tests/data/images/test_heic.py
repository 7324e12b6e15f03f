"""elasticface.data.images.heic: photos of phones are read where pillow-heif is installed, and named where it is not."""

import io
import sys

import numpy as np
import pytest

from elasticface.data.images import heic
from elasticface.data.images.decoding import DamagedImage, decode
from elasticface.data.images.photos import Photos


def encoded(height=40, width=60):
    pillow_heif = pytest.importorskip("pillow_heif")
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = [250, 20, 20]  # red above, black below
    stream = io.BytesIO()
    pillow_heif.from_bytes("RGB", (width, height), pixels.tobytes()).save(stream, quality=95)
    return stream.getvalue()


def test_the_pixels_are_rgb():
    image = decode(encoded(), "a.heic")
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert image[5, 30, 0] > 200 > 60 > image[5, 30, 2]
    assert image[35, 30].max() < 60


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    data = encoded()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DamagedImage, match=r"a.heic: the image is HEIC; pip install elasticface\[heic\]"):
        decode(data, "a.heic")


@pytest.mark.parametrize("keep", [40, 300])
def test_an_image_that_is_cut_short_is_damaged(keep):
    with pytest.raises(DamagedImage, match=r"a\.heic: the image"):
        decode(encoded()[:keep], "a.heic")


def test_more_pixels_than_allowed_are_refused_before_they_take_memory(monkeypatch):
    data = encoded()
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "2000")
    with pytest.raises(DamagedImage, match="has 60x40 pixels, more than OPENCV_IO_MAX_IMAGE_PIXELS"):
        decode(data, "a.heic")


def test_avif_is_no_heic():
    assert not heic.is_heic(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf")
    assert not heic.is_heic(b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif")
    assert heic.is_heic(b"\0\0\0\x20ftypmif1\0\0\0\0mif1heic")


def test_pictures_of_kinds_that_are_not_read_are_named(tmp_path):
    for name in ("a.heic", "b.CR2", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    photos = Photos(tmp_path)
    assert photos.names == ["a.heic"]
    assert photos.left_out == {"b.CR2": "a kind of picture that is not read; convert it to JPEG or PNG"}
