"""`/v1/embed`: the embeddings of the faces in photos."""

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray

from elasticface.faces.detector import Face
from elasticface.service import answers
from elasticface.service.answers import Embedded, EmbeddedFace, EmbeddedPhoto
from elasticface.service.forms import read_form
from elasticface.service.problems import Problem
from elasticface.service.routes.form import FACES, PHOTOS, PROBLEMS, choice_of, form
from elasticface.service.work import Work, connected

router = APIRouter()

_FACES = FACES | {"enum": ["largest", "central", "all"]}


@router.post("/v1/embed", responses=PROBLEMS, openapi_extra=form(("photos",), photos=PHOTOS, faces=_FACES))
async def embed(request: Request) -> Embedded:
    """Embed the chosen faces of photos. A photo with which something is wrong has a problem of its own."""
    work: Work = request.app.state.work
    with work.place():
        sent = await read_form(request, work.limits, {"photos": work.limits.photos}, ("faces",))
        choice = choice_of(sent, _FACES)
        photos = sent.photos["photos"]
        found: list[tuple[list[Face], NDArray[np.float32]] | Problem] = []
        async with connected(request):
            while photos:
                try:
                    faces, aligned = await work.aligned(photos.pop(0), f"photos[{len(found)}]", choice)
                except Problem as problem:
                    found.append(problem)
                else:
                    found.append((faces, await work.embed(aligned)))
    told = [
        EmbeddedPhoto(faces=[], problem=answers.Problem(**one.as_json()))
        if isinstance(one, Problem)
        else EmbeddedPhoto(faces=_faces(*one))
        for one in found
    ]
    return Embedded(model=work.encoder.card.name, embedding_size=work.encoder.card.embedding_size, photos=told)


def _faces(faces: list[Face], embeddings: NDArray[np.float32]) -> list[EmbeddedFace]:
    return [
        EmbeddedFace(box=face.box.tolist(), score=face.score, points=face.points.tolist(), embedding=embedding.tolist())
        for face, embedding in zip(faces, embeddings, strict=True)
    ]
