"""`/v1/collections/…/search`: who of a collection is on a photo, or nobody of it."""

from fastapi import APIRouter, Request

from elasticface.base.errors import InputError
from elasticface.gallery import faces
from elasticface.gallery.database import Database
from elasticface.gallery.search import USUAL_FPIR, Found, check_fpir, decide
from elasticface.gallery.search import search as search_collection
from elasticface.recognition.verification import check_embedding
from elasticface.service.answers import Searched
from elasticface.service.forms import Form, read_form
from elasticface.service.limits import MOST_CANDIDATES
from elasticface.service.problems import Problem
from elasticface.service.routes.form import CROPS, FACES, GALLERY_PROBLEMS, choice_of, form, upload
from elasticface.service.routes.gallery import CollectionName, galleries_of, in_path
from elasticface.service.work import Work, connected, in_base64

router = APIRouter()

_USUAL_MOST = 5
_FPIR = {
    "type": "number",
    "exclusiveMinimum": 0,
    "exclusiveMaximum": 1,
    "default": USUAL_FPIR,
    "description": "share of the searches for strangers that may name somebody",
}
_MOST = {
    "type": "integer",
    "minimum": 1,
    "maximum": MOST_CANDIDATES,
    "default": _USUAL_MOST,
    "description": "candidates that are told",
}
_CROPS = CROPS | {"description": "send the aligned face back, and the candidates' where the collection keeps faces"}


@router.post(
    "/v1/collections/{name}/search",
    responses=GALLERY_PROBLEMS,
    openapi_extra=form(
        ("photo",), photo=upload("JPEG, PNG, WebP or HEIC"), fpir=_FPIR, faces=FACES, most=_MOST, crops=_CROPS
    ),
)
async def search(request: Request, name: CollectionName) -> Searched:
    """Search the face on a photo among the people of a collection: who it is, or unknown, and how often such an answer
    is wrong. Unknown is an answer, not an error."""
    work: Work = request.app.state.work
    galleries, kept = galleries_of(request), in_path(name)
    with work.place():
        sent = await read_form(request, work.limits, {"photo": 1}, ("fpir", "faces", "most", "crops"))
        fpir, crops = _fpir(sent), sent.agrees("crops")
        most = sent.whole("most", 1, MOST_CANDIDATES, _USUAL_MOST)
        choice = choice_of(sent)
        async with connected(request):
            collection = await galleries.run(lambda database: galleries.usable(database, kept))
            face = await work.chosen(sent.photos["photo"].pop(), "photo", choice)
            embedding = await work.embed([face.aligned])
            check_embedding(embedding[0], face.name, work.encoder.card.name)

            def sought(database: Database) -> tuple[Found, dict[int, str]]:
                (found,) = search_collection(database, collection, embedding, most)
                wanted = [one.face for one in found.candidates] if crops else []
                kept_faces = faces.pictures(database, collection, wanted)
                return found, {number: in_base64(picture) for number, picture in kept_faces.items()}

            found, pictures = await galleries.run(sought)
            answer = decide(collection, found, work.threshold(None), fpir, face)
            told = answer.as_json()
            if crops:
                told["face"]["crop"] = await work.crop(face.aligned)
            told["candidates"] = [one | {"crop": pictures.get(one["face"])} for one in told["candidates"]]
    outcome = {True: "unknown", False: "named", None: "undecided"}[answer.unknown]
    request.app.state.metrics.searches.labels(outcome).inc()
    return Searched.model_validate(told)


def _fpir(sent: Form) -> float:
    fpir = sent.number("fpir")
    if fpir is None:
        return USUAL_FPIR
    try:
        check_fpir(fpir)
    except InputError as error:
        raise Problem(422, "wrong-value", str(error)) from error
    return fpir
