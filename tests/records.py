"""RecordIO written and read longhand, part by part, as dmlc-core's `recordio.h` and MXNet's `pack` describe it."""

import struct
from collections.abc import Sequence
from pathlib import Path

MAGIC = struct.pack("<I", 0xCED7230A)


def payload(label: float | Sequence[float], image: bytes, number: int = 0) -> bytes:
    """`IRHeader(flag, label, id, id2)` and the image; several labels follow the header, and flag counts them."""
    if isinstance(label, Sequence):
        return struct.pack("<IfQQ", len(label), 0, number, 0) + struct.pack(f"<{len(label)}f", *label) + image
    return struct.pack("<IfQQ", 0, label, number, 0) + image


def part(flag: int, data: bytes) -> bytes:
    return MAGIC + struct.pack("<I", flag << 29 | len(data)) + data + b"\0" * (-len(data) % 4)


def record(data: bytes) -> bytes:
    """One part, or, cut word by word wherever a word is the magic one, several."""
    words = [data[at : at + 4] for at in range(0, len(data), 4)]
    pieces = [b""]
    for word in words:
        if word == MAGIC:
            pieces.append(b"")
        else:
            pieces[-1] += word
    if len(pieces) == 1:
        return part(0, pieces[0])
    between = b"".join(part(2, piece) for piece in pieces[1:-1])
    return part(1, pieces[0]) + between + part(3, pieces[-1])


def read_all(content: bytes) -> list[bytes]:
    """The data of every record, going from part to part."""
    found, at, pieces = [], 0, []
    while at < len(content):
        assert content[at : at + 4] == MAGIC
        (word,) = struct.unpack_from("<I", content, at + 4)
        flag, length = word >> 29, word & (1 << 29) - 1
        pieces.append(content[at + 8 : at + 8 + length])
        at += 8 + length + -length % 4
        if flag in (0, 3):
            found.append(MAGIC.join(pieces))
            pieces = []
    assert not pieces
    return found


def write(folder: Path, payloads: Sequence[bytes], keys: Sequence[int] | None = None, name: str = "train") -> Path:
    """`train.rec` and `train.idx`."""
    folder.mkdir(parents=True, exist_ok=True)
    content, rows = b"", []
    for key, data in zip(keys or range(len(payloads)), payloads, strict=True):
        rows.append(f"{key}\t{len(content)}\n")
        content += record(data)
    (folder / f"{name}.rec").write_bytes(content)
    (folder / f"{name}.idx").write_text("".join(rows))
    return folder


def insightface(images: Sequence[tuple[bytes, float | Sequence[float]]], identities: int) -> list[bytes]:
    """The records of images, one identity after the other, in InsightFace's layout."""
    first = 1 + len(images)
    made = [payload((float(first), float(first + identities)), b"")]
    made += [payload(label, image, number) for number, (image, label) in enumerate(images, 1)]
    labels = [label[0] if isinstance(label, Sequence) else label for _, label in images]
    for identity in range(identities):
        own = [number for number, label in enumerate(labels, 1) if label == identity] or [0]
        made.append(payload((float(own[0]), float(own[-1] + 1)), b"", first + identity))
    return made
