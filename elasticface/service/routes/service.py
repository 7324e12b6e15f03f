"""`/v1/service`: what this service is, for a page or a program that begins to use it."""

from fastapi import APIRouter, Request

from elasticface.base.version import __version__
from elasticface.service.answers import Limits, Service
from elasticface.service.routes.form import PROBLEMS
from elasticface.service.work import Work

router = APIRouter()


@router.get("/v1/service", responses={422: PROBLEMS[422]})
async def service(request: Request) -> Service:
    """Say the version, the model, the false match rates that can be asked for, and the limits."""
    work: Work = request.app.state.work
    points = [] if isinstance(work.calibration, str) else work.calibration.points
    return Service(
        version=__version__,
        model=work.encoder.card.name,
        calibrated=bool(points),
        fmrs=sorted(point.fmr for point in points),
        gallery=request.app.state.galleries is not None,
        limits=Limits.model_validate(vars(work.limits)),
    )
