"""Tensors of a checkpoint by name, without the training that they belong to: a checkpoint is a model, too.

`torch.distributed.checkpoint` keeps what lies where as a pickle, `.metadata`. :class:`Reader` reads it by an unpickler
that knows the few classes which such a file is made of, and calls nothing else; the tensors are read with
``weights_only=True``.
"""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.utils import _ReaderView
from torch.serialization import _get_layout

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.model.checkpoint_folder import METADATA

STATE = "state"
"""What a checkpoint holds, before the name of each tensor."""

# With one process that is intended. Not around each call: one of them writes in another thread, and filters are of all.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)

_RECORDS = (
    *(Metadata, MetadataIndex, TensorStorageMetadata, BytesStorageMetadata, ChunkStorageMetadata, TensorProperties),
    *(StorageMeta, _MEM_FORMAT_ENCODING, _StorageInfo, _get_layout, torch.Size, type(Path())),
)
_ADMITTED: dict[tuple[str, str], Any] = {(record.__module__, record.__name__): record for record in _RECORDS}
_ADMITTED |= {("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_ADMITTED |= {("pathlib", type(Path()).__name__): type(Path())}  # whichever version of Python wrote it


class Reader(FileSystemReader):
    """torch's reader of checkpoints, which runs nothing that the metadata may ask for."""

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        """What lies where.

        Raises:
            pickle.UnpicklingError: it names what is no part of such a record, or files elsewhere.
        """
        with (Path(self.path) / METADATA).open("rb") as file:
            metadata: Metadata = _Unpickler(file).load()
        for stored in metadata.storage_data.values():
            if stored.relative_path != Path(stored.relative_path).name:
                raise pickle.UnpicklingError(f"{printable(str(stored.relative_path), 120)} is no file of a checkpoint")
            if getattr(stored, "transform_descriptors", None):
                raise pickle.UnpicklingError("what is stored is compressed, as no version of this writes it")
        metadata.storage_meta = getattr(metadata, "storage_meta", None) or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def _slice_file(self, file: Any, sinfo: _StorageInfo) -> IO[bytes]:
        """The part of a file that holds a tensor, once it is seen that it does not unpack to more than it takes.

        Raises:
            zipfile.BadZipFile: it does, or is no such part.
        """
        part: Any = _Part(file, sinfo.offset, sinfo.length)
        with zipfile.ZipFile(part) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > sinfo.length:
                raise zipfile.BadZipFile("it unpacks to more than it takes")
        part.seek(0)
        return cast(IO[bytes], part)


class _Part(_ReaderView):
    """torch's view of a part of a file, which seeks from its end, too."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        place = self.len + offset if whence == os.SEEK_END else offset
        return super().seek(place, os.SEEK_SET if whence == os.SEEK_END else whence)


_Python: Any = pickle._Unpickler  # typeshed knows none of its methods


class _Unpickler(_Python):  # type: ignore[misc]
    """Python's own, which lets one see what a pickle would change."""

    def _build(self) -> None:
        """Set the attributes of an object that was read: never those of a class, which are the whole program's."""
        if type(self.stack[-2]) not in _RECORDS:
            raise pickle.UnpicklingError("it changes what is no part of a checkpoint's metadata")
        super().load_build()

    dispatch: ClassVar = {**_Python.dispatch, pickle.BUILD[0]: _build}

    def find_class(self, module: str, name: str) -> Any:
        """One of the names that are admitted, which is neither imported nor looked up."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{printable(f'{module}.{name}', 120)} is no part of a checkpoint's metadata")
        return _ADMITTED[module, name]


def read_tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names begin with ``prefix``, under the rest of their names.

    Not collective: any process reads all rows of what was shared out over processes.

    Args:
        path: a checkpoint that is whole.
        prefix: "backbone." or "head.", say.

    Raises:
        InputError: it cannot be read, or its metadata ask for more bytes than its files have.
    """
    try:
        return _read_tensors(path, f"{STATE}.{prefix}")
    except InputError:
        raise
    except CheckpointException as error:  # of torch, which is no Exception
        if any(isinstance(failure, KeyboardInterrupt) for failure, _ in error.failures.values()):
            raise KeyboardInterrupt from error
        raise InputError(f"{printable(path)}: cannot be read; use another checkpoint") from error
    except Exception as error:  # what a pickle raises that is no such record differs by the record
        raise InputError(f"{printable(path)}: its {METADATA} cannot be read; use another checkpoint") from error


def _read_tensors(path: Path, start: str) -> dict[str, Tensor]:
    reader = Reader(path)
    kinds = {
        name: kind
        for name, kind in reader.read_metadata().state_dict_metadata.items()
        if name.startswith(start) and isinstance(kind, TensorStorageMetadata)
    }
    wanted = sum(kind.size.numel() * kind.properties.dtype.itemsize for kind in kinds.values())
    if wanted > sum(file.stat().st_size for file in path.iterdir()):
        raise InputError(f"{printable(path)}: its {METADATA} asks for more bytes than it has; use another checkpoint")
    found = {name: torch.empty(kind.size, dtype=kind.properties.dtype) for name, kind in kinds.items()}
    load_state(found, storage_reader=reader, no_dist=True)
    return {name.removeprefix(start): value for name, value in found.items()}
