"""`/v1/collections/…/people`: who is enrolled, with which faces, and removing somebody.

People are named by number here: a name in a path or a query would be in the logs of every proxy.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from elasticface.gallery import faces, people
from elasticface.gallery.database import Database
from elasticface.gallery.people import LARGEST_ID
from elasticface.gallery.removal import delete
from elasticface.service.answers import EnrolledFace, Faces, People, Person, Removed
from elasticface.service.limits import MOST_FACES, MOST_PEOPLE
from elasticface.service.routes.form import ASKED_PROBLEMS
from elasticface.service.routes.gallery import CollectionName, erased, galleries_of, in_path
from elasticface.service.work import Work, in_base64

router = APIRouter()

_Number = Annotated[int, Path(ge=1, le=LARGEST_ID, description="the person's number")]
_After = Annotated[int, Query(ge=0, le=LARGEST_ID, description="next, of the page before")]


@router.get("/v1/collections/{name}/people", responses=ASKED_PROBLEMS)
async def list_people(
    request: Request,
    name: CollectionName,
    after: _After = 0,
    most: Annotated[int, Query(ge=1, le=MOST_PEOPLE, description="people of the page")] = 100,
) -> People:
    """List the people of a collection, a page at a time, in the order in which they were enrolled."""
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)
    with work.place():
        found, following = await galleries.run(lambda database: people.page(database, kept, after, most))
    return People(people=[Person.model_validate(vars(person)) for person in found], next=following)


@router.get("/v1/collections/{name}/people/{id}/faces", responses=ASKED_PROBLEMS)
async def list_faces(
    request: Request,
    name: CollectionName,
    id: _Number,
    after: _After = 0,
    most: Annotated[int, Query(ge=1, le=MOST_FACES, description="faces of the page")] = 20,
) -> Faces:
    """List the faces of a person by number, a page at a time; with their pictures where the collection keeps faces."""
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)

    def read(database: Database) -> Faces:
        found, following = faces.page(database, kept, id, after, most)
        return Faces(faces=[_told(face) for face in found], next=following)

    with work.place():
        return await galleries.run(read)


def _told(face: faces.EnrolledFace) -> EnrolledFace:
    return EnrolledFace(
        id=face.id,
        photo=face.photo,
        box=[*face.box],
        score=face.score,
        enrolled=face.enrolled,
        crop=None if face.picture is None else in_base64(face.picture),
    )


@router.delete("/v1/collections/{name}/people/{id}", responses=ASKED_PROBLEMS)
async def remove_person(request: Request, name: CollectionName, id: _Number) -> Removed:
    """Remove a person, and erase the bytes of the embeddings, of kept faces and of the name from the database's files,
    which may take long. No search finds the person from the beginning on, whether the client waits for the end or not.
    """
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)
    with work.place():
        removed = await galleries.remove(lambda database: delete(database, kept, [id]))
    request.app.state.metrics.removed.inc(removed.people)
    return await erased(removed)
