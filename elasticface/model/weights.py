"""Files of weights from elsewhere: read without running what is in them, and fitted to a backbone of ours.

Public weights come under the names that the network had in their authors' training: inside DDP, a Lightning module or
`torch.compile`, beside optimizer and class centres, and from before batch norm counted its batches.
"""

import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elasticface.base import files
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable

SUFFIXES = (".pth.tar", ".pth", ".pt", ".ckpt", ".safetensors")
"""How names of weights files end, in any case."""

_PREFIXES = ("module.", "features.module.", "model.", "backbone.", "_orig_mod.")
_NESTED = ("state_dict", "state_dict_backbone", "model")
_DEEPEST = 5  # prefixes on one name, and dicts in each other
_COUNT = "num_batches_tracked"  # of a batch norm, since torch 0.4.1; with a fixed momentum nothing reads it

_MOST_BYTES = 1 << 35
"""Of a file: 32 GiB, which is a training checkpoint with ten million class centres and their momentum."""

_FOREIGN = {
    re.compile(rb"(\xef\xbb\xbf)?\s*<"): "it is a web page; download the file itself",
    re.compile(rb"version https://git-lfs"): "it is a Git LFS pointer; fetch the file itself with git lfs pull",
}
"""How files begin that are saved under the name of another, and what they are."""


def suffix_of(path: Path) -> str | None:
    """The suffix of a weights file as it stands in its name; None for any other file."""
    return next((path.name[-len(suffix) :] for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a weights file, under the names that it has there.

    Args:
        path: a file that :func:`suffix_of` knows.

    Raises:
        InputError: it cannot be read, is larger than 32 GiB, or is no file of tensors alone.
    """
    label = printable(path)
    with files.reading(path), files.opened(path) as file:
        begin = file.read(512)
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise InputError(f"{label}: {size:,} bytes, more than the {_MOST_BYTES:,} that are read; is it the right file?")
    foreign = next((what for pattern, what in _FOREIGN.items() if pattern.match(begin)), None)
    if foreign is not None:
        raise InputError(f"{label}: not a file of weights alone: {foreign}")
    content = _read_safetensors(path) if path.name.lower().endswith(".safetensors") else _read_torch(path, size)
    for _ in range(_DEEPEST):
        if isinstance(content, dict):
            content = next((content[key] for key in _NESTED if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content or not all(map(_is_plain, content.values())):
        raise InputError(f"{label}: holds no state dict of tensors, neither itself nor under {', '.join(_NESTED)}")
    return {str(name): value for name, value in content.items()}


def fitted(state: Mapping[str, Tensor], network: nn.Module, source: Path, what: str) -> dict[str, Tensor]:
    """The tensors of ``state`` under the names and in the types of ``network``, every one of which must be there.

    Where names have a prefix that a training puts before them, such as "module.", tensors without it are something
    else's, a head's say, and are passed over. A batch norm without its number of batches gets 0.

    Args:
        state: as :func:`read` gives it.
        network: that they are for; it is left as it is.
        source: the file, for the message.
        what: the network is, for the message: "iresnet50 of size 512".

    Raises:
        InputError: a layer that is missing, has no place, or has another shape or kind of number.
    """
    wanted: dict[str, Tensor] = network.state_dict()
    prefix = _prefix(state, wanted)
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    uncounted = [name for name in wanted if _lacks_count(name, found)]
    found |= {name: torch.zeros_like(wanted[name], device="cpu") for name in uncounted}
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    others = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    if missing or extra or others:
        counts = {"missing": missing, "without a place": extra, "of another shape": others}
        told = ", ".join(f"{len(_layers(names))} {kind}" for kind, names in counts.items() if names)
        if others:
            example = f"{others[0]} is {list(found[others[0]].shape)} where {list(wanted[others[0]].shape)} is needed"
        elif missing:
            example = f"{missing[0]} {list(wanted[missing[0]].shape)} is missing"
        else:
            example = f"{printable(extra[0], 120)} {list(found[extra[0]].shape)[:8]} has no place"
        removed = f" (prefix {prefix} removed)" if prefix else ""
        raise InputError(
            f"{printable(source)}: does not fit {what}{removed}: it has {len(_layers(found))} layers where "
            f"{len(_layers(wanted))} are needed: {told}; {example}"
        )
    for name, value in wanted.items():
        if value.is_floating_point() != found[name].is_floating_point():
            raise InputError(f"{printable(source)}: does not fit {what}: {name} holds {found[name].dtype}")
    return {name: found[name].to(value.dtype) for name, value in wanted.items()}


def _prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What stands before most of the names that are wanted; of equal ones the shortest."""
    counts = Counter(prefix for name in state for prefix in _prefixes(name) if name.removeprefix(prefix) in wanted)
    if counts:
        return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)))
    # None fits: what all names have in common, for the message.
    return min((list(_prefixes(name))[-1] for name in state), key=len, default="")


def _prefixes(name: str) -> Iterator[str]:
    """All that a training may have put before ``name``: "", "module.", "module.model.", …"""
    prefix = ""
    yield prefix
    for _ in range(_DEEPEST):
        more = next((one for one in _PREFIXES if name.startswith(one, len(prefix))), None)
        if more is None:
            return
        prefix += more
        yield prefix


def _lacks_count(name: str, found: Mapping[str, Tensor]) -> bool:
    """Whether ``name`` is the number of batches of a batch norm that has all but that."""
    layer, _, part = name.rpartition(".")
    return part == _COUNT and name not in found and f"{layer}.running_mean" in found


def _layers(names: Mapping[str, Tensor] | list[str]) -> set[str]:
    return {name.rpartition(".")[0] or name for name in names}


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor that lies in memory as others do: a hostile file may hold sparse and quantised ones."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:  # KeyError: a type that torch doesn't have
        told = printable(first_line(error), 120)
        raise InputError(f"{printable(path)}: not a file of weights alone: damaged: {told}") from error


def _read_torch(path: Path, size: int) -> Any:
    """What `torch.save` wrote, unpickled by the machine of torch that knows tensors and plain values alone."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # torch.save does not compress: a part that becomes larger than the file was made to fill the memory.
                if sum(entry.file_size for entry in archive.infolist()) > size:
                    raise InputError(f"{printable(path)}: not a file of weights alone: it unpacks to more than it is")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TorchScript", category=UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # what torch.load raises on a file that is not its own differs by the file
        raise InputError(f"{printable(path)}: not a file of weights alone: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """A line for an error of torch.load, whose own text advises to load without safety."""
    told = str(error)
    advice = "reading that would run code, so it is not read; take a file that holds the network's state_dict() alone"
    if "TorchScript" in told:
        return f"it is a TorchScript archive; {advice}"
    match = re.search(r"GLOBAL (\S+)", told) if isinstance(error, pickle.UnpicklingError) else None
    if match is not None:
        return f"it holds a Python object, {printable(match[1], 120)}: a whole module, say; {advice}"
    return "it is damaged, or was not written by torch.save; fetch it again"
