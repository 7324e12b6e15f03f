"""`/v1/collections`: collections of people, each bound to one model."""

from typing import cast, get_args

from fastapi import APIRouter, Request

from elasticface.gallery import collection as collections
from elasticface.gallery.collection import Aggregation, OtherModel
from elasticface.gallery.database import Database
from elasticface.gallery.removal import delete_collection
from elasticface.gallery.schema import LARGEST_HALFVEC
from elasticface.gallery.stats import Stats, stats, stats_of
from elasticface.service import answers
from elasticface.service.answers import Collection, Removed
from elasticface.service.forms import read_form
from elasticface.service.galleries import Galleries
from elasticface.service.limits import MOST_COLLECTIONS
from elasticface.service.problems import Problem
from elasticface.service.routes.form import ASKED_PROBLEMS, GALLERY_PROBLEMS, form
from elasticface.service.routes.gallery import CollectionName, erased, galleries_of, in_form, in_path
from elasticface.service.work import Work

router = APIRouter()

_NAME = {"type": "string", "description": "1 to 255 bytes, no /, control or invisible characters; it stands in paths"}
_AGGREGATION = {
    "type": "string",
    "enum": [*get_args(Aggregation)],
    "default": "best",
    "description": "a person's similarity: of the most similar face (best), or of the mean of all (mean: no decisions)",
}
_KEEP_FACES = {
    "type": "string",
    "enum": ["no", "yes"],
    "default": "no",
    "description": "keep the aligned face of each enrolled photo, too; no other pixel of a photo is ever kept",
}


@router.get("/v1/collections", responses=ASKED_PROBLEMS)
async def list_collections(request: Request) -> answers.Collections:
    """List all collections; those of another model or detector can be listed and removed, and not searched."""
    work: Work = request.app.state.work
    galleries = galleries_of(request)
    with work.place():
        found = await galleries.run(lambda database: [_told(galleries, one) for one in stats(database)])
    return answers.Collections(collections=found)


@router.post(
    "/v1/collections",
    responses=GALLERY_PROBLEMS,
    status_code=201,
    openapi_extra=form(("name",), name=_NAME, aggregation=_AGGREGATION, keep_faces=_KEEP_FACES),
)
async def create_collection(request: Request) -> Collection:
    """Make an empty collection for the embeddings of this service's model."""
    work: Work = request.app.state.work
    galleries = galleries_of(request)
    with work.place():
        sent = await read_form(request, work.limits, {}, ("name", "aggregation", "keep_faces"))
        name = in_form(sent, "name", "collection")
        aggregation = cast("Aggregation", sent.word("aggregation", get_args(Aggregation)))
        keep_faces = sent.agrees("keep_faces")
        if _not_in_paths(name):
            raise Problem(422, "wrong-value", "name: must have no / and be no . or .., for it stands in paths")
        if (numbers := work.encoder.card.embedding_size) > LARGEST_HALFVEC:
            told = f"the embeddings of this model have {numbers:,} numbers; a collection takes {LARGEST_HALFVEC:,}"
            raise Problem(409, "other-model", told)

        def created(database: Database) -> Collection:
            with database.transaction() as cursor:
                # Who makes one counts alone, whichever service of this database it is, until the new one is there.
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext('elasticface.collection'))")
                if len(collections.every(database)) >= MOST_COLLECTIONS:
                    raise Problem(409, "too-many-collections", f"there are {MOST_COLLECTIONS} collections; remove one")
                collections.create(
                    database, name, galleries.encoder, galleries.finder, aggregation, keep_faces=keep_faces
                )
            return _told(galleries, stats_of(database, name))

        return await galleries.run(created)


@router.get("/v1/collections/{name}", responses=ASKED_PROBLEMS)
async def show_collection(request: Request, name: CollectionName) -> Collection:
    """Say what a collection is, and how many are in it."""
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)
    with work.place():
        return await galleries.run(lambda database: _told(galleries, stats_of(database, kept)))


@router.delete("/v1/collections/{name}", responses=ASKED_PROBLEMS)
async def remove_collection(request: Request, name: CollectionName) -> Removed:
    """Remove a collection with everybody in it, and erase their bytes from the database's files, which may take long.
    No search finds them from the beginning on, whether the client waits for the end or not."""
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)
    with work.place():
        removed = await galleries.remove(lambda database: delete_collection(database, kept))
    request.app.state.metrics.removed.inc(removed.people)
    return await erased(removed)


def _told(galleries: Galleries, found: Stats) -> Collection:
    """It is called in a thread of the database."""
    one, reason = found.collection, None
    try:
        galleries.check(one)
    except OtherModel as error:
        reason = str(error)
    if _not_in_paths(one.name):
        reason = "its name has a / or is . or .., and cannot stand in a path; use elasticface gallery"
    return Collection(
        name=one.name,
        model=one.model,
        aggregation=one.aggregation,
        keeps_faces=one.keeps_faces,
        people=one.people,
        faces=one.faces,
        search=found.search,
        usable=reason is None,
        reason=reason,
    )


def _not_in_paths(name: str) -> bool:
    return "/" in name or name in (".", "..")
