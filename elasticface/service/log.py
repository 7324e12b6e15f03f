"""The service's log: a line a request, and one more under the same id where something failed."""

import logging
import time
import traceback
from typing import Any

log = logging.getLogger("elasticface.service")


def to_stderr() -> None:
    """Write it to stderr, in UTC; what uvicorn and the form's parser have to say is in these lines already."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    quiet: Any = logging.NullHandler()
    for name, level in (("uvicorn.error", logging.ERROR), ("python_multipart", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).addHandler(quiet)


def where(error: BaseException) -> str:
    """The type of an error and where it arose, and those of its cause, without their messages: these may hold a name
    from a photo's metadata.
    """
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    at = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    cause = f" from {where(error.__cause__)}" if error.__cause__ else ""
    return f"{type(error).__name__}{at}{cause}"
