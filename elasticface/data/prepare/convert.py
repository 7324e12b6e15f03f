"""From one format of labelled faces to another, without touching what need not be touched, and checked afterwards."""

import hashlib
import json
import os
import shlex
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from elasticface.base import files, keyed, progress, records
from elasticface.base.ahead import map_ahead
from elasticface.base.errors import InputError, Stopped
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.data.images.decoding import DamagedImage, decode, encode, fit, suffix_of
from elasticface.data.opening import open_dataset
from elasticface.data.prepare import targets
from elasticface.data.prepare.targets import Item
from elasticface.data.sources import LARGEST_SIDE, EncodedSource, Source

Format = Literal["folder", "recordio", "shards"]

RECORD, BAD_ITEMS = "convert.json", "bad_items.jsonl"
CHUNK = 4096
"""Images in a step, from which a stopped conversion is resumed; in a conversion to shards each shard is a step."""

_STATE_FILE = "state.json"
_SUM = 1 << 256
_Count = Annotated[int, Meta(ge=0)]
_Hexadecimal = Annotated[str, Meta(pattern="^[0-9a-f]{0,64}$")]


@dataclass(frozen=True)
class Arguments:
    """What the result depends on."""

    source: str
    images: int  # in the source
    labels: str  # SHA-256 of the source's
    to: str
    size: int
    per_shard: int
    seed: int


@dataclass(frozen=True)
class Summary:
    """What was made of what."""

    out: str
    to: str
    images: int = 0  # written
    identities: int = 0  # of these images
    without_images: int = 0  # identities of the source of which none was written
    carried: int = 0  # of the images: their bytes are the source's
    damaged: int = 0  # of the source's: left out, named in `bad_items.jsonl`
    checksum: _Hexadecimal = ""  # the sum of SHA-256 over every image's label and pixels

    def lines(self) -> list[str]:
        """For the terminal."""
        made = self.images - self.carried
        lines = [f"{self.to}: {self.images:,} images of {self.identities:,} identities"]
        lines.append(f"bytes carried over as they were: {self.carried:,}; encoded again, as PNG: {made:,}")
        if self.without_images:
            what = "no folder, so the labels after them move up" if self.to == "folder" else "the labels stay"
            lines.append(f"identities without an image: {self.without_images:,}; {what}")
        if self.damaged:
            lines.append(f"damaged and left out: {self.damaged:,}, named in {printable(Path(self.out) / BAD_ITEMS)}")
        lines.append(f"verified: every label and pixel read back is the source's ({self.checksum[:16]}…)")
        return [*lines, printable(self.out)]


@dataclass(frozen=True)
class _State:
    """How far a conversion is; written to ``state.json`` after every step."""

    arguments: Arguments
    summary: Summary
    steps: _Count = 0
    position: list[_Count] | None = None  # of the target
    bad_bytes: _Count = 0  # of `bad_items.jsonl`


