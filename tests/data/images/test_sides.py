"""elasticface.data.images.sides: what a header claims is what decoding gives, for every format that can be a bomb."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from elasticface.base.errors import InputError
from elasticface.data.images import decoding
from elasticface.data.images.decoding import DamagedImage, decode, decode_aligned
from elasticface.data.images.sides import sides

WIDTH, HEIGHT = 40, 130
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
EXIF = Image.Exif()
EXIF[0x010E] = "x" * 300


def by_pillow(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, format, **options)
    return file.getvalue()


def by_opencv(suffix: str) -> bytes:
    return cv2.imencode(suffix, PIXELS)[1].tobytes()


def core_bmp() -> bytes:
    """The oldest BMP, whose sides have 16 bits."""
    row = bytes(3 * WIDTH)
    start = b"BM" + (26 + len(row) * HEIGHT).to_bytes(4, "little") + bytes(4) + (26).to_bytes(4, "little")
    numbers = [(12, 4), (WIDTH, 2), (HEIGHT, 2), (1, 2), (24, 2)]
    return start + b"".join(value.to_bytes(size, "little") for value, size in numbers) + row * HEIGHT


def bmp_from_the_top() -> bytes:
    data = bytearray(by_opencv(".bmp"))
    data[22:26] = (-HEIGHT).to_bytes(4, "little", signed=True)
    return bytes(data)


GREY = Image.fromarray(PIXELS).convert("L")
FILES = {
    "png": by_opencv(".png"),
    "png palette": by_pillow("PNG", Image.fromarray(PIXELS).convert("P")),
    "jpeg": by_opencv(".jpg"),
    "jpeg progressive": by_pillow("JPEG", progressive=True),
    "jpeg exif": by_pillow("JPEG", exif=EXIF),
    "jpeg grey": by_pillow("JPEG", GREY),
    "jpeg fill": by_opencv(".jpg")[:2] + b"\xff\xff" + by_opencv(".jpg")[2:],
    "webp": by_pillow("WEBP", quality=50),
    "webp lossless": by_pillow("WEBP", lossless=True),
    "webp exif": by_pillow("WEBP", exif=EXIF),
    "bmp": by_opencv(".bmp"),
    "bmp from the top": bmp_from_the_top(),
    "bmp core": core_bmp(),
    "gif": by_pillow("GIF", GREY),
    "tiff": by_opencv(".tif"),
    "tiff lzw": by_pillow("TIFF", compression="tiff_lzw"),
    "tiff big-endian": by_pillow(
        "TIFF", Image.fromarray(np.arange(WIDTH * HEIGHT, dtype=">u2").reshape(HEIGHT, WIDTH))
    ),
    "avif": by_opencv(".avif"),
    "jpeg 2000": by_pillow("JPEG2000"),
    "jpeg 2000 codestream": by_pillow("JPEG2000", no_jp2=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_the_header_claims_is_what_decoding_gives(kind: str) -> None:
    assert sides(FILES[kind]) == (WIDTH, HEIGHT)
    assert decode(FILES[kind], kind).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", FILES)
@given(length=st.integers(0, 200))
def test_a_header_that_is_cut_short_says_nothing_or_the_same(kind: str, length: int) -> None:
    assert sides(FILES[kind][:length]) in (None, (WIDTH, HEIGHT))


@pytest.mark.parametrize("data", [b"", b"x", b"P6\n40 130\n255\n" + PIXELS.tobytes(), bytes(200), b"BM" + bytes(200)])
def test_of_anything_else_nothing_is_said(data: bytes) -> None:
    assert sides(data) is None


def test_a_png_whose_header_is_damaged_says_nothing() -> None:
    data = bytearray(FILES["png"])
    data[18] ^= 64
    assert sides(bytes(data)) is None
    with pytest.raises(DamagedImage):
        decode_aligned(bytes(data), "x.png", HEIGHT, str)


@pytest.mark.parametrize("kind", FILES)
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_make_a_face_of_another_size(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[kind])
    for at, value in changes:
        data[at % len(data)] = value
    try:
        face = decode_aligned(bytes(data), kind, WIDTH, str)
    except InputError:
        return
    assert face.shape == (WIDTH, WIDTH, 3)


# ---------------------------------------------------------------------------------------------- aligned faces


def said(why: str) -> str:
    return f"lfw: 1.jpg: {why}; align it"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each image that is decoded."""
    calls: list[int] = []
    imdecode = decoding.cv2.imdecode

    def counting(*arguments: object) -> object:
        calls.append(1)
        return imdecode(*arguments)

    monkeypatch.setattr(decoding.cv2, "imdecode", counting)
    return calls


@pytest.mark.parametrize("kind", FILES)
def test_a_face_of_another_size_is_refused_without_decoding(kind: str, decoded: list[int]) -> None:
    with pytest.raises(InputError, match=r"^lfw: 1\.jpg: 40x130 is no aligned face of 112x112; align it$") as caught:
        decode_aligned(FILES[kind], "1.jpg", 112, said)
    assert not isinstance(caught.value, DamagedImage)
    assert decoded == []


def test_where_the_header_does_not_say_the_pixels_do(decoded: list[int]) -> None:
    with pytest.raises(InputError, match=r"^lfw: 1\.jpg: 40x130 is no aligned face of 112x112; align it$"):
        decode_aligned(by_opencv(".ppm"), "1.jpg", 112, said)
    assert decoded == [1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".ppm"])
def test_an_aligned_face_is_what_decode_gives(suffix: str, decoded: list[int]) -> None:
    data = cv2.imencode(suffix, PIXELS[:40])[1].tobytes()
    face = decode_aligned(data, "x", 40, said)
    assert decoded == [1]
    np.testing.assert_array_equal(face, decode(data, "x"))


def test_a_damaged_face_of_another_size_is_a_damaged_one() -> None:
    with pytest.raises(DamagedImage, match=r"^1\.jpg: the image is cut short"):
        decode_aligned(FILES["jpeg"][:-50], "1.jpg", 112, said)
