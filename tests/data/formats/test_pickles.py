"""elasticface.data.formats.pickles: it reads what pickle writes, and runs nothing, whatever a pickle asks for."""

import io
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.data.formats import pickles
from elasticface.data.formats.pickles import Array, read_plain

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles") / "x.bin"


@pytest.fixture
def read(path: Path):
    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return read_plain(path)

    return read


@pytest.fixture
def refused(read):
    """The one line with which a pickle is refused."""

    def refused(content: bytes) -> str:
        with pytest.raises(InputError) as error:
            read(content)
        message = str(error.value)
        assert len(message.splitlines()) == 1
        assert len(message) < 400
        assert "x.bin: " in message
        return message

    return refused


# ---------------------------------------------------------------------------------------------- what pickle writes

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=300) | st.text(max_size=300),
    lambda values: st.lists(values, max_size=5) | st.lists(values, max_size=5).map(tuple),
    max_leaves=20,
)


@settings(max_examples=200)
@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS), python=st.booleans())
def test_plain_values_are_read_as_pickle_reads_them(path: Path, value: Any, protocol: int, python: bool) -> None:
    if python:  # the pickler written in Python chooses other opcodes here and there
        content = io.BytesIO()
        pickle._Pickler(content, protocol).dump(value)  # type: ignore[attr-defined]
        path.write_bytes(content.getvalue())
    else:
        path.write_bytes(pickle.dumps(value, protocol))
    found = read_plain(path)
    assert found == value
    assert repr(found) == repr(value)  # True is not 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["b1", "i1", "u1", "<i4", ">i4", "<u2", "<i8", ">i8", "u8"])
@pytest.mark.parametrize("layout", ["row", "column", "readonly", "fortran", "none"])
def test_arrays_have_the_values_that_numpy_wrote(protocol: int, name: str, layout: str, read) -> None:
    array = np.array([1, 0, 1, 1, 0], dtype=name)
    array = {
        "row": array,
        "column": array[:, None],
        "readonly": np.frombuffer(array.tobytes(), name),
        "fortran": np.asfortranarray(array[:, None]),
        "none": array[:0],
    }[layout]
    found = read(pickle.dumps(array, protocol))
    assert isinstance(found, Array)
    assert found.shape == array.shape
    assert found.is_flat
    assert found.flat().tolist() == array.ravel().tolist()
    if protocol != 5:
        old = pickle.dumps(array, protocol).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        if protocol < 4:  # later ones count the name's letters
            assert read(old).flat().tolist() == array.ravel().tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpys_scalars_are_numbers(protocol: int, read) -> None:
    values = [np.bool_(True), np.bool_(False), np.int64(-7), np.uint8(200), np.int32(1)]
    assert read(pickle.dumps(values, protocol)) == [1, 0, -7, 200, 1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bytearrays_and_empty_bytes_are_bytes(protocol: int, read) -> None:
    values = [b"", bytearray(), bytearray(b"a\xff"), b"a\xff"]
    assert read(pickle.dumps(values, protocol)) == [b"", b"", b"a\xff", b"a\xff"]


def test_numpy_1s_names_for_protocol_5_are_read(read) -> None:
    content = pickle.dumps(np.array([1, 2], np.uint8), 5)
    one = content.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
    one = one[:3] + struct.pack("<Q", len(one) - 11) + one[11:]
    assert read(one).flat().tolist() == [1, 2]


def test_what_is_referred_to_again_is_the_same_object(read) -> None:
    image = b"x" * 1000
    first, second, third = read(pickle.dumps([image, image, b"y"]))
    assert first is second
    assert third == b"y"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb"'a\xff\n\\'", b"a\xff\n\\"),
        (rb'"it' + rb"'" + rb's"', b"it's"),
        (b"''", b""),
        (rb"'\'\"'", b"'\""),
        (rb"'\x00\t'", b"\0\t"),
    ],
)
def test_python_2s_text_is_unescaped(text: bytes, value: bytes, read) -> None:
    assert read(b"S" + text + b"\n.") == value


# ---------------------------------------------------------------------------------------------- nothing is run


