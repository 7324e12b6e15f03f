"""elasticface.data.images.pixels: every way in which a caller has an image comes to the same pixels."""

import numpy as np
import pytest
from PIL import Image

from elasticface.base.errors import InputError
from elasticface.data.images.decoding import DamagedImage, encode
from elasticface.data.images.pixels import to_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(PIXELS, ".png"))
    return path


@pytest.mark.parametrize(
    "given",
    [
        lambda path: path,
        lambda path: str(path),
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: Image.open(path),
        lambda path: Image.open(path).convert("RGBA"),
        lambda path: PIXELS,
    ],
)
def test_all_give_the_same_pixels(path, given):
    np.testing.assert_array_equal(to_pixels(given(path)), PIXELS)


def test_an_orientation_in_exif_is_applied_to_pil_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(to_pixels(Image.open(tmp_path / "turned.png")), np.rot90(PIXELS, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "photo 3: NoneType is no image; give a path, the bytes of a file, a PIL image or an array"),
        (7, "photo 3: int is no image"),
        ([[1, 2, 3]], "photo 3: list is no image"),
        (PIXELS.astype(np.float32), r"photo 3: an array of float32 \[20, 30, 3\]; give uint8"),
        (PIXELS[..., 0], r"photo 3: an array of uint8 \[20, 30\]"),
        (PIXELS[:0], r"photo 3: an array of uint8 \[0, 30, 3\]"),
        (b"", "photo 3: the image is empty"),
        ("nowhere/a.jpg", "nowhere/a.jpg: cannot be read: No such file"),
        ("a\0b.jpg", "cannot be read: its name has a NUL"),
        (Image.new("I", (3, 3)), "photo 3: a PIL image of mode I, whose white is unknown; convert it to 8 bits"),
    ],
)
def test_anything_else_is_refused_by_its_name(given, message):
    with pytest.raises(InputError, match=message):
        to_pixels(given, "photo 3")


def test_a_pil_image_of_a_damaged_file_is_damaged(tmp_path):
    data = encode(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8), ".png")
    (tmp_path / "short.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedImage, match="photo 3: a damaged image"):
        to_pixels(Image.open(tmp_path / "short.png"), "photo 3")


def test_a_pil_image_of_16_bits_keeps_the_upper_8_as_a_file_does(tmp_path):
    grey = np.random.default_rng(2).integers(0, 1 << 16, (20, 30), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(to_pixels(Image.open(tmp_path / "grey.png")), to_pixels(tmp_path / "grey.png"))
    np.testing.assert_array_equal(to_pixels(Image.fromarray(grey))[..., 1], grey >> 8)


def test_a_closed_pil_image_is_damaged():
    image = Image.fromarray(PIXELS)
    image.close()
    with pytest.raises(DamagedImage, match="photo 3: a damaged image: Operation on closed image"):
        to_pixels(image, "photo 3")
