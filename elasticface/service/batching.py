"""One thread embeds the faces of all requests, those that wait at one time together."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elasticface.model.encoder import FaceEncoder

Faces = Sequence[NDArray[np.uint8]]
Embeddings = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Waiting:
    """Faces of one photo or one pair, and who waits for their embeddings."""

    faces: Faces
    embeddings: "Future[Embeddings]" = field(default_factory=Future)


class Batches:
    """Faces from any number of requests, through one model in one thread.

    While a batch is computed the next one gathers by itself, so what is waited for others pays only where requests come
    one after the other. Which faces share a batch changes an embedding by rounding alone: about 1e-6 of its length.

    Args:
        encoder: the model.
        size: faces from which a batch is complete; those that came together stay together.
        wait: seconds that the first face of a batch waits for others, at most.
        note: is told of each batch how many faces it has.
    """

    def __init__(
        self, encoder: FaceEncoder, size: int, wait: float, note: Callable[[int], object] = lambda count: None
    ) -> None:
        self._encoder, self._size, self._wait, self._note = encoder, size, wait, note
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="embedding", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def embed(self, faces: Faces) -> "asyncio.Future[Embeddings]":
        """The embeddings of aligned faces, float32 [N, D] of unit length, once they are there.

        Args:
            faces: N arrays, uint8 [size, size, 3] RGB, N ≥ 1.
        """
        waiting = _Waiting(faces)
        self._queue.put(waiting)
        return asyncio.wrap_future(waiting.embeddings)

    def close(self) -> None:
        """End the thread once it has embedded what waits."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._gathered()
            # Who has gone in the meantime is left out.
            batch = [waiting for waiting in batch if waiting.embeddings.set_running_or_notify_cancel()]
            if batch:
                self._note(sum(len(waiting.faces) for waiting in batch))
                self._embed(batch)

    def _gathered(self) -> tuple[list[_Waiting], bool]:
        """The next batch, and whether there may be one after it."""
        batch: list[_Waiting] = []
        count, until = 0, float("inf")
        while count < self._size:
            try:
                waiting = self._queue.get(timeout=None if not batch else max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if waiting is None:
                return batch, False
            if not batch:
                until = time.monotonic() + self._wait
            batch.append(waiting)
            count += len(waiting.faces)
        return batch, True

    def _embed(self, batch: list[_Waiting]) -> None:
        try:
            faces = [face for waiting in batch for face in waiting.faces]
            embeddings = self._encoder.embed(faces, batch_size=self._size)
        except Exception as error:
            if len(batch) > 1:  # what one request's faces do to the model is not the others' concern
                for waiting in batch:
                    self._embed([waiting])
                return
            # A face that was found and aligned is none that a client could mend: it is a fault here, whatever it is.
            failure = RuntimeError(f"the model fails: {type(error).__name__}")
            failure.__cause__ = error  # for the log
            batch[0].embeddings.set_exception(failure)
            return
        start = 0
        for waiting in batch:
            waiting.embeddings.set_result(embeddings[start : start + len(waiting.faces)])
            start += len(waiting.faces)
