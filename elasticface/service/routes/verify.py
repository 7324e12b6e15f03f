"""`/v1/verify`: whether two photos are of one person."""

from fastapi import APIRouter, Request

from elasticface.service.answers import Verified
from elasticface.service.forms import read_form
from elasticface.service.routes.form import CROPS, FACES, PROBLEMS, choice_of, form, upload
from elasticface.service.work import Work, connected

router = APIRouter()

_FMR = {
    "type": "number",
    "description": "false match rate of the decision, one of those calibrated; without it the one nearest to 1e-3",
}


@router.post(
    "/v1/verify",
    responses=PROBLEMS,
    openapi_extra=form(
        ("first", "second"),
        first=upload("one photo"),
        second=upload("the other photo"),
        fmr=_FMR,
        faces=FACES,
        crops=CROPS,
    ),
)
async def verify(request: Request) -> Verified:
    """Compare the faces in two photos: similarity, decision, and how often such a decision is wrong."""
    work: Work = request.app.state.work
    with work.place():
        sent = await read_form(request, work.limits, {"first": 1, "second": 1}, ("fmr", "faces", "crops"))
        threshold = work.threshold(sent.number("fmr"))
        choice, crops = choice_of(sent), sent.agrees("crops")
        async with connected(request):
            first = await work.chosen(sent.photos["first"][0], "first", choice)
            second = await work.chosen(sent.photos["second"][0], "second", choice)
            found = (await work.verify((first, second), threshold)).as_json()
            if crops:
                for face, told in zip((first, second), found["faces"], strict=True):
                    told["crop"] = await work.crop(face.aligned)
    return Verified.model_validate(found)
