"""elasticface.data.formats.packs: whatever has written a pack, what was put in comes out, and nothing else comes in."""

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elasticface.data
from elasticface.base.errors import InputError
from elasticface.data.formats.packs import read_pack, write_pack

PROTOCOLS = range(6)
IMAGES = [
    b"\xff\xd8\xff\xe0" + bytes(range(256)),
    b"",
    b'it\'s "quoted"\n\\x',
    b"\x89PNG\r\n\x1a\n\0",
    b"a" * 300,
    b"\n",
]
SAME = [True, False, True]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs") / "lfw.bin"


def read(path: Path, content: bytes) -> tuple[list[bytes], list[bool]]:
    path.write_bytes(content)
    images, same = read_pack(path)
    assert all(type(image) is bytes for image in images)
    assert isinstance(same, np.ndarray)
    assert (same.dtype, same.ndim) == (np.bool_, 1)
    return images, same.tolist()


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"lfw\.bin: ") as error:
        read_pack(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# ---------------------------------------------------------------------------------------------- Python 3

OF_IMAGES: dict[str, Callable[[list[bytes]], Any]] = {
    "bytes": list,
    "a tuple": tuple,
    "bytearrays": lambda images: [bytearray(image) for image in images],
    "text": lambda images: [image.decode("latin-1") for image in images],
    "arrays": lambda images: [np.array(list(image), np.uint8) for image in images],
    "read-only arrays": lambda images: [np.frombuffer(image, np.uint8) for image in images],
    "columns": lambda images: [np.array(list(image), np.uint8)[:, None] for image in images],  # cv2.imencode's
}
OF_SAME: dict[str, Callable[[list[bool]], Any]] = {
    "bools": list,
    "a tuple": tuple,
    "ints": lambda same: [int(flag) for flag in same],
    "numpy bools": lambda same: [np.bool_(flag) for flag in same],
    "numpy ints": lambda same: [np.int64(flag) for flag in same],
    "a bool array": np.array,
    "an int array": lambda same: np.array(same, np.int64),
    "a big-endian array": lambda same: np.array(same, ">i4"),
    "a column": lambda same: np.array(same)[:, None],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("together", [tuple, list])
@pytest.mark.parametrize("of_same", OF_SAME)
@pytest.mark.parametrize("of_images", OF_IMAGES)
def test_every_flavour_of_python_3_is_read(
    of_images: str, of_same: str, together: type, protocol: int, path: Path
) -> None:
    content = together([OF_IMAGES[of_images](IMAGES), OF_SAME[of_same](SAME)])
    assert read(path, pickle.dumps(content, protocol)) == (IMAGES, SAME)


@settings(max_examples=100)
@given(
    pairs=st.lists(st.tuples(st.binary(max_size=400), st.binary(max_size=400), st.booleans()), min_size=1),
    of_images=st.sampled_from(sorted(OF_IMAGES)),
    of_same=st.sampled_from(sorted(OF_SAME)),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_whatever_was_put_in_comes_out(pairs: Any, of_images: str, of_same: str, protocol: int, path: Path) -> None:
    images = [image for a, b, _ in pairs for image in (a, b)]
    same = [flag for _, _, flag in pairs]
    assert read(path, pickle.dumps((OF_IMAGES[of_images](images), OF_SAME[of_same](same)), protocol)) == (images, same)


def test_flavours_may_be_mixed(path: Path) -> None:
    images = [make([image])[0] for make, image in zip(OF_IMAGES.values(), IMAGES, strict=False)]
    assert read(path, pickle.dumps((images, [True, 0, np.bool_(True)]))) == (IMAGES, SAME)


# ---------------------------------------------------------------------------------------------- Python 2


class Python2:
    """The opcodes that Python 2's cPickle writes for these values, as its source has them; every value is memoised."""

    def __init__(self, protocol: int) -> None:
        self.protocol, self.places, self.out = protocol, 0, b"\x80\x02" if protocol == 2 else b""

    def put(self) -> None:
        self.places += 1
        if self.protocol == 0:
            self.out += b"p%d\n" % self.places
        else:
            self.out += b"q%c" % self.places if self.places < 256 else b"r" + struct.pack("<I", self.places)

    def value(self, value: Any) -> None:
        text, binary = self.protocol == 0, self.protocol > 0
        match value:
            case None:
                self.out += b"N"
            case bool():
                self.out += (b"\x88" if value else b"\x89") if self.protocol == 2 else b"I01\n" if value else b"I00\n"
            case int() if text or value not in range(256):
                self.out += b"I%d\n" % value if text else b"J" + struct.pack("<i", value)
            case int():
                self.out += b"K%c" % value
            case bytes() if text:
                self.out += b"S" + ascii(value)[1:].encode() + b"\n"
                self.put()
            case bytes():
                self.out += b"U%c" % len(value) if len(value) < 256 else b"T" + struct.pack("<I", len(value))
                self.out += value
                self.put()
            case list():
                self.out += b"]" if binary else b"(l"
                self.put()
                if binary and value:
                    self.out += b"("
                for item in value:
                    self.value(item)
                    self.out += b"" if binary else b"a"
                self.out += b"e" if binary and value else b""
            case tuple() if self.protocol == 2 and 0 < len(value) < 4:
                for item in value:
                    self.value(item)
                self.out += b"_\x85\x86\x87"[len(value) : len(value) + 1]
                self.put()
            case tuple():
                self.out += b"("
                for item in value:
                    self.value(item)
                self.out += b"t"
                self.put()
            case np.ndarray():
                self.name("numpy.core.multiarray", "_reconstruct")
                self.call((Name("numpy", "ndarray"), (0,), b"b"))
                self.state((1, value.shape, value.dtype, False, value.tobytes()))
            case np.dtype():
                self.name("numpy", "dtype")
                self.call((value.str[1:].encode(), 0, 1))
                self.state((3, value.str[:1].encode(), None, None, None, -1, -1, 0))
            case np.generic():
                self.name("numpy.core.multiarray", "scalar")
                self.call((value.dtype, value.tobytes()))
            case Name():
                self.name(value.module, value.name)

    def name(self, module: str, name: str) -> None:
        self.out += f"c{module}\n{name}\n".encode()
        self.put()

    def call(self, arguments: tuple[Any, ...]) -> None:
        self.value(arguments)
        self.out += b"R"
        self.put()

    def state(self, state: tuple[Any, ...]) -> None:
        self.value(state)
        self.out += b"b"


class Name:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


def python_2(value: Any, protocol: int) -> bytes:
    writer = Python2(protocol)
    writer.value(value)
    return writer.out + b"."


def test_python_2s_opcodes_here_are_what_python_3_takes_them_for() -> None:
    """The writer above against Python's own reader."""
    for protocol in range(3):
        images = [np.array(list(image), np.uint8) for image in IMAGES]
        content = python_2((IMAGES, images, SAME, [np.bool_(True), np.int64(3)], -5, 70_000, None, ()), protocol)
        found = pickle.loads(content, encoding="bytes")
        assert found[0] == IMAGES
        assert [image.tobytes() for image in found[1]] == IMAGES
        assert found[2:] == (SAME, [True, 3], -5, 70_000, None, ())


@pytest.mark.parametrize("protocol", range(3))
@pytest.mark.parametrize("of_same", OF_SAME)
@pytest.mark.parametrize("of_images", ["bytes", "a tuple", "arrays", "columns"])
def test_every_flavour_of_python_2_is_read(of_images: str, of_same: str, protocol: int, path: Path) -> None:
    content = python_2((OF_IMAGES[of_images](IMAGES), OF_SAME[of_same](SAME)), protocol)
    assert read(path, content) == (IMAGES, SAME)


def test_a_pack_of_many_images_by_python_2_is_read(path: Path) -> None:
    images = [struct.pack("<I", number) * 70 for number in range(600)]
    for protocol in range(3):
        assert read(path, python_2((images, [True, False] * 150), protocol)) == (images, [True, False] * 150)


# ---------------------------------------------------------------------------------------------- written


def test_a_written_pack_is_read_by_everybody(path: Path) -> None:
    write_pack(path, IMAGES, np.array(SAME))
    images, same = pickle.loads(path.read_bytes())
    assert (images, same) == (IMAGES, SAME)
    assert all(type(image) is bytes for image in images)
    assert all(type(flag) is bool for flag in same)
    assert path.read_bytes()[:2] == b"\x80\x04"
    assert read(path, path.read_bytes()) == (IMAGES, SAME)


def test_the_same_content_makes_the_same_file(path: Path) -> None:
    once = [b"same", b"same", b"x", b"y"]
    again = [b"same", bytes(bytearray(b"same")), b"x", b"y"]
    assert again[0] is not again[1]
    written = []
    for images, same in ((once, [True, False]), (again, np.array([1, 0])), (tuple(again), (np.bool_(True), False))):
        write_pack(path, images, same)
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]


def test_an_old_pack_stays_where_writing_fails(path: Path) -> None:
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_pack(path, [b"a", "text"], [True])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("images", "same"),
    [([b"a"], [True]), ([b"a"] * 3, [True]), ([], []), ([b"a"] * 2, True), ([b"a"] * 2, [2]), ([b"a"] * 2, [[True]])],
)
def test_other_than_two_images_a_pair_are_not_written(images: list[bytes], same: Any, path: Path) -> None:
    with pytest.raises(ValueError, match="two images a pair"):
        write_pack(path, images, same)


# ---------------------------------------------------------------------------------------------- refused


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    "content",
    [
        ([Runs(), b"b"], [True]),
        ([b"a", b"b"], [Runs()]),
        ([b"a", b"b"], [True], Runs()),
        Runs(),
        {"a": Runs()},
    ],
    ids=["image", "flag", "third", "alone", "in a dict"],
)
def test_a_pack_that_would_run_something_is_refused(
    content: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in PROTOCOLS:
        message = refused(path, pickle.dumps(content, protocol))
        if not isinstance(content, dict):
            assert f"refused: it asks for {os.system.__module__}.system" in message
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (([b"a", b"b", b"c"], [True]), "3 images and 1 pairs, where there must be two images a pair"),
        (([b"a", b"b"], [True, False]), "2 images and 2 pairs"),
        (([], []), "0 images and 0 pairs"),
        (([], np.array([], bool)), "0 images and 0 pairs"),
        ([b"a", b"b"], "its images are of type bytes, not a list"),
        ([b"a", b"b", b"c"], "holds a list of 3, where a pack is a pair"),
        (b"bytes", "holds of type bytes"),
        (None, "holds nothing"),
        (([b"a", 5], [True]), "image 1 is of type int, not encoded bytes"),
        (([b"a", [b"b"]], [True]), "image 1 is a list of 1, not encoded bytes"),
        (([b"a", None], [True]), "image 1 is nothing, not encoded bytes"),
        (([b"a", "\u1234"], [True]), "image 1 is a text that is no bytes"),
        (([b"a", np.zeros((112, 112, 3), np.uint8)], [True]), r"image 1 is an array u1 \[112, 112, 3\], not encoded"),
        (([b"a", np.zeros(5, np.int64)], [True]), r"image 1 is an array i8 \[5\], not encoded"),
        ((np.zeros((2, 5), np.uint8), [True]), "its images are an array, not a list"),
        (([b"a", b"b"], [2]), "whether pair 0 is the same person is neither 0 nor 1"),
        (([b"a", b"b"] * 2, [1, -1]), "whether pair 1 is the same person is neither 0 nor 1"),
        (([b"a", b"b"] * 2, np.array([1, 7])), "whether pair 1 is the same person is neither 0 nor 1"),
        (([b"a", b"b"], [None]), "whether pair 0 is the same person is nothing"),
        (([b"a", b"b"], [b"x"]), "whether pair 0 is the same person is of type bytes"),
        (([b"a", b"b"], b"\1"), "whether pairs are the same person is of type bytes"),
        (([b"a", b"b"], np.ones((2, 2), bool)), r"is an array \[2, 2\], not \[P\]"),
        (([b"a", b"b"], [1.0]), "the opcode BINFLOAT"),
        (([b"a", b"b"], np.array([1.0])), "numpy values of type 'f8'"),
        ((np.array([b"a", b"b"], object), [True]), "numpy values of type 'O8'"),
        ({"images": [b"a", b"b"]}, "the opcode EMPTY_DICT"),
    ],
)
def test_what_is_no_pack_is_refused_with_what_it_holds(content: Any, message: str, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message):
        read_pack(path)


