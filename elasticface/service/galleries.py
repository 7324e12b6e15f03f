"""The galleries' database in the service: opened when a request first needs it, used in threads of its own.

The event loop waits for nothing here, and of requests none but a removal waits longer than it may. A statement that
takes too long is ended by the database, so that its thread comes free again. Two things keep a thread for longer:
opening the database, where an embedded server has a crash to recover from or another process starts it, and erasing,
which has a thread to itself.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from elasticface.base.errors import InputError, Stopped
from elasticface.base.files import printable
from elasticface.faces.finder import FaceFinder
from elasticface.gallery import collection as collections
from elasticface.gallery import removal
from elasticface.gallery.collection import Collection, CollectionExists, NoCollection, OtherModel
from elasticface.gallery.database import Database, NotAllowed, Unreachable
from elasticface.gallery.people import NoPerson
from elasticface.gallery.removal import Removal
from elasticface.gallery.server import NotInstalled
from elasticface.model.encoder import FaceEncoder
from elasticface.service.limits import Limits
from elasticface.service.log import log
from elasticface.service.problems import Problem

RETRY_SECONDS = 5
"""After which a client may try again where the database did not answer."""

_READY_SECONDS = 5.0  # that the database may take to say that it is there
_READY_AGAIN = 1.0  # seconds for which that is known: /readyz is open to everyone, and asks the database no more often

T = TypeVar("T")


@dataclass(frozen=True)
class PendingRemoval:
    """What was removed, and is being erased from the files.

    Attributes:
        people: how many people.
        faces: how many were theirs.
        erasing: what becomes of it: ``erased`` and ``remains`` of a Removal, or a Problem.
    """

    people: int
    faces: int
    erasing: Future[Removal]


class Galleries:
    """A database, and the threads that use it.

    Args:
        database: as of :class:`elasticface.gallery.database.Database`.
        encoder, finder: what collections must have been made with.
        limits: how many connections, and how long a statement may take.
    """

    def __init__(self, database: str | Path | None, encoder: FaceEncoder, finder: FaceFinder, limits: Limits) -> None:
        self._place, self._limits = database, limits
        self.encoder, self.finder = encoder, finder
        self._threads = ThreadPoolExecutor(limits.connections, "database")
        self._eraser = ThreadPoolExecutor(1, "erasing")
        self._checker = ThreadPoolExecutor(1, "database ready")
        self._opening, self._erasing = threading.Lock(), threading.Lock()
        self._wanted = False
        self._database: Database | None = None
        self._fingerprint: bytes | None = None
        self._erasures: dict[int, Future[Removal]] = {}  # that have not begun, by collection
        self._ready: tuple[float, asyncio.Task[bool]] | None = None

    async def run(self, job: Callable[[Database], T]) -> T:
        """What ``job`` returns, from a thread of the database.

        Raises:
            Problem: 404, no such collection or person; 409, a collection that is there or is another model's; 503, the
                database does not answer, is busy for too long, may not be used, or is not installed.
            InputError: a fault of the service, which no other try mends: a broken model's embedding, for one.
        """
        self._wanted = True
        working = asyncio.get_running_loop().run_in_executor(self._threads, self._do, job)
        try:
            async with asyncio.timeout(self._limits.database_seconds):
                return await working
        except TimeoutError as error:
            raise _unavailable(f"the database takes longer than {self._limits.database_seconds:g} seconds") from error

    def usable(self, database: Database, name: str) -> Collection:
        """The collection of that name, for the embeddings of this service. It is called in a thread of the database.

        Raises:
            NoCollection: there is none.
            OtherModel: it is another model's or detector's.
        """
        with database.transaction() as cursor:
            found = collections.read(cursor, database, name)
        self.check(found)
        return found

    def check(self, collection: Collection) -> None:
        """Refuse a collection of another model or detector, as :func:`.collection.check_model`."""
        if self._fingerprint is None:  # it reads all weights
            self._fingerprint = collections.fingerprint(self.encoder)
        collections.check_model(collection, self.encoder, self.finder, self._fingerprint)

    async def remove(self, delete: Callable[[Database], tuple[Collection, Removal]]) -> PendingRemoval:
        """Delete people's rows, and begin to erase what they leave in the files, whether anybody waits for it or not.
        Removals that wait at one time are erased together.

        Args:
            delete: as :func:`.removal.delete`.

        Raises:
            Problem: as of :meth:`run`.
        """

        def deleted(database: Database) -> PendingRemoval:
            collection, removed = delete(database)
            with self._erasing:
                if collection.id not in self._erasures:
                    self._erasures[collection.id] = self._eraser.submit(self._erase, collection)
                return PendingRemoval(removed.people, removed.faces, self._erasures[collection.id])

        return await self.run(deleted)

    async def ready(self) -> bool:
        """Whether the database answers; True as long as no request has needed it."""
        if not self._wanted:
            return True
        now = time.monotonic()
        if self._ready is None or (self._ready[1].done() and now - self._ready[0] > _READY_AGAIN):
            self._ready = now, asyncio.create_task(self._answers())
        return await asyncio.shield(self._ready[1])

    def close(self) -> None:
        """End the threads once they have done what they have begun, and the use of the database. Whoever was deleted is
        erased first.
        """
        for threads in (self._threads, self._checker):
            threads.shutdown(cancel_futures=True)
        self._eraser.shutdown()
        if self._database is not None:
            self._database.close()

    async def _answers(self) -> bool:
        working = asyncio.get_running_loop().run_in_executor(self._checker, self._do, lambda database: None)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await working
        except (Problem, TimeoutError):
            return False
        return True

    def _erase(self, collection: Collection) -> Removal:
        with self._erasing:
            del self._erasures[collection.id]  # what is removed from now on may be too late for this one
        return self._do(lambda database: removal.erase(database, collection, shown=False), bounded=False)

    def _do(self, job: Callable[[Database], T], bounded: bool = True) -> T:
        """Run a job in this thread, and say for a client what is wrong."""
        try:
            database = self._opened()
            _prepare(database, max(round(1000 * self._limits.database_seconds), 1) if bounded else 0)
        except NotInstalled as error:
            raise Problem(503, "no-gallery", str(error)) from error
        except (InputError, Stopped, OSError) as error:
            raise _does_not_answer(error) from error
        try:
            return job(database)
        except NoCollection as error:
            raise Problem(404, "no-collection", "there is no such collection; /v1/collections lists them") from error
        except NoPerson as error:
            raise Problem(404, "no-person", "nobody of this number is in the collection") from error
        except CollectionExists as error:
            raise Problem(409, "exists", "there is a collection of this name already; give another name") from error
        except OtherModel as error:
            raise Problem(409, "other-model", str(error)) from error
        except (Unreachable, NotAllowed, Stopped, OSError) as error:
            raise _does_not_answer(error) from error

    def _opened(self) -> Database:
        with self._opening:
            if self._database is None:
                self._database = Database(self._place)
            return self._database


def _prepare(database: Database, milliseconds: int) -> None:
    """Bound the statements of this thread's connection; 0: not at all.

    It tries the connection, too: one that the server has ended meanwhile is noticed before anything was done, and there
    is another one.
    """
    for last in (False, True):
        try:
            with database.no_transaction() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, false)", [str(milliseconds)])
            return
        except Stopped:
            if last:
                raise


def _does_not_answer(error: Exception) -> Problem:
    log.error("database=%s", printable(str(error)))  # for who runs the service: it has the place of the database
    return _unavailable("the database does not answer, or may not be used")


def _unavailable(what: str) -> Problem:
    return Problem(503, "no-database", f"{what}; try again in some seconds", {"Retry-After": str(RETRY_SECONDS)})
