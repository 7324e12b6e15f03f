"""Faces on the report's page: pairs and searches to look at, their pictures inside the page."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elasticface.benchmarks.hardest import Hardest, HardTrial

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult
    from elasticface.benchmarks.results import LargeResult

Picture = NDArray[np.uint8]
Pictures = Callable[["PairResult | LargeResult", str], Picture | None]
"""(result, name of an image) -> the aligned face, uint8 [H, W, 3] RGB; None where it is not to be had."""

JPEG_QUALITY = 88


@dataclass(frozen=True)
class Gallery:
    """The hardest trials of one kind, each with its pictures as data URIs, or with None where one is missing."""

    hardest: Hardest
    kind: str  # of a trial, for those who do not see its pictures
    trials: list[tuple[HardTrial, tuple[str, ...] | None]]


def gallery(result: "PairResult | LargeResult", hardest: Hardest, kind: str, pictures: Pictures | None) -> Gallery:
    return Gallery(hardest, kind, [(trial, taken(result, trial.images, pictures)) for trial in hardest.trials])


def taken(
    result: "PairResult | LargeResult", names: Sequence[str], pictures: Pictures | None
) -> tuple[str, ...] | None:
    """Pictures of these images as data URIs; None unless there are all of them."""
    found = [pictures(result, name) for name in names] if pictures else []
    shown = tuple(jpeg(picture) for picture in found if picture is not None)
    return shown if shown and len(shown) == len(names) else None


def jpeg(picture: Picture) -> str:
    import cv2

    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"an array of shape {picture.shape} and type {picture.dtype} cannot be written as JPEG")
    return data_uri("image/jpeg", data.tobytes())


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