def test_booleans_that_are_neither_are_refused(path: Path) -> None:
    content = python_2((IMAGES[:2], np.array([True])), 2)
    assert read(path, content)[1] == [True]
    assert "neither 0 nor 1" in refused(path, content.replace(b"\x89U\x01\x01q", b"\x89U\x01\x02q"))


def test_a_pack_cut_short_anywhere_is_refused(path: Path) -> None:
    write_pack(path, IMAGES[:2], [True])
    content = path.read_bytes()
    for length in range(len(content)):
        refused(path, content[:length])


def test_one_text_for_all_images_is_turned_into_bytes_once(path: Path) -> None:
    images, _ = read(path, pickle.dumps((["\xff" * 100_000] * 2000, [True] * 1000)))
    assert len({id(image) for image in images}) == 1


# ---------------------------------------------------------------------------------------------- imports


def test_read_pack_is_in_data_and_brings_neither_torch_nor_opencv(path: Path) -> None:
    assert elasticface.data.read_pack is read_pack
    with pytest.raises(AttributeError, match="no attribute 'read_bag'"):
        _ = elasticface.data.read_bag  # type: ignore[attr-defined]
    write_pack(path, IMAGES, SAME)
    program = (
        "import sys; from elasticface import data; assert 'numpy' not in sys.modules; "
        f"images, same = data.read_pack({str(path)!r}); assert len(images) == 6; "
        "print({'torch', 'cv2'} & sys.modules.keys())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(elasticface.__file__).parent.parent)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert ended.stdout == "set()\n"