class Runs:
    """Pickled, it asks for a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_of_os_system_is_refused_by_its_name_and_not_made(
    protocol: int, tmp_path: Path, refused, monkeypatch
) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    message = refused(pickle.dumps(([Runs(os.system, "touch ran")], [True]), protocol))
    assert f"refused: it asks for {os.system.__module__}.system before byte " in message
    assert "refused: it asks for os.system before byte " in refused(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "refused: it asks for the opcode INST (69)" in refused(b"(S'touch ran'\nios\nsystem\n.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "numpy.load",
        "numpy.core.multiarray.fromfile",
        "numpy._core.multiarray.frombuffer",
        "numpy.f2py.compile",
        "builtins.eval",
        "builtins.getattr",
        "__builtin__.eval",
        "_codecs.decode",
        "codecs.encode",
        "elasticface.data.formats.pickles.read_plain",
        "builtins.bytes.fromhex",
        "Numpy.ndarray",
        "numpy.ndarray ",
        "x" * 150 + ".y",
        "esc\x1b[31m.ape",
    ],
)
def test_other_names_are_refused_in_every_spelling(name: str, refused) -> None:
    module, _, what = name.rpartition(".")
    lines = refused(f"c{module}\n{what}\n.".encode())
    words = module.encode(), what.encode()
    packed = refused(b"\x80\x04" + b"".join(b"\x8c" + bytes([len(word)]) + word for word in words) + b"\x93.")
    for message in (lines, packed):
        assert "refused: it asks for " in message
        assert name in message or not name.isprintable()
        assert message.isprintable()


@pytest.mark.parametrize(
    ("module", "name"), [("numpy", "core.multiarray._reconstruct"), ("numpy.core", "multiarray.scalar"), ("", "x")]
)
def test_a_name_is_its_module_and_what_is_in_it(module: str, name: str, refused) -> None:
    lines = refused(f"c{module}\n{name}\n.".encode())
    packed = refused(b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name)) + b"\x93.")
    assert f"refused: it asks for {module}.{name} before byte" in lines
    assert f"refused: it asks for {module}.{name} before byte" in packed


ALLOWED = {opcode.name for opcode in pickletools.opcodes if ord(opcode.code) in pickles._Unpickler.dispatch}


def test_the_opcodes_that_are_followed_are_those_of_plain_values() -> None:
    others = "INST OBJ NEWOBJ NEWOBJ_EX EXT1 EXT2 EXT4 PERSID BINPERSID DICT SETITEM BINFLOAT DUP POP NEXT_BUFFER LONG4"
    assert not ALLOWED & set(others.split())
    assert len(ALLOWED) == 44


NAMES = [b"c" + module.encode() + b"\n" + name.encode() + b"\n" for name, (module, *_) in pickles._NAMES.items()]
OTHERS = [b"N", b"K\x01", b"]", b")", b"C\x01a", b"V__setstate__\n", b"cnumpy\ndtype\nVu1\nK\x00K\x01\x87R"]


@pytest.mark.parametrize("target", [*NAMES, *OTHERS])
def test_no_object_gets_a_state_but_numpys_own(target: bytes, refused) -> None:
    for state in (b"N", b"]", b")", b"C\x01a", b"VName\nVname\n\x86", b"](Vname\nVx\ne", b"N]\x86", b"NN\x86"):
        assert "an object with a state (BUILD)" in refused(target + state + b"b.")


@pytest.mark.parametrize("called", [*OTHERS, b"cnumpy\nndarray\n\x85"])
def test_nothing_is_called_but_names(called: bytes, refused) -> None:
    for arguments in (b")", b"]", b"N", b"V__call__\n", b"](K\x00K\x00e"):
        assert "a call of what is no function" in refused(called + arguments + b"R.")


@pytest.mark.parametrize("called", NAMES)
def test_names_take_the_arguments_of_plain_values_alone(called: bytes, refused) -> None:
    for arguments in (b"N", b"VFalse\n", b"](" + b"N" * 5000 + b"e", *(name + b"\x85" for name in NAMES)):
        assert "with other arguments" in refused(called + arguments + b"R.")


@pytest.mark.parametrize("opcode", [o for o in pickletools.opcodes if o.name not in ALLOWED], ids=lambda o: o.name)
def test_every_other_opcode_is_refused_by_name(opcode: pickletools.OpcodeInfo, refused) -> None:
    code = opcode.code.encode("latin-1")
    for before in (b"N", b""):
        message = refused(before + code + b"\x01\n" * 10 + b".")
        assert f"it asks for the opcode {opcode.name} ({code.hex()})" in message


def test_what_is_no_pickle_is_refused_as_such(refused, tmp_path: Path) -> None:
    for content in (b"\xff\xd8\xff\xe0 JPEG", b"version https://git-lfs", b"\0" * 1000, b"<html>", b"PK\x03\x04"):
        assert "not a pickle" in refused(content), content
    assert "it is empty" in refused(b"")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_plain(tmp_path)
    with pytest.raises(InputError, match=r"absent\.bin: cannot be read: No such file"):
        read_plain(tmp_path / "absent.bin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x06N.", "protocol 6 of pickle"),
        (b"NN.", "values left over"),
        (b"(N.", "values left over"),
        (b"(.", "damaged pickle before byte 2, fetch it again"),  # values, marks and lists that are not there
        (b".", "damaged pickle before byte 1, fetch it again"),
        (b"Na.", "damaged pickle"),
        (b"NNa.", "no attribute 'append'"),
        (b"(NNt(e.", "no attribute 'append'"),
        (b"(e.", "damaged pickle"),
        (b"t.", "damaged pickle"),
        (b"N(\x85.", "damaged pickle"),
        (b"NN(N\x87.", "damaged pickle"),
        (b"g5\n.", "Memo value not found at index 5"),
        (b"h\x05.", "Memo value not found at index 5"),
        (b"p0\n.", "damaged pickle"),
        (b"Np\n.", "invalid literal"),
        (b"Ione\n.", "invalid literal"),
        (b"L" + b"9" * 10_000 + b"L\n.", "the line at byte 1 has no end"),
        (b"I5", "the line at byte 1 has no end"),
        (b"S'abc\n.", "must be quoted"),
        (b"S'\n.", "must be quoted"),
        (b"S'\\x'\n.", r"invalid .x escape"),
        (b"V\\u12\n.", "truncated"),
        (b"X\x01\0\0\0\xff.", "'utf-8' codec"),
        (b"K\x01K\x01\x93.", "requires str"),
        (b"cnumpy\nndarray\n)R.", r"other arguments \(ndarray\)"),
        (b"c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0rot\x86R.", r"other arguments \(encode\)"),
        (b"c_codecs\nencode\nV\\u1234\nVlatin1\n\x86R.", "'latin-1' codec"),
        (b"cbuiltins\nbytes\nK\x05\x85R.", r"other arguments \(bytes\)"),  # bytes(5) would be five zeros
        (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", r"other arguments \(bytearray\)"),
        (b"cnumpy\ndtype\n(U\x02O8I0\nI1\ntR.", "numpy values of type 'O8'"),
        (b"cnumpy\ndtype\n(U\x03V16I0\nI1\ntR.", "numpy values of type 'V16'"),
        (b"cnumpy\ndtype\n(U\x02f8I0\nI1\ntR.", "numpy values of type 'f8'"),
    ],
)
def test_a_wrong_pickle_is_refused_with_what_is_wrong(content: bytes, message: str, read) -> None:
    with pytest.raises(InputError, match=message):
        read(content)


def array_of(shape: bytes, data: bytes, code: bytes = b"u1", order: bytes = b"|") -> bytes:
    """An array in protocol 2 as Python 2 writes it, ``shape`` in opcodes."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + (b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R(K\x03U\x01" + order)
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(data))
        + data
        + b"tb."
    )


