"""`/v1/collections/…/faces`: photos of a person, enrolled."""

from typing import cast, get_args

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray

from elasticface.gallery.database import Database
from elasticface.gallery.enrolment import store_embedded
from elasticface.gallery.people import Person, named
from elasticface.gallery.prepared import Prepared, digest_of, prepare
from elasticface.gallery.rules import FaceChoice, Rules
from elasticface.gallery.storing import ALREADY
from elasticface.service import answers
from elasticface.service.answers import ChosenFace, Enrolled, EnrolledPhoto
from elasticface.service.forms import read_form
from elasticface.service.problems import Problem
from elasticface.service.routes.form import CROPS, GALLERY_PROBLEMS, PHOTOS, form
from elasticface.service.routes.gallery import CollectionName, galleries_of, in_form, in_path
from elasticface.service.work import Work, connected

router = APIRouter()

_PERSON = {"type": "string", "description": "whose photos they are; 1 to 255 bytes, no control or invisible characters"}
_FACES = {
    "type": "string",
    "enum": [*get_args(FaceChoice)],
    "default": "single",
    "description": "which face of a photo; single: of several none, for the largest may be somebody else's",
}


@router.post(
    "/v1/collections/{name}/faces",
    responses=GALLERY_PROBLEMS,
    openapi_extra=form(("person", "photos"), person=_PERSON, photos=PHOTOS, faces=_FACES, crops=CROPS),
)
async def enrol(request: Request, name: CollectionName) -> Enrolled:
    """Enrol the faces on photos of a person, who is made where nobody has that name. What became of each photo is said;
    all that were enrolled are on the disk, in one transaction, and a request that is sent again enrols nothing twice.
    """
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)
    with work.place():
        sent = await read_form(request, work.limits, {"photos": work.limits.photos}, ("person", "faces", "crops"))
        person, crops = in_form(sent, "person", "person"), sent.agrees("crops")
        rules = Rules(cast("FaceChoice", sent.word("faces", get_args(FaceChoice))))
        photos = sent.photos["photos"]
        prepared: list[Prepared] = []
        embeddings: list[NDArray[np.float32]] = []
        async with connected(request):
            collection = await galleries.run(lambda database: galleries.usable(database, kept))
            while photos:
                prepared.append(one := await _prepared(work, photos.pop(0), f"photos[{len(prepared)}]", rules))
                if one.aligned is not None:
                    embeddings.extend(await work.embed([one.aligned]))

            def store(database: Database) -> tuple[list[EnrolledPhoto], Person | None]:
                stored = store_embedded(database, collection, prepared, embeddings, lambda _: person)
                told = [_told(one, reason) for one, reason in zip(prepared, stored, strict=True)]
                for one in told:
                    request.app.state.metrics.enrolled.labels(one.outcome).inc()
                return told, named(database, kept, person)

            outcomes, found = await galleries.run(store)
            for one, outcome in zip(prepared, outcomes, strict=True):
                if crops and outcome.face is not None and one.face is not None:
                    outcome.face.crop = await work.crop(one.face)
    return Enrolled(person=None if found is None else answers.Person.model_validate(vars(found)), photos=outcomes)


async def _prepared(work: Work, photo: bytes, name: str, rules: Rules) -> Prepared:
    """The face of a photo that is to be enrolled. The database calls the photo by the start of its SHA-256: what a
    client calls it may be anything.
    """
    size = work.encoder.card.preprocessing.size
    try:
        return await work.look(
            photo, name, lambda: prepare(photo, digest_of(photo).hex()[:16], work.finder, rules, size)
        )
    except Problem as problem:
        return Prepared(name, reason=problem.detail.removeprefix(f"{name}: "))


def _told(photo: Prepared, reason: str | None) -> EnrolledPhoto:
    face = None
    if photo.face is not None and photo.score is not None:
        face = ChosenFace(box=[float(edge) for edge in photo.box], score=photo.score, found=photo.found)
    if reason is None:
        return EnrolledPhoto(outcome="enrolled", reason=None, face=face)
    if reason == ALREADY:
        return EnrolledPhoto(outcome="already", reason=None, face=face)
    return EnrolledPhoto(outcome="refused", reason=reason, face=face)