def convert(
    source: str | Path,
    out: str | Path,
    to: Format,
    *,
    size: int = 112,
    per_shard: int = 10_000,
    seed: int = 0,
    resume: bool = False,
) -> Summary:
    """Write the images of one set as another: a folder of identity folders, RecordIO, or shards.

    A JPEG, PNG or WebP that has the size already is carried over byte for byte; another image is resized where need be
    and encoded as PNG, so that its pixels stay. A damaged one is left out and named in ``out/bad_items.jsonl``. Labels
    stay as they are; but a folder cannot hold identities without images, so there the labels after these move up. In a
    folder, identities are named as in the source or, where that has numbers, by these in six digits.

    Folders and RecordIO come identity by identity; shards in a drawn order, in which a buffer mixes well.

    Then all is read back, and the sum of SHA-256 over every image's label and pixels must be the one that was taken
    from the source while writing. Only then ``out`` gets its name, with ``out/convert.json``, the summary.

    Args:
        source: what :func:`elasticface.data.open_dataset` opens.
        out: what to make; it must not be there.
        to: "folder", "recordio" or "shards".
        size: the images' side in pixels.
        per_shard: images a shard, at most.
        seed: of the order in shards.
        resume: continue a conversion that was stopped. What it has made is in a hidden folder beside ``out``.

    Raises:
        InputError: a setting out of range, ``out`` is there or is being made with other settings, no image is good, or
            what :func:`elasticface.data.open_dataset` raises.
        Stopped: Ctrl-C, a full disk, or what was read back is not what was written.
    """
    if to not in targets.TARGETS:
        raise InputError(f"--to must be one of {', '.join(targets.TARGETS)}, got {to}")
    if not 1 <= size <= LARGEST_SIDE or per_shard < 1 or seed < 0:
        raise InputError(
            f"size must be 1 to {LARGEST_SIDE}, images a shard at least 1 and seed at least 0, got {size}, {per_shard} "
            f"and {seed}"
        )
    out = Path(out)
    files.check_replaceable(out)
    work = out.with_name(f".{out.name}.partial")
    _check_out(source, out)
    resume_command = shlex.join(["elasticface", "convert", str(source), str(out), "--to", to, "--resume"])
    how_to_resume = f"resume, with the same settings, by: {resume_command}"
    try:
        with locked(work):
            if files.holds_something(work) and not resume:
                raise InputError(
                    f"{printable(out)}: a conversion into it was stopped; add --resume, or remove {printable(work)}"
                )
            faces = open_dataset(source, **({} if str(source).startswith("synthetic:") else {"size": size}))
            labels = hashlib.sha256(np.ascontiguousarray(faces.labels, "<i8").tobytes()).hexdigest()
            arguments = Arguments(os.path.realpath(source), len(faces), labels, to, size, per_shard, seed)
            state = _write(faces, work, _begin(work, arguments))
            summary = replace(state.summary, out=str(out), checksum=f"{int(state.summary.checksum or '0', 16):064x}")
            if not summary.images:
                shutil.rmtree(work)
                raise InputError(f"{printable(source)}: no image in it is good; {summary.damaged:,} are damaged")
            content = work / targets.CONTENT
            written = _verify(faces, content, arguments, summary)
            summary = replace(summary, identities=written, without_images=faces.num_classes - written)
            if summary.damaged:
                os.replace(work / BAD_ITEMS, content / BAD_ITEMS)
            files.write_json(content / RECORD, {"arguments": asdict(arguments), **asdict(summary)})
            os.rename(content, out)
            shutil.rmtree(work)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {how_to_resume}") from None
    except OSError as error:
        if error.errno not in files.NO_ROOM:
            raise
        raise Stopped(f"{printable(out)}: {error.strerror}; make room, then {how_to_resume}") from error
    return summary


def digest(label: int, image: NDArray[np.uint8]) -> int:
    """SHA-256 of a label (int64) and the pixels of an image, uint8 [H, W, 3], as a number to be added up mod 2²⁵⁶.

    Sums don't depend on the order, and unlike XOR they see an image that is there twice.
    """
    sha = hashlib.sha256(int(label).to_bytes(8, "little"))
    sha.update(np.ascontiguousarray(image).data)
    return int.from_bytes(sha.digest(), "big")


def _check_out(source: str | Path, out: Path) -> None:
    if out.exists():
        whole = " whole" if (out / RECORD).exists() else ""
        raise InputError(f"{printable(out)}: is there already{whole}; give a new name, or remove it")
    if os.path.isdir(source) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(source)):
        raise InputError(
            f"{printable(out)}: lies in the set that is converted; give a place outside {printable(source)}"
        )


def _begin(work: Path, arguments: Arguments) -> _State:
    """How far an earlier conversion with the same arguments was."""
    files.remove_temporaries(work)
    # Without a state it was stopped before its first step was done; without content after it had given that its name.
    if not all((work / name).exists() for name in (_STATE_FILE, targets.CONTENT)):
        shutil.rmtree(work / targets.CONTENT, ignore_errors=True)
        for name in (_STATE_FILE, BAD_ITEMS):
            (work / name).unlink(missing_ok=True)
        return _State(arguments, Summary("", arguments.to))
    state = records.read(work / _STATE_FILE, _State, f"remove {printable(work)} and begin again")
    if changed := records.changes(asdict(state.arguments), asdict(arguments)):
        raise InputError(
            f"{printable(work)}: of a conversion with other settings ({'; '.join(changed)}); give the same, or remove "
            "it"
        )
    if (work / BAD_ITEMS).exists():
        os.truncate(work / BAD_ITEMS, state.bad_bytes)
    return state


