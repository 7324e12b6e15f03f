"""The state of a run on disk: whole or absent, checksummed, the newest whole one found by itself.

A checkpoint is a folder `step-000001234` that `torch.distributed.checkpoint` writes, with the SHA-256 of each of its
files in `checksums.json`; :mod:`elasticface.model.checkpoint_folder` says what lies where. It is one's own file; what
one shares is the model folder.

Where ``torch.distributed`` has a group of several processes, :func:`start` and :func:`load` are collective: all
processes call them. Each writes and reads its own rows of a ``DTensor``; what all of them hold alike is written once,
by the first. A checkpoint doesn't know how many processes wrote it, and loads on any number, with the same bits.
Of what differs from process to process without being a DTensor the first one's is saved: that is the running statistics
of batch norms that are not synchronised, of which `DistributedDataParallel` uses the first one's too.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture

from elasticface.base import files
from elasticface.base.errors import InputError, Stopped
from elasticface.distributed.agreement import process_count, rank, run_in_all, run_in_first
from elasticface.model import checkpoint_folder
from elasticface.model.checkpoint_weights import STATE, Reader

_CHECKSUMS = MetadataIndex("checksums")
"""What a process's checksums go by among the results of its writing."""


class Writing:
    """A checkpoint that is being written while training goes on.

    Attributes:
        path: where it will be.
    """

    def __init__(self, path: Path, temporary: contextlib.ExitStack, future: Future[Any]) -> None:
        self.path, self._temporary, self._future = path, temporary, future

    def finish(self) -> Path:
        """Wait until it is there, in all processes. Collective.

        Raises:
            Stopped: it could not be written, by any one process: the disk is full, say. Nothing is left of it then, and
                what there was is as it was. All processes raise.
        """
        try:
            self._future.result()
        except (OSError, CheckpointException) as error:
            with contextlib.suppress(OSError):  # of a temporary that is gone already
                run_in_first(partial(self._temporary.__exit__, type(error), error, None))
            raise _stopped(error, self.path) from error
        return self.path

    def settle(self) -> None:
        """Wait until this process has done its part, or failed. Not collective: for a run that ends by an error."""
        wait([self._future])


def memory() -> DefaultStager:
    """What a run's checkpoints are copied to before they are written: its pages are made for the first, and kept."""
    return DefaultStager(StagingOptions(False, False, False, False))


def start(
    folder: Path,
    state: Stateful,
    step: int,
    keep: int,
    keep_best: bool = True,
    records: Mapping[str, Any] = MappingProxyType({}),
    group: ProcessGroup | None = None,
    copied_to: DefaultStager | None = None,
) -> Writing:
    """Begin one more checkpoint in ``folder``; all but the newest ``keep`` and the best one are removed after it.

    The state is copied to the host's memory before this returns, and may change from then on. One at a time.

    Args:
        folder: of all checkpoints of a run, on a disk that all processes share.
        state: whose ``state_dict()`` is saved: tensors by name, a ``DTensor`` for what is shared out.
        step: how many are done; the checkpoint's name.
        keep: how many stay, ≥ 1.
        keep_best: whether the best one of those that were validated stays, however old.
        records: file name -> what is saved with the state as JSON, by the first process.
        group: all processes, on the host, in a group that nothing else is told in meanwhile; ``None`` for one process.
        copied_to: the run's :func:`memory`; ``None`` takes new memory, which is given back.

    Raises:
        Stopped: as :meth:`Writing.finish` does.
    """
    path, temporary = checkpoint_folder.path_of(folder, step), contextlib.ExitStack()

    def put_in_place() -> None:
        temporary.close()
        checkpoint_folder.prune(folder, path, keep, keep_best)

    try:
        writer = _Writer(run_in_first(lambda: temporary.enter_context(files.replacing(path))), records, put_in_place)
    except OSError as error:
        raise _stopped(error, path) from error
    future = async_save(
        {STATE: state},
        storage_writer=writer,
        planner=DefaultSavePlanner(dedup_save_to_lowest_rank=True),
        process_group=group,
        async_stager=copied_to or memory(),
        no_dist=process_count() == 1,
    )
    return Writing(path, temporary, cast("Future[Any]", future))


