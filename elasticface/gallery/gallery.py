"""Gallery: a collection of people, as one thing that is enrolled into, searched and removed from."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images import decoding
from elasticface.data.images.photos import Photos
from elasticface.data.images.pixels import to_pixels
from elasticface.faces.choice import Choice
from elasticface.faces.finder import FaceFinder
from elasticface.gallery import collection as collections
from elasticface.gallery import enrolment, exchange, faces, index, removal, storing
from elasticface.gallery.collection import Aggregation, Collection
from elasticface.gallery.database import Database
from elasticface.gallery.enrolment import Enrolment
from elasticface.gallery.faces import EnrolledFace
from elasticface.gallery.people import Person, everybody
from elasticface.gallery.prepared import prepare
from elasticface.gallery.rules import Rules
from elasticface.gallery.search import USUAL_FPIR, Answer, Found, Recall, decide
from elasticface.gallery.search import search as search_collection
from elasticface.gallery.stats import Stats, audit, stats_of
from elasticface.gallery.storing import NewFace
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.verification import Threshold, check_embedding, choose_face, name_of, threshold_of

NAME = "people"
"""The collection that is meant where none is named."""


class Gallery:
    """A collection in a database. Its methods may be called from several threads.

    Args:
        name: of the collection.
        encoder: the model that it was made with; without, nothing can be enrolled by photo or searched by photo.
        database: ``postgresql://…``, the folder of an embedded database, or None: the user's own.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.

    Raises:
        InputError: no such database or collection; another model or detector than that of the collection.
        Stopped: the embedded database does not start.
    """

    def __init__(
        self,
        name: str = NAME,
        encoder: FaceEncoder | None = None,
        *,
        database: str | Path | Database | None = None,
        finder: FaceFinder | None = None,
    ) -> None:
        self._owned = not isinstance(database, Database)
        self.database = database if isinstance(database, Database) else Database(database, create=False)
        self.name, self.encoder, self.finder = name, encoder, finder or FaceFinder()
        self._validity: Threshold | None = None
        self._opened: str | Collection = name
        try:
            # From now on this very one is meant, whatever has its name later.
            self._opened = found = self.collection
            self.name = found.name  # as it is kept
            if encoder is not None:
                collections.check_model(found, encoder, self.finder)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        name: str = NAME,
        encoder: FaceEncoder | None = None,
        *,
        database: str | Path | Database | None = None,
        finder: FaceFinder | None = None,
        aggregation: Aggregation = "best",
        keep_faces: bool = False,
    ) -> "Gallery":
        """Make an empty collection for the embeddings of ``encoder``, or of the model that comes with the package.

        Args:
            name, database, finder: as of the class.
            encoder: the model.
            aggregation: a person's similarity is that of the most similar face ("best"), or that of the mean of all
                ("mean").
            keep_faces: keep the aligned face of each enrolled photo, too; see :meth:`faces`. No other pixel of a photo
                is ever kept.

        Raises:
            InputError: there is one of that name, or what the class raises.
        """
        from elasticface.model.loading import load

        name = collections.checked_name(name, "collection")
        encoder, finder = encoder or load("default"), finder or FaceFinder()
        with _opened(database) as opened:
            collections.create(opened, name, encoder, finder, aggregation, keep_faces=keep_faces)
            made = cls(name, database=opened, finder=finder)
            made.encoder = encoder  # which is not compared with itself: that reads all weights
        made._owned = opened is not database
        return made

    @classmethod
    def load(
        cls,
        folder: str | Path,
        name: str | None = None,
        encoder: FaceEncoder | None = None,
        *,
        database: str | Path | Database | None = None,
        finder: FaceFinder | None = None,
    ) -> "tuple[Gallery, Enrolment]":
        """Enrol what :meth:`export` wrote, into a new collection or one of the same model; see :func:`.exchange.load`.

        Args:
            folder: that was written.
            name: of the collection; None: as it was called.
            encoder, database, finder: as of the class.

        Returns:
            The collection, and what became of every face.

        Raises:
            InputError: a damaged export, which changes nothing, or what the class raises.
        """
        # Before a database is made for it.
        name = collections.checked_name(exchange.read_header(Path(folder)).name if name is None else name, "collection")
        with _opened(database) as opened:
            found, done = exchange.load(opened, Path(folder), name)
            loaded = cls(found.name, encoder, database=opened, finder=finder)
        loaded._owned = opened is not database
        return loaded, done

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the database."""
        if self._owned:
            self.database.close()

    @property
    def collection(self) -> Collection:
        """What the database says of it now: model, aggregation, how many people and faces."""
        with self.database.transaction() as cursor:
            return collections.read(cursor, self.database, self._opened)

    def enrol(self, person: str, image: Any, *, name: str | None = None, rules: Rules | None = None) -> str | None:
        """Enrol the face on a photo. When this returns, it is on the disk.

        Args:
            person: whose it is; made where nobody has that name.
            image: a path, the bytes of a file, a PIL image, or an array, uint8 [H, W, 3] RGB.
            name: of the photo; of a path the path itself.
            rules: which face is good enough.

        Returns:
            None; or why it was not enrolled: a damaged image, no face, several, one that is too small, or the photo is
            there already.

        Raises:
            InputError: no image; a name that is none; no encoder; the collection is gone.
        """
        encoder, person = self._encoder(), collections.checked_name(person, "person")
        name = name or name_of(image, "photo")
        if isinstance(image, str | Path):
            data: bytes | NDArray[np.uint8] = decoding.read(Path(image))
        else:
            data = image if isinstance(image, bytes) else to_pixels(image, name)
        found = prepare(data, name, self.finder, rules or Rules(), encoder.card.preprocessing.size)
        stored = enrolment.store_prepared(self.database, self.collection, encoder, [found], lambda _: person)
        return stored[0][1]

    def enrol_folder(
        self, photos: Photos | str | Path, *, rules: Rules | None = None, person: str | None = None, workers: int = 2
    ) -> Enrolment:
        """Enrol a folder or an uncompressed tar of people, a folder each; see :func:`.enrolment.enrol_photos`."""
        return enrolment.enrol_photos(
            self.database,
            self.collection,
            photos if isinstance(photos, Photos) else Photos(photos),
            self._encoder(),
            self.finder,
            rules or Rules(),
            person=person,
            workers=workers,
        )

    def enrol_embeddings(self, faces: Sequence[NewFace]) -> list[str | None]:
        """Enrol embeddings that were made elsewhere with the same model; see :func:`.storing.store`."""
        return storing.store(self.database, self.collection, faces)

    def search(
        self,
        image: Any,
        *,
        fpir: float = USUAL_FPIR,
        faces: Choice = "largest",
        name: str | None = None,
        most: int = 5,
        exact: bool = False,
    ) -> Answer:
        """Who is on a photo, or nobody of the collection.

        Args:
            image, name: as in :meth:`enrol`.
            fpir: how many of the searches for strangers may name somebody, in (0, 1).
            faces: which face of a photo that has several: the "largest" or the "central" one.
            most: people that are named, ≥ 1.
            exact: compare with every vector, however many there are.

        Raises:
            InputError: a photo that cannot be read or has no face; a number out of its range; no encoder.
        """
        encoder = self._encoder()
        face = choose_face(image, name or name_of(image, "photo"), self.finder, encoder.card.preprocessing.size, faces)
        embedding = encoder.embed([face.aligned])
        check_embedding(embedding[0], face.name, encoder.card.name)
        (found,) = self.search_embeddings(embedding, most, exact=exact)
        if self._validity is None:  # the same for every search, and takes two embeddings
            self._validity = threshold_of(encoder, self.finder, None)
        return decide(self.collection, found, self._validity, fpir, face)

    def search_embeddings(self, embeddings: NDArray[Any], most: int = 5, *, exact: bool = False) -> list[Found]:
        """The most similar people of each embedding, float [Q, D]; see :func:`.search.search`."""
        return search_collection(self.database, self._opened, np.asarray(embeddings), most, exact=exact)

    def stats(self) -> Stats:
        """Its size on the disk, and how it is searched."""
        return stats_of(self.database, self._opened)

    def audit(self) -> list[tuple[Any, ...]]:
        """What was done to collections of its name, oldest first; see :func:`.stats.audit`."""
        return audit(self.database, self.name)

    def people(self, names: Sequence[str] | None = None) -> list[Person]:
        """Everybody who is enrolled, by name, or those of the names given; see :func:`.people.everybody`."""
        return everybody(self.database, self._opened, names)

    def faces(self, person: str | int) -> Iterator[EnrolledFace]:
        """The faces of a person, by name or number, with their pictures where the collection keeps faces; see
        :func:`.faces.faces_of`.
        """
        return faces.faces_of(self.database, self._opened, person)

    def write_faces(self, out: str | Path, people: Sequence[Person]) -> dict[int, int]:
        """Write the kept faces of some people to a new folder, and say how many of each; see :func:`.faces.write`."""
        return faces.write(self.database, self._opened, people, Path(out))

    def remove(self, people: Sequence[str | int] | str, *, erase: bool = True) -> removal.Removal:
        """Remove people and their embeddings for good; see :func:`.removal.remove`."""
        names = [people] if isinstance(people, str) else people
        return removal.remove(self.database, self._opened, names, erase=erase)

    def erase(self) -> removal.Removal:
        """Erase what earlier removals have left in the files; see :func:`.removal.erase`."""
        return removal.erase(self.database, self._opened)

    def drop(self) -> removal.Removal:
        """Remove the collection with everybody in it."""
        return removal.drop(self.database, self._opened)

    def export(self, out: str | Path) -> int:
        """Write the collection to a folder of plain files; see :func:`.exchange.export`."""
        return exchange.export(self.database, self._opened, Path(out))

    def reindex(self, probes: int = index.PROBES, workers: int = 1) -> Recall | None:
        """Make the HNSW index anew, and measure its recall; see :func:`.index.reindex`."""
        return index.reindex(self.database, self._opened, probes, workers)

    def drop_index(self) -> None:
        """Remove the index: every search is exact again."""
        index.drop(self.database, self._opened)

    def _encoder(self) -> FaceEncoder:
        if self.encoder is None:
            raise InputError(f"collection {printable(self.name)}: photos need the model; open it with its encoder")
        return self.encoder


@contextlib.contextmanager
def _opened(database: str | Path | Database | None) -> Iterator[Database]:
    """The database, made if need be; one that was opened here is closed if the body fails."""
    opened = database if isinstance(database, Database) else Database(database)
    try:
        yield opened
    except BaseException:
        if opened is not database:
            opened.close()
        raise