def _write(source: Source, work: Path, state: _State) -> _State:
    """Everything that is missing, step by step."""
    arguments = state.arguments
    order = _order(source, arguments)
    step = arguments.per_shard if arguments.to == "shards" else CHUNK
    names = source.class_names
    with targets.TARGETS[arguments.to](work / targets.CONTENT, names, state.position) as target, progress.bar() as bar:
        task = bar.add_task("converting", total=len(order), completed=min(state.steps * step, len(order)))
        for number in range(state.steps, -(-len(order) // step)):
            part = order[number * step : (number + 1) * step].tolist()
            items, bad = [], []
            for item in map_ahead(_reader(source, arguments.size), part):
                bar.advance(task)
                if isinstance(item, Item):
                    items.append(item)
                else:
                    bad.append(item)
            target.write(number, items)
            state = _next_state(state, work, items, bad, target.position())
            files.write_json(work / _STATE_FILE, asdict(state))
        if state.summary.images:
            target.finish(source.num_classes, arguments.size)
    return state


def _next_state(
    state: _State, work: Path, items: Sequence[Item], bad: Sequence[tuple[int, str]], position: list[int]
) -> _State:
    """How far it is after a step whose images are on the disk."""
    before = state.summary
    total = (int(before.checksum or "0", 16) + sum(item.digest for item in items)) % _SUM
    summary = replace(
        before,
        images=before.images + len(items),
        carried=before.carried + sum(item.carried for item in items),
        damaged=before.damaged + len(bad),
        checksum=f"{total:x}",
    )
    bad_bytes = state.bad_bytes
    if bad:
        with (work / BAD_ITEMS).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"index": index, "reason": reason}) + "\n" for index, reason in bad)
            file.flush()
            os.fsync(file.fileno())
            bad_bytes = file.tell()
    return _State(state.arguments, summary, state.steps + 1, position, bad_bytes)


def _reader(source: Source, size: int) -> Callable[[int], Item | tuple[int, str]]:
    """What makes an index of the source an item, or (index, reason). Called from several threads."""

    def read(index: int) -> Item | tuple[int, str]:
        try:
            if isinstance(source, EncodedSource):
                data, label = source.encoded(index)
                image = decode(data, source.name(index))
            else:
                (image, label), data = source[index], b""
        except DamagedImage as error:
            return index, str(error)
        suffix = suffix_of(data)
        carried = suffix is not None and image.shape[:2] == (size, size)
        if suffix is None or not carried:
            image = fit(image, size)
            data, suffix = encode(image, ".png"), ".png"
        return Item(index, label, data, suffix, carried, digest(label, image))

    return read


def _order(source: Source, arguments: Arguments) -> NDArray[np.int64]:
    if arguments.to == "shards":
        return keyed.generator(arguments.seed, "convert").permutation(len(source)).astype(np.int64)
    return np.argsort(source.labels, kind="stable")


def _verify(source: Source, content: Path, arguments: Arguments, summary: Summary) -> int:
    """Read everything back. Returns how many identities there are images of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* identities (has|have) no images")  # the source has warned of them
        made = open_dataset(content, size=arguments.size, **({} if arguments.to == "folder" else {"cache": False}))
    labels = targets.labels_of(made, source)

    def read(index: int) -> int:
        image, label = made[index]
        return digest(labels[label], image)

    total = sum(progress.track(map_ahead(read, range(len(made))), "verifying", len(made))) % _SUM
    if len(made) != summary.images or f"{total:064x}" != summary.checksum:
        raise Stopped(
            f"{printable(content)}: read back, its {len(made):,} images are not the {summary.images:,} that were "
            f"written; see to the disk and the memory, remove {printable(content.parent)} and begin again"
        )
    return len(np.unique(made.labels))
