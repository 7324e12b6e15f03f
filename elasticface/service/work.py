"""What the service computes: photos are looked at in some threads, faces embedded in one; the model is there once."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from elasticface.base.errors import InputError
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import NoFace, decode, encode, suffix_of
from elasticface.data.images.heic import is_heic
from elasticface.data.images.sides import sides
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detector import Face
from elasticface.faces.finder import FaceFinder, TooManyFaces
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.verification import (
    ChosenFace,
    Threshold,
    Verification,
    choose_face,
    compared,
    threshold_by,
    usable_calibration,
)
from elasticface.service.batching import Batches
from elasticface.service.limits import Limits
from elasticface.service.metrics import Metrics
from elasticface.service.problems import Problem

RETRY_SECONDS = 1
"""After which a client whose request found the queue full may try again."""

_HEADER_BYTES = 1 << 20  # of a JPEG, say, in which its size must be: beyond it lies no camera's metadata

T = TypeVar("T")


@contextlib.asynccontextmanager
async def connected(request: Request) -> AsyncIterator[None]:
    """Break the body off once the client has gone: what nobody waits for holds no place, and what no thread has started
    is cancelled. The request's body has been read before.

    Raises:
        ClientDisconnect: it has gone.
    """
    task, gone = asyncio.current_task(), False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        if task is not None:
            task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not gone or task is None:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        watching.cancel()


class Work:
    """A loaded model and detector, and the threads that use them.

    Args:
        encoder: the model.
        finder: of faces.
        limits: bounds on everything.
        metrics: where batches and requests at work are counted.
    """

    def __init__(self, encoder: FaceEncoder, finder: FaceFinder, limits: Limits, metrics: Metrics) -> None:
        self.encoder, self.limits = encoder, limits
        self.finder = FaceFinder(finder.detector, finder.smallest, finder.turned, most=limits.most_faces)
        self.calibration = usable_calibration(encoder, self.finder)
        self._threads = ThreadPoolExecutor(limits.threads, "photos")
        self._batches = Batches(encoder, limits.batch, limits.batch_ms / 1000, metrics.batch.observe)
        self._at_work = 0
        self._metrics = metrics
        metrics.queue.set(limits.queue)

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        return self._at_work < self.limits.queue and self._batches.alive

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue for one request, taken before its body is read.

        Raises:
            Problem: 503, there is none.
        """
        if self._at_work >= self.limits.queue:
            raise Problem(
                503,
                "queue-full",
                f"{self.limits.queue} requests are at work; try again in a second",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        self._at_work += 1
        self._metrics.at_work.inc()
        try:
            yield
        finally:
            self._at_work -= 1
            self._metrics.at_work.dec()

    async def detect(self, photo: bytes, name: str) -> tuple[tuple[int, int], list[Face]]:
        """Width and height of a photo, upright, and its faces, largest first.

        Raises:
            Problem: 422, of the photo.
        """

        def found() -> tuple[tuple[int, int], list[Face]]:
            pixels = decode(photo, name)
            return (pixels.shape[1], pixels.shape[0]), self.finder.find(pixels)

        return await self.look(photo, name, found)

    async def aligned(self, photo: bytes, name: str, choice: Choice) -> tuple[list[Face], list[NDArray[np.uint8]]]:
        """The chosen faces of a photo, none too, and each one aligned, uint8 [size, size, 3] RGB.

        Raises:
            Problem: 422, of the photo.
        """
        size = self.encoder.card.preprocessing.size

        def found() -> tuple[list[Face], list[NDArray[np.uint8]]]:
            pixels = decode(photo, name)
            faces = self.finder.find(pixels)
            chosen = [faces[place] for place in choose(faces, choice, pixels.shape[1], pixels.shape[0])]
            return chosen, [align(pixels, face.points, size) for face in chosen]

        return await self.look(photo, name, found)

    async def chosen(self, photo: bytes, name: str, choice: Choice) -> ChosenFace:
        """The one face of a photo that is compared; its ``photo`` is empty: pixels are kept by nobody who waits.

        Raises:
            Problem: 422, of the photo; one without a face is one.
        """
        size, nothing = self.encoder.card.preprocessing.size, np.empty((0, 0, 3), np.uint8)

        def found() -> ChosenFace:
            return replace(choose_face(photo, name, self.finder, size, choice), photo=nothing)

        return await self.look(photo, name, found)

    async def crop(self, aligned: NDArray[np.uint8]) -> str:
        """An aligned face for an answer: a PNG in base64."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: in_base64(encode(aligned, ".png"))
        )

    async def embed(self, faces: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """As :meth:`Batches.embed`, of none too. A request waits for the faces of one photo before it looks at the next
        one: what waits for the model stays small, and nothing of it is left behind by a client that goes.
        """
        if not faces:
            return np.empty((0, self.encoder.card.embedding_size), np.float32)
        return await self._batches.embed(faces)

    def threshold(self, fmr: float | None) -> Threshold:
        """What to decide by at a false match rate.

        Raises:
            Problem: 422, it is none, or none that is calibrated.
        """
        try:
            return threshold_by(self.calibration, fmr)
        except InputError as error:
            raise Problem(422, "wrong-value", str(error)) from error

    async def verify(self, faces: tuple[ChosenFace, ChosenFace], threshold: Threshold) -> Verification:
        """Two faces compared."""
        embeddings = await self.embed([face.aligned for face in faces])
        return compared(faces, embeddings, threshold, self.encoder.card.name)

    async def look(self, photo: bytes, name: str, look: Callable[[], T]) -> T:
        """What ``look`` returns of a photo, from a thread.

        Raises:
            Problem: 422, of the photo.
        """
        check(photo, name, self.limits.pixels)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except TooManyFaces as error:
            raise Problem(422, "too-many-faces", f"{name}: {error}") from error
        except NoFace as error:
            raise Problem(422, "no-face", str(error)) from error
        except InputError as error:
            raise Problem(422, "damaged-photo", str(error)) from error

    def close(self) -> None:
        """End the threads, once they have done what they have."""
        self._threads.shutdown()
        self._batches.close()


def in_base64(picture: bytes) -> str:
    """A picture's file for an answer."""
    return base64.b64encode(picture).decode()


def check(photo: bytes, name: str, pixels: int) -> None:
    """Refuse a photo by its first bytes, before anything decodes it.

    Args:
        photo: the bytes of the file.
        name: what to call it.
        pixels: that it may have, by its header.

    Raises:
        Problem: 422.
    """
    if not photo:
        raise Problem(422, "empty-photo", f"{name}: the file is empty")
    if suffix_of(photo) is None and not is_heic(photo):
        raise Problem(422, "no-photo", f"{name}: not a JPEG, PNG, WebP or HEIC file; convert it to one of these")
    found = sides(photo[:_HEADER_BYTES])
    if found is None:
        raise Problem(422, "damaged-photo", f"{name}: its header does not say its size; it is damaged")
    if found[0] * found[1] > pixels:
        raise Problem(
            422, "too-many-pixels", f"{name}: {found[0]}x{found[1]} pixels, more than {pixels:,} in all; shrink it"
        )
