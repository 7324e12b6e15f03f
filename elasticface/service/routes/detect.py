"""`/v1/detect`: the faces in a photo."""

from fastapi import APIRouter, Request

from elasticface.service.answers import Detected, Face
from elasticface.service.forms import read_form
from elasticface.service.routes.form import PROBLEMS, form, upload
from elasticface.service.work import Work, connected

router = APIRouter()


@router.post("/v1/detect", responses=PROBLEMS, openapi_extra=form(("photo",), photo=upload("JPEG, PNG, WebP or HEIC")))
async def detect(request: Request) -> Detected:
    """Find the faces in a photo: a box, a score and five points each."""
    work: Work = request.app.state.work
    with work.place():
        sent = await read_form(request, work.limits, {"photo": 1})
        async with connected(request):
            (width, height), faces = await work.detect(sent.photos["photo"][0], "photo")
    found = [Face(box=face.box.tolist(), score=face.score, points=face.points.tolist()) for face in faces]
    return Detected(width=width, height=height, faces=found)
