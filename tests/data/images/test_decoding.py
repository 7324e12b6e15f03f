"""Decoding: every kind of image comes out as upright uint8 RGB, every damaged one as DamagedImage."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from elasticface.base.errors import InputError
from elasticface.data.images import decoding as images_module
from elasticface.data.images.decoding import IMAGE_SUFFIXES, DamagedImage, decode, encode, fit

SIDE = 48
# Red grows downwards and green to the right, so that a turned or mirrored image, or BGR, is told by its corners.
RAMP = np.linspace(20, 235, SIDE)
PICTURE = np.stack(np.broadcast_arrays(RAMP[:, None], RAMP[None, :], 128.0), axis=-1).astype(np.uint8)
PIL = Image.fromarray(PICTURE)


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b"")
    )


def jpeg_with_thumbnail() -> bytes:
    """A JPEG with a whole JPEG, end marker and all, inside its EXIF segment."""
    thumbnail = saved(PIL.resize((16, 16)), "JPEG")
    ifd = b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 14) + struct.pack("<H", 2)
    ifd += struct.pack("<HHII", 0x0201, 4, 1, 14 + 2 + 24 + 4) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    segment = ifd + bytes(4) + thumbnail
    jpeg = saved(PIL, "JPEG", quality=95)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


JPEGS = {
    "baseline": saved(PIL, "JPEG", quality=95),
    "progressive": saved(PIL, "JPEG", quality=95, progressive=True),
    "restart markers": saved(PIL, "JPEG", quality=95, restart_marker_blocks=2),
    "EXIF thumbnail": jpeg_with_thumbnail(),
    "grey": saved(PIL.convert("L"), "JPEG"),
}
GREY = np.repeat(np.asarray(PIL.convert("L"))[:, :, None], 3, axis=2)
ENCODED = {  # kind -> (bytes, the pixels they stand for, how far off a pixel may be)
    "RGB JPEG": (JPEGS["baseline"], PICTURE, 8),
    "progressive JPEG": (JPEGS["progressive"], PICTURE, 8),
    "JPEG with restart markers": (JPEGS["restart markers"], PICTURE, 8),
    "JPEG with thumbnail": (JPEGS["EXIF thumbnail"], PICTURE, 8),
    "MPO of two JPEGs": (saved(PIL, "MPO", quality=95, save_all=True, append_images=[PIL.rotate(90)]), PICTURE, 8),
    "CMYK JPEG": (saved(PIL.convert("CMYK"), "JPEG", quality=95), PICTURE, 8),
    "grey JPEG": (JPEGS["grey"], GREY, 8),
    "RGB PNG": (saved(PIL, "PNG"), PICTURE, 0),
    "uncompressed PNG": (saved(PIL, "PNG", compress_level=0), PICTURE, 0),
    "RGBA PNG": (saved(PIL.convert("RGBA"), "PNG"), PICTURE, 0),
    "grey PNG": (saved(PIL.convert("L"), "PNG"), GREY, 0),
    "grey and alpha PNG": (saved(PIL.convert("LA"), "PNG"), GREY, 0),
    "palette PNG": (saved(PIL.quantize(256), "PNG"), np.asarray(PIL.quantize(256).convert("RGB")), 0),
    "1-bit PNG": (saved(PIL.convert("1"), "PNG"), np.asarray(PIL.convert("1").convert("RGB")), 0),
    "16-bit PNG": (cv2.imencode(".png", PICTURE[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes(), PICTURE, 1),
    "16-bit grey PNG": (cv2.imencode(".png", GREY[:, :, 0].astype(np.uint16) * 257)[1].tobytes(), GREY, 1),
    "WebP": (saved(PIL, "WEBP", lossless=True), PICTURE, 0),
    "BMP": (saved(PIL, "BMP"), PICTURE, 0),
    "TIFF": (saved(PIL, "TIFF"), PICTURE, 0),
    "PPM": (saved(PIL, "PPM"), PICTURE, 0),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_every_kind_of_image_becomes_rgb(kind):
    data, expected, tolerance = ENCODED[kind]
    image = decode(data, kind)
    assert image.dtype == np.uint8
    assert image.shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=tolerance)


def test_transparent_pixels_keep_their_colour():
    transparent = PIL.convert("RGBA")
    transparent.putalpha(0)
    np.testing.assert_array_equal(decode(saved(transparent, "PNG"), "a"), PICTURE)


UPRIGHT = {  # EXIF orientation -> stored pixels to upright ones (TIFF 6.0, tag 274)
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation):
    wide = PIL.resize((SIDE, SIDE // 2))
    image = decode(saved(wide, "JPEG", quality=95, exif=with_orientation(orientation)), "turned")
    expected = UPRIGHT[orientation](np.asarray(wide))
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=10)


def test_exif_orientation_6_puts_the_stored_left_edge_on_top():
    image = decode(saved(PIL, "JPEG", quality=95, exif=with_orientation(6)), "turned").astype(int)
    # Stored: red grows downwards, green to the right. A quarter turn clockwise: red grows to the left, green downwards.
    assert image[24, 2, 0] > image[24, -3, 0] + 150
    assert image[-3, 24, 1] > image[2, 24, 1] + 150


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_an_image_of_one_pixel_decodes(format):
    assert decode(saved(PIL.crop((0, 0, 1, 1)), format), "dot").shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is a text file\n" * 20, "not an image"),
        (bytes(1000), "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\xff", "not an image"),
        (b"\xff\xd8", "not an image"),
        (b"\xff\xd8\xff", "cut short"),
        (b"\xff\xd8\xff\xd9", "not an image"),
        (b"\xff\xd8" + b"\xff\xe0\x00\x00" * 50, "cut short"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line_with_its_name(data, reason):
    with pytest.raises(DamagedImage, match=reason) as caught:
        decode(data, "alice/text.jpg")
    assert str(caught.value).startswith("alice/text.jpg: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, InputError)


@settings(max_examples=150)
@given(st.sampled_from(sorted(JPEGS)), st.floats(0, 1, exclude_max=True))
def test_a_jpeg_cut_anywhere_is_refused(kind, share):
    whole = JPEGS[kind]
    with pytest.raises(DamagedImage):
        decode(whole[: int(share * len(whole))], kind)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("missing", [1, 2, 3, 10])
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(kind, missing):
    with pytest.raises(DamagedImage, match="cut short"):
        decode(JPEGS[kind][:-missing], kind)


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(JPEGS)),
    st.floats(0.05, 1, exclude_max=True),
    st.sampled_from([bytes(20_000), b"\xff" * 5000, JPEGS["baseline"]]),
)
def test_a_cut_jpeg_is_refused_whatever_follows_it(kind, share, filling):
    """A download that was padded, or written over: libjpeg would paint the rest grey and say nothing."""
    whole = JPEGS[kind]
    # The cut is past the headers: within them, the filling could make up a segment that is whole.
    start = whole.rindex(b"\xff\xda") + 14
    cut = start + int(share * (len(whole) - 2 - start))
    with pytest.raises(DamagedImage):
        decode(whole[:cut] + filling, kind)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("trailing", [b"\0", b"junk" * 100, b"\xff\xda", JPEGS["baseline"], JPEGS["baseline"][:300]])
def test_bytes_after_the_end_of_a_jpeg_do_no_harm(kind, trailing):
    np.testing.assert_array_equal(decode(JPEGS[kind] + trailing, kind), decode(JPEGS[kind], kind))


@settings(max_examples=60)
@given(
    st.sampled_from([kind for kind in ENCODED if "JPEG" not in kind]), st.floats(0, 1, exclude_max=True), st.booleans()
)
def test_other_formats_cut_short_are_refused(kind, share, at_the_end):
    whole = ENCODED[kind][0]
    cut = len(whole) - 1 - int(20 * share) if at_the_end else int(share * len(whole))
    with pytest.raises(DamagedImage):
        decode(whole[:cut], kind)


def a_profile(name: bytes) -> bytes:
    """A colour profile in which libpng finds a mistake, and says so with its name."""
    profile = bytearray(136)
    profile[:4] = struct.pack(">L", len(profile))
    profile[12:24], profile[36:40], profile[64:68] = b"mntrRGB XYZ ", b"acsp", b"\x7f\xff\xff\xff"
    return name + b"\0\0" + zlib.compress(bytes(profile))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"iCCP", a_profile(b"x\n2026-11-30T00:00:00.000Z id=0123456789abcdef route=/forged \x1b[31m")),
        (b"tEXt", b"Author\nsecret\0name"),
        (b"gAMA", struct.pack(">L", 100_000)),
        (b"sBIT", b"\4\4\4\4"),
        (b"pHYs", b"secret"),
    ],
)
def test_a_pngs_metadata_changes_no_pixel_and_is_not_written_to_stderr(capfd, kind, data):
    plain = saved(PIL, "PNG")
    header = len(b"\x89PNG\r\n\x1a\n") + 12 + 13  # where IHDR ends
    image = decode(plain[:header] + png_chunk(kind, data) + plain[header:], "a.png")
    np.testing.assert_array_equal(image, PICTURE)
    assert capfd.readouterr().err == ""


@given(share=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_png_with_a_flipped_byte_is_refused_without_a_line_on_stderr(capfd, share):
    damaged = bytearray(saved(PIL, "PNG"))
    damaged[8 + int(share * (len(damaged) - 8))] ^= 0xFF  # behind the signature: without it, it is no PNG
    with pytest.raises(DamagedImage):
        decode(bytes(damaged), "flipped")
    assert capfd.readouterr().err == ""


def decoded_or_damaged(data: bytes) -> None:
    """Decodes ``data``; whatever becomes of it, it is one of the two things that decode promises."""
    try:
        image = decode(data, "noise")
    except DamagedImage as error:
        message = str(error)
    else:
        assert image.dtype == np.uint8
        assert image.shape == (*image.shape[:2], 3)
        message = "noise: decoded"
    assert message.startswith("noise: ")
    assert "\n" not in message


MAGIC = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"BM",
    b"GIF89a",
    b"II*\0",
    b"P6 9 9 255\n",
    b"RIFF\x40\0\0\0WEBPVP8 ",
]


@settings(max_examples=300)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_random_bytes_become_an_image_or_a_damaged_image_and_nothing_else(magic, noise):
    decoded_or_damaged(magic + noise)


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(ENCODED)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_an_image_with_changed_bytes_becomes_an_image_or_a_damaged_image(kind, changes):
    data = bytearray(ENCODED[kind][0])
    for share, value in changes:
        data[int(share * len(data))] = value
    decoded_or_damaged(bytes(data))


def test_a_header_that_claims_a_huge_image_is_refused():
    with pytest.raises(DamagedImage, match="OPENCV_IO_MAX_IMAGE_PIXELS"):
        decode(png_that_claims(60_000, 60_000), "bomb.png")
    with pytest.raises(DamagedImage):
        decode(png_that_claims(2**31 - 1, 2**31 - 1), "bomb.png")


# In a process of its own, since OpenCV takes its limits from the environment once, when it is imported.
CHILD = """
import sys
from elasticface.data.images.decoding import DamagedImage, decode
import cv2
for data in map(bytes.fromhex, sys.stdin.read().split()):
    try:
        print(decode(data, "image").shape)
    except DamagedImage as error:
        print(error)