def newest(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole; ``None`` where there is none.

    A damaged one is named through ``warn``, which the first process alone calls, and the one before it taken.
    """
    return run_in_first(lambda: checkpoint_folder.newest_whole(folder, warn))


def load(path: Path, state: Stateful) -> None:
    """Load a whole checkpoint into ``state``, in place.

    Raises:
        InputError: a checkpoint of another architecture or number of classes.
    """
    run_in_all(lambda: _check_shapes(path, state.state_dict()))
    load_state({STATE: state}, storage_reader=Reader(path), no_dist=process_count() == 1)


def _check_shapes(path: Path, tensors: dict[str, Tensor]) -> None:
    stored = Reader(path).read_metadata().state_dict_metadata
    expected = {name: list(value.shape) for name, value in tensors.items()}
    shapes = {
        name.removeprefix(f"{STATE}."): list(metadata.size)
        for name, metadata in stored.items()
        if isinstance(metadata, TensorStorageMetadata)
    }
    for name in [*expected, *shapes]:
        shape, needed = shapes.get(name, "not in it"), expected.get(name, "nothing")
        if shape != needed:
            raise InputError(
                f"{path}: a checkpoint of another model: {name} is {shape}, {needed} is needed; "
                "resume with the data and settings that the run was started with, or train into another folder"
            )


class _Writer(FileSystemWriter):
    """Writes a checkpoint into a temporary folder, with its records and checksums, and puts it in its place.

    Args:
        temporary: the folder.
        records: what is written with the state, as JSON.
        put_in_place: called by the first process once all have written.
    """

    def __init__(self, temporary: Path, records: Mapping[str, Any], put_in_place: Callable[[], None]) -> None:
        super().__init__(temporary)
        self._temporary, self._records, self._put_in_place = temporary, records, put_in_place

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        try:
            written = super().write_data(plan, planner)
        except RuntimeError as error:  # torch.save only says that the file was cut short
            cause = error.__cause__ or error.__context__
            if isinstance(cause, OSError):
                raise cause from error
            raise
        # Each process reads what it wrote itself, while it is still in its memory.
        own = {path.name: checkpoint_folder.sha256(path) for path in self._temporary.glob(f"__{rank()}_*")}
        together: TorchFuture[list[WriteResult]] = TorchFuture()
        together.set_result([*written.wait(), WriteResult(_CHECKSUMS, 0, own)])
        return together

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        checksums: dict[str, str] = {}
        for of_process in results:
            checksums |= of_process.pop().storage_data
        super().finish(metadata, results)
        checkpoint_folder.write_checksums(self._temporary, checksums, self._records)
        self._put_in_place()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """:func:`files.replacing` over all processes: the first names the temporary, syncs and renames it."""
    with contextlib.ExitStack() as stack:
        yield run_in_first(lambda: stack.enter_context(files.replacing(path)))
        run_in_first(stack.close)


def _stopped(error: OSError | CheckpointException, path: Path) -> BaseException:
    """One line for the user where a file could not be written; any other error is ours and stays. Collective."""
    cause = _cause(error)
    if not isinstance(cause, OSError):
        return cause if isinstance(cause, KeyboardInterrupt) else error
    others = run_in_first(lambda: [old for old in checkpoint_folder.newest_first(path.parent) if old != path])
    advice = "there is none before it"
    if others:
        advice = f"{others[0]} is as it was: once this is mended, resume from it with --resume"
    return Stopped(f"{path}: the checkpoint cannot be written: {cause.strerror or cause}; {advice}")


def _cause(error: OSError | CheckpointException) -> BaseException:
    """The error itself, or of those of several processes the first OSError, where there is one."""
    if isinstance(error, OSError):
        return error
    failures = [failure for _, (failure, _) in sorted(error.failures.items())]
    return next((failure for failure in failures if isinstance(failure, OSError)), failures[0])
