"""`elasticface serve`: faces found, compared and embedded, people enrolled and searched, over HTTP."""

import os
from dataclasses import fields
from pathlib import Path

from jsonargparse import Namespace

from elasticface.base.errors import InputError
from elasticface.base.interrupts import ended_by_sigterm
from elasticface.cli.gallery.options import add_database
from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, open_finder
from elasticface.service.limits import Limits

HELP = "a service: faces found, compared, embedded, enrolled and searched over HTTP"

DESCRIPTION = """Serve one model over HTTP: /v1/detect, /v1/verify, /v1/embed, /v1/collections; /docs lists all.

Clients send an API key in the header X-API-Key. It is made at the first start and printed once; its hash alone is kept,
in a folder that nobody else may enter. --new-key makes another one, prints it, and ends. SIGTERM and Ctrl-C end the
service once the requests that it has are answered.

/v1/collections is a gallery: people enrolled in a database, searched and removed. It is that of `elasticface gallery`,
opened when a request first needs it; --database names another one, and --no-gallery leaves it out."""

_LIMITS_HELP = {
    "request_bytes": "of a request, at most",
    "photo_bytes": "of a photo, at most",
    "photos": "of a request, at most",
    "pixels": "of a photo, at most",
    "most_faces": "of a photo, at most",
    "queue": "requests at one time; further ones are told to come again",
    "threads": "photos looked at at one time",
    "batch": "faces embedded at one time",
    "batch_ms": "milliseconds that a face waits for others to be embedded with, at most",
    "upload_seconds": "for a request to come in, and for its answer to be taken",
    "connections": "to the database of the galleries: searches at one time",
    "database_seconds": "that a request waits for the database, and a statement may take there",
    "stop_seconds": "for the requests that are there when the service is stopped",
}


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("--host", type=str, default="127.0.0.1", help="name or address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one")
    parser.add_argument("--model", type=str, default="default", help=MODEL_HELP)
    add_database(parser)
    parser.add_argument("--gallery", type=bool, default=True, help="have collections of people")
    parser.add_argument(
        "--key-folder",
        type=str | None,
        default=None,
        help="folder of the API key's hash (default: ~/.local/share/elasticface/service)",
    )
    parser.add_argument("--new-key", action="store_true", help="make a new API key, print it, and end")
    for field in fields(Limits):
        parser.add_argument(
            f"--{field.name}",
            type=type(field.default),
            default=field.default,
            help=_LIMITS_HELP[field.name],
        )
    add_finder_options(parser)
    add_model_options(parser)


def run(options: Namespace) -> None:
    """Serve until it is stopped."""
    with ended_by_sigterm(SystemExit(0)):  # while the model loads; then the server answers it
        _serve(options)


def _serve(options: Namespace) -> None:
    limits = Limits(**{field.name: options[field.name] for field in fields(Limits)})
    # OpenCV reads it when it is imported: its decoders hold to the bound, too, whatever a header has said.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(limits.pixels))
    from elasticface.base import progress

    try:
        from elasticface.service import app, keys, serving
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
            raise
        raise InputError(f"the service needs {error.name}: pip install elasticface[service]") from error
    folder = keys.default_folder() if options.key_folder is None else Path(options.key_folder)
    if options.new_key:
        print(keys.new_key(folder)[1])
        return
    listening = serving.listen(options.host, options.port)
    with listening:
        encoder, finder = load_model(options), open_finder(options)
        key, text = keys.open_key(folder)  # now that nothing else is wrong: a new one is shown once
        if text is not None:
            print(f"API key, shown this once: {text}", flush=True)
        made = app.create_app(encoder, key, finder, limits, gallery=options.gallery, database=options.database)
        host, port = listening.getsockname()[:2]
        if not serving.is_local(listening):
            progress.say(
                f"warning: others can connect to {host}, and what they send, photos and the API key, is not encrypted: "
                "put a reverse proxy with TLS before it (docs/service.md)"
            )
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        serving.serve(made, listening, limits)
