"""Tensors of a checkpoint by name, without the training that they belong to: a checkpoint is a model, too.

`torch.distributed.checkpoint` keeps what lies where as a pickle, `.metadata`. :class:`Reader` reads it by an unpickler
that knows the few classes which such a file is made of, and calls nothing else; the tensors are read with
``weights_only=True``.
"""

import contextlib
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_state

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.model.checkpoint_folder import METADATA

STATE = "state"
"""What a checkpoint holds, before the name of each tensor."""

_RECORDS = """
    Metadata MetadataIndex TensorStorageMetadata BytesStorageMetadata ChunkStorageMetadata TensorProperties StorageMeta
    _MEM_FORMAT_ENCODING
""".split()
_OTHERS = {
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib._local", "PosixPath"),  # Python 3.13
}


class Reader(FileSystemReader):
    """torch's reader of checkpoints, which runs nothing that the metadata may ask for."""

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        """What lies where.

        Raises:
            pickle.UnpicklingError: it names what is no part of such a record.
        """
        with (Path(self.path) / METADATA).open("rb") as file:
            metadata: Metadata = _Unpickler(file).load()
        metadata.storage_meta = getattr(metadata, "storage_meta", None) or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = (module, name) in _OTHERS or (module == "torch.distributed.checkpoint.metadata" and name in _RECORDS)
        if known or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{printable(f'{module}.{name}', 120)} is no part of a checkpoint's metadata")


def read_tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names begin with ``prefix``, under the rest of their names.

    Not collective: any process reads all rows of what was shared out over processes.

    Args:
        path: a checkpoint that is whole.
        prefix: "backbone." or "head.", say.

    Raises:
        InputError: its metadata cannot be read, or ask for more bytes than its files have.
    """
    reader, start = Reader(path), f"{STATE}.{prefix}"
    try:
        stored = reader.read_metadata().state_dict_metadata
    except Exception as error:  # what a pickle raises that is not such a record differs by the record
        raise InputError(f"{printable(path)}: its {METADATA} cannot be read; use another checkpoint") from error
    kinds = {
        name: kind
        for name, kind in stored.items()
        if name.startswith(start) and isinstance(kind, TensorStorageMetadata)
    }
    wanted = sum(kind.size.numel() * kind.properties.dtype.itemsize for kind in kinds.values())
    if wanted > sum(file.stat().st_size for file in path.iterdir()):
        raise InputError(f"{printable(path)}: its {METADATA} asks for more bytes than it has; use another checkpoint")
    found = {name: torch.empty(kind.size, dtype=kind.properties.dtype) for name, kind in kinds.items()}
    with one_process_is_intended():
        load_state(found, storage_reader=reader, no_dist=True)
    return {name.removeprefix(start): value for name, value in found.items()}


@contextlib.contextmanager
def one_process_is_intended() -> Iterator[None]:
    """Hide torch's warning that it works without a process group: with one process that is intended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield
