"""`/healthz`, `/readyz` and `/metrics`: for those who run the service."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from elasticface.service.answers import Alive
from elasticface.service.galleries import Galleries
from elasticface.service.problems import Problem
from elasticface.service.routes.form import PROBLEMS
from elasticface.service.work import RETRY_SECONDS, Work

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Alive:
    """Whether the service is alive."""
    return Alive(status="alive")


@router.get("/readyz", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> Alive:
    """Whether a request would be taken now: the model is loaded, there is room in the queue, and the database answers
    where a request has needed it."""
    work: Work = request.app.state.work
    galleries: Galleries | None = request.app.state.galleries
    after = {"Retry-After": str(RETRY_SECONDS)}
    if not work.ready:
        raise Problem(503, "not-ready", "a request would not be taken now", after)
    if galleries is not None and not await galleries.ready():
        raise Problem(503, "not-ready", "the database does not answer", after)
    return Alive(status="ready")


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