def test_an_array_must_have_the_bytes_of_its_shape(read, refused) -> None:
    assert read(array_of(b"K\x03\x85", b"abc")).flat().tolist() == [97, 98, 99]
    assert read(array_of(b"K\x02\x85", b"\0\1\0\0", b"i2", b">")).flat().tolist() == [1, 0]
    for shape in (b"K\x02\x85", b"K\x04\x85", b"J\xff\xff\xff\x7f\x85", b")", b"J\xff\xff\xff\x7f" * 3 + b"\x87"):
        assert "a numpy array of (" in refused(array_of(shape, b"abc"))
    for shape in (b"J\xff\xff\xff\xff\x85", b"N\x85", b"(" + b"K\x01" * 33 + b"t", b"L" + b"9" * 190 + b"L\n\x85"):
        assert "impossible shape" in refused(array_of(shape, b"a"))
    assert "has 3 bytes, not 24" in refused(array_of(b"K\x03\x85", b"abc", b"i8"))
    assert "unknown byte order" in refused(array_of(b"K\x03\x85", b"abc", order=b"x"))


# ---------------------------------------------------------------------------------------------- hostile sizes

CLAIMS = {
    "FRAME": 8, "BINBYTES8": 8, "BINUNICODE8": 8, "BYTEARRAY8": 8, "BINBYTES": 4, "BINUNICODE": 4, "BINSTRING": 4,
    "SHORT_BINBYTES": 1, "SHORT_BINUNICODE": 1, "SHORT_BINSTRING": 1, "LONG1": 1,
}  # fmt: skip


