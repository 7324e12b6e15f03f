"""The application: routes behind one gate, around one loaded model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from elasticface.base.version import __version__
from elasticface.faces.finder import FaceFinder
from elasticface.model.encoder import FaceEncoder
from elasticface.service.description import completed
from elasticface.service.galleries import Galleries
from elasticface.service.gate import Gate
from elasticface.service.keys import Key
from elasticface.service.limits import Limits
from elasticface.service.metrics import Metrics
from elasticface.service.problems import Problem, answer_problem
from elasticface.service.routes import (
    collections,
    detect,
    docs,
    embed,
    faces,
    page,
    people,
    search,
    service,
    state,
    verify,
)
from elasticface.service.routes.query import check_query
from elasticface.service.work import Work

_API = tuple(of.router for of in (service, detect, verify, embed, collections, people, faces, search))
_OTHERS = tuple(of.router for of in (state, docs, page))

_DESCRIPTION = (
    "Photos in, answers out: faces, decisions, embeddings, and who it is among people who were enrolled. Photos come "
    "as file uploads alone, and are not kept; the aligned faces are, of those enrolled in a collection made so. "
    "All but /healthz, /readyz, /docs, /openapi.json and the page at / need the API key in the header X-API-Key. What "
    "is wrong is answered as application/problem+json (RFC 9457); a method that a path does not have with 405, and the "
    "header Allow has those that it has."
)


def create_app(
    encoder: FaceEncoder,
    key: Key,
    finder: FaceFinder | None = None,
    limits: Limits | None = None,
    *,
    gallery: bool = True,
    database: str | Path | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        encoder: the model, loaded; without a calibration there are similarities and no decisions.
        key: that clients must have.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        limits: bounds on what clients may ask for; those of :class:`Limits` by themselves where none are given.
        gallery: whether people can be enrolled and searched.
        database: of the galleries, ``postgresql://…``, the folder of an embedded one, or None: the user's own. It is
            opened when a request first needs it.
    """
    limits, metrics = limits or Limits(), Metrics()
    work = Work(encoder, finder or FaceFinder(), limits, metrics)
    galleries = Galleries(database, encoder, work.finder, limits) if gallery else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        work.close()
        if galleries is not None:
            galleries.close()

    app = FastAPI(
        title="elasticface",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,  # it is a route of routes/docs.py, and FastAPI's pages load scripts from other hosts
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.work, app.state.galleries, app.state.metrics = work, galleries, metrics
    for error in (Problem, HTTPException, RequestValidationError):
        app.add_exception_handler(error, answer_problem)
    app.add_exception_handler(405, _refuse_method)
    for router in _API:
        app.include_router(router, dependencies=[Depends(check_query)])
    for router in _OTHERS:
        app.include_router(router)
    app.add_middleware(Gate, key=key, limits=limits, metrics=metrics)
    app.openapi = cache(lambda: completed(FastAPI.openapi(app)))  # type: ignore[method-assign]
    return app


async def _refuse_method(request: Request, error: Exception) -> JSONResponse:
    """Say the methods of all routes of a path, where the framework says those of the first."""
    routes = [route for router in (*_API, *_OTHERS) for route in router.routes if isinstance(route, APIRoute)]
    matching = (route for route in routes if route.matches(request.scope)[0] != Match.NONE)
    allowed = {method for route in matching for method in route.methods or ()}
    if "GET" in allowed:
        allowed.add("HEAD")
    return await answer_problem(request, HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))}))