print(cv2.getNumThreads())
"""


def child(*images: bytes, **environment: str) -> tuple[list[str], str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV_")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(image.hex() for image in images),
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_images_are_bounded_opencv_is_quiet_and_starts_no_threads():
    images = [
        JPEGS["baseline"][:-30],
        saved(PIL, "PNG")[:-30],
        saved(PIL, "TIFF")[:-30],
        png_that_claims(8_200, 8_200),
    ]
    (jpeg, png, tiff, bomb, threads), errors = child(*images)
    assert "cut short" in jpeg
    assert "cut short" in png
    assert "damaged" in tiff
    assert "OPENCV_IO_MAX_IMAGE_PIXELS" in bomb
    assert threads == "1"
    assert errors == ""


def test_the_users_own_limit_wins():
    (small, _), _ = child(saved(PIL, "PNG"), OPENCV_IO_MAX_IMAGE_PIXELS="100")
    assert "OPENCV_IO_MAX_IMAGE_PIXELS" in small


@pytest.mark.parametrize("shape", [(1, 1, 3), (48, 48, 3), (30, 70, 3)])
def test_png_gives_back_the_very_pixels(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(image, ".png"), "a"), image)
    np.testing.assert_array_equal(decode(encode(image[:, ::-1], ".png"), "a"), image[:, ::-1])


def test_jpeg_gives_back_nearly_the_pixels():
    np.testing.assert_allclose(decode(encode(PICTURE, ".jpg"), "a").astype(int), PICTURE.astype(int), atol=8)


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (PICTURE, ".webp"),
        (PICTURE, "jpg"),
        (PICTURE[:, :, 0], ".png"),
        (PICTURE / 255, ".png"),
        (PICTURE[:0], ".png"),
    ],
)
def test_encode_refuses_what_it_does_not_write(image, suffix):
    with pytest.raises(ValueError, match=r"image"):
        encode(image, suffix)


def test_an_image_of_the_right_size_is_handed_through():
    assert fit(PICTURE, SIDE) is PICTURE


@pytest.mark.parametrize("shape", [(1, 1), (200, 300), (50, 60), (50, 300), (113, 112)])
def test_any_image_is_fitted_to_the_size(shape):
    image = np.full((*shape, 3), (200, 100, 50), np.uint8)
    fitted = fit(image)
    assert fitted.shape == (112, 112, 3)
    assert (fitted == (200, 100, 50)).all()


def test_shrinking_averages_the_pixels_it_merges():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    longhand = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3), dtype=np.float64)
    np.testing.assert_allclose(fit(image, 16), longhand, atol=0.51)


def test_suffixes_are_lower_case_with_a_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp"} <= IMAGE_SUFFIXES


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(JPEGS)),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from([0, 0xC4, 0xD0, 0xD8, 0xD9, 0xDA, 0xFF])),
        max_size=4,
    ),
    st.floats(0, 1),
)
def test_the_fast_look_at_a_jpeg_never_says_otherwise_than_the_thorough_one(kind, changes, share):
    data = bytearray(JPEGS[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    data = bytes(data[: max(4, round(share * len(data)))])
    if images_module._is_plainly_whole(data):
        assert not images_module._jpeg_is_cut_short(data)


def test_the_fast_look_suffices_for_the_jpegs_that_are_written_here():
    assert images_module._is_plainly_whole(encode(np.zeros((112, 112, 3), np.uint8), ".jpg"))


def test_suffixes_are_told_from_the_bytes():
    image = np.zeros((2, 2, 3), np.uint8)
    assert images_module.suffix_of(encode(image, ".jpg")) == ".jpg"
    assert images_module.suffix_of(encode(image, ".png")) == ".png"
    assert images_module.suffix_of(saved(Image.fromarray(image), "WEBP")) == ".webp"
    for data in (b"", b"RIFF1234WAVE", b"BM" + bytes(50), b"GIF89a"):
        assert images_module.suffix_of(data) is None
