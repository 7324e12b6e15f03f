"""What `/metrics` shows, in a registry of its own: no figure names a client, a photo or a person."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: dict[str, Any] = {"namespace": "elasticface", "registry": self.registry}
        self.requests = Counter("requests", "Requests that were answered", ("method", "route", "status"), **of)
        self.seconds = Histogram(
            "request_seconds", "From a request's headers to its answer", ("route",), buckets=_SECONDS, **of
        )
        self.at_work = Gauge("requests_at_work", "Requests that are received, wait, or are computed", **of)
        self.queue = Gauge("queue_limit", "Requests that may be at work at one time", **of)
        self.batch = Histogram("batch_faces", "Faces that were embedded together", buckets=_BATCH, **of)
        self.searches = Counter("searches", "Faces searched in a collection", ("outcome",), **of)
        self.enrolled = Counter("photos_enrolled", "Photos that were sent to be enrolled", ("outcome",), **of)
        self.removed = Counter("people_removed", "People removed from collections", **of)
        ProcessCollector(namespace="elasticface", registry=self.registry)