def peak(read, content: bytes) -> int:
    """Bytes that reading takes at most, beyond the file's own, whether it ends in a value or an InputError."""
    tracemalloc.start()
    try:
        read(content)
    except InputError:
        pass
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("name", CLAIMS)
def test_a_length_beyond_the_file_takes_no_memory(name: str, read, refused) -> None:
    (code,) = (opcode.code.encode("latin-1") for opcode in pickletools.opcodes if opcode.name == name)
    width = CLAIMS[name]
    for length in {1: [255], 4: [2**31 - 1], 8: [10 * 2**30, 2**63 - 1]}[width]:
        content = code + length.to_bytes(width, "little") + b"abc."
        assert "bytes should follow byte" in refused(content)
        assert peak(read, content) < 1 << 20
    assert peak(read, code + b"\xff" * width + b"abc.") < 1 << 20


@pytest.mark.parametrize("place", [b"r\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"p9999999999\n"])
def test_a_far_place_in_the_memo_takes_no_memory(place: bytes, read) -> None:
    content = b"K\x05" + place + b"."
    assert read(content) == 5
    assert peak(read, content) < 1 << 20


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_is_cut_short_anywhere_is_refused(protocol: int, refused) -> None:
    content = pickle.dumps(([b"a\xff", np.array([1, 2], np.uint8)], [True, np.bool_(False)], "text"), protocol)
    for length in range(len(content)):
        refused(content[:length])


def test_laughs_by_reference_stay_small(read, refused) -> None:
    """Thirty lists, each a hundred times the one before: a pickle of some kilobytes that stands for 10⁶⁰ entries."""
    laughs = b"(lp0\n" + b"".join(b"(" + b"g%d\n" % level * 100 + b"lp%d\n" % (level + 1) for level in range(30))
    assert peak(read, b"(" + laughs + b"t.") < 1 << 20
    deep = b"\x80\x04]\x94" + b"".join(b"(" + b"h%c" % level * 100 + b"l\x94" for level in range(30))
    assert peak(read, b"(" + deep + b"t.") < 1 << 20


def test_bytes_that_are_computed_again_and_again_are_refused(read, refused) -> None:
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    arguments = b"c_codecs\nencode\nq\x00" + text + b"X\x06\0\0\0latin1\x86q\x01"
    content = b"\x80\x02](" + arguments + b"h\x00h\x01R" * 10_000 + b"e."
    assert "much larger than the file" in refused(content)
    assert peak(read, content) < 10 * len(content)


def test_a_list_may_hold_itself(read) -> None:
    found = read(b"\x80\x02]q\x00h\x00a.")
    assert found[0] is found


@pytest.mark.parametrize(
    "content",
    [
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"N" + b"\x85" * 500_000 + b".",
        b"(" * 500_000 + b"l" * 500_000 + b".",
    ],
    ids=["lists", "tuples", "marks"],
)
def test_deep_nesting_is_read_without_recursion(content: bytes, read) -> None:
    read(content)


def test_a_long_line_of_digits_is_no_number(refused) -> None:
    for code in (b"I", b"L", b"p", b"g", b"c"):
        assert "has no end" in refused(b"N" + code + b"9" * 1_000_000 + b"\n.")


def test_endless_steps_are_refused(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MOST_STEPS", 1000)
    assert "more than 1,000 opcodes" in refused(b"]" + b"Na" * 1000 + b".")


@pytest.mark.parametrize("protocol", [0, 1])
def test_the_largest_packs_need_less_than_half_of_the_steps(
    protocol: int, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = 7_000  # CFP's; and the costliest way there is to write them
    same = [np.int64(number % 2) for number in range(pairs)]
    faces = [np.frombuffer(b"%05d" % number, np.uint8).reshape(1, -1) for number in range(2 * pairs)]
    monkeypatch.setattr(pickles, "MOST_STEPS", pickles.MOST_STEPS // 2)
    images, flags = read(pickle.dumps((faces, same), protocol))
    assert (len(images), images[-1].data, flags) == (2 * pairs, b"13999", same)


def test_the_largest_number_of_objects_stays_within_a_gigabyte(read) -> None:
    """What a tenth of the steps takes, in the costliest way there is: a list, and a place in the memo for it."""
    steps = pickles.MOST_STEPS // 10
    assert peak(read, b"(" + b"]\x94" * (steps // 2 - 2) + b"l.") < 2**30 // 10
