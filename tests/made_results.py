"""Results of models that were never measured, for reports and comparisons; and a page as a browser reads it."""

import base64
import math
from html.parser import HTMLParser

import numpy as np
from numpy.typing import NDArray

from elasticface.benchmarks.pairwise.pairs import PROTOCOL, PairResult
from elasticface.benchmarks.pairwise.slices import Slice
from elasticface.benchmarks.results import (
    DistractorSearch,
    LargeResult,
    RocPoints,
    Search,
    TemplateIdentification,
    TemplateVerification,
)

ENVIRONMENT = {"versions": {"elasticface": "0.1.0", "torch": "2.13.0"}, "threads": 2, "gpus": [], "cudnn": None}


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}$x^2$[red]"


def make_result(
    model: str = "one", benchmark: str = "lfw", accuracy: float = 0.9825, genuine: float = 0.5, pairs: int = 400
) -> PairResult:
    random = np.random.default_rng(len(model))
    same = np.arange(pairs) % 2 == 0
    scores = np.where(same, random.normal(genuine, 0.12, pairs), random.normal(0.0, 0.1, pairs))
    rates = {"0.001": 0.91, "0.01": 0.95, "0.1": 0.99}
    return PairResult(
        model=model,
        benchmark=benchmark,
        protocol=PROTOCOL.format(images="image and mirror image added", folds=10),
        accuracy=accuracy,
        accuracy_std=0.0031,
        threshold=1.5,
        per_fold=tuple(accuracy + 0.001 * (i - 4.5) for i in range(10)),
        tar_at_far={"at-most": rates, "nearest": rates},
        eer=0.0181,
        counts={"pairs": pairs, "genuine": pairs // 2, "impostor": pairs // 2, "images": 700, "skipped_pairs": 0},
        scores=scores.clip(-1, 1).astype(np.float32),
        same=same,
        first=tuple(f"a/{i}.jpg" for i in range(pairs)),
        second=tuple(f"b/{i}.jpg" for i in range(pairs)),
        intervals={
            "accuracy": (accuracy - 0.004, accuracy + 0.003),
            "tar@0.001": (0.89, 0.93),
            "nearest@0.001": (0.88, 0.94),
            "eer": (0.0141, 0.0232),
        },
        accepted=scores > 0.25,
        intervals_by="bootstrap over 57 people, 2,000 draws",
    )


SLICES = (
    Slice("pose", "0–15°", 1111, 99, 0.9512, (0.9401, 0.9602), 0.9112, 0.0123),
    Slice("pose", "over 45°", 88, 0, 0.8212, (0.7201, 0.8802), 0.8212, math.nan),
    Slice("occlusion", "none", 44, 55, 0.9312, (0.9001, 0.9502), 0.8912, 0.0223),
    Slice("occlusion", "one or both", 33, 66, 0.7912, (0.7401, 0.8302), 0.7112, 0.1123),
)


def grey_face(result: object, name: str) -> NDArray[np.uint8]:
    return np.full((112, 112, 3), (200, 90, 40), dtype=np.uint8)


class Page(HTMLParser):
    """What a browser would make of the page: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]

    def download(self, name: str) -> str:
        (link,) = [link for link in self.all("a") if link.get("download") == name]
        return base64.b64decode(str(link["href"]).partition("base64,")[2]).decode()


FARS = ("1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1")


def verification(model: str = "one", benchmark: str = "IJB-C 1:1", shift: float = 0) -> TemplateVerification:
    tars = {far: 0.8912 + 0.0211 * i + shift for i, far in enumerate(FARS)}
    at_most = {far: tar - 0.0003 for far, tar in tars.items()}
    return TemplateVerification(
        model=model,
        benchmark=benchmark,
        protocol="mean over each template and medium",
        tar_at_far={"nearest": tars, "at-most": at_most},
        intervals={"nearest": {far: (tar - 0.01, min(tar + 0.01, 1.0)) for far, tar in tars.items()}, "at-most": {}},
        counts={"images": 1234, "damaged_images": 2, "pairs": 5678, "skipped_pairs": 17},
        options={"keep_norm": True},
        roc=RocPoints((0, 1e-4, 1e-2, 1), (0.1, 0.5, 0.9, 1)),
        departures=("1,234 images where IJB-C has 469,375",),
        intervals_by="bootstrap over 3,531 people, 2,000 draws",
    )


def identification(model: str = "one") -> TemplateIdentification:
    rank, tpir = {"1": 0.9512, "5": 0.9734, "10": 0.9823}, {"0.01": 0.8645, "0.1": 0.9356}
    search = Search("G1", rank, tpir, {"rank": {"1": (0.94, 0.96)}}, {"subjects": 1, "mated": 2, "non_mated": 3})
    intervals = {"rank": {"5": (0.9633, 0.9811)}, "tpir_at_fpir": {}}
    cmc, open_set = (0.9512, 0.9634, 0.9688), RocPoints((0, 0.01, 0.1, 1), (0.5, 0.8645, 0.9356, 1))
    return TemplateIdentification(
        model=model,
        benchmark="IJB-C 1:N",
        protocol="galleries",
        rank=rank,
        tpir_at_fpir=tpir,
        intervals=intervals,
        galleries=(search,),
        counts={"probes": 9},
        options={},
        cmc=cmc,
        open_set=open_set,
    )


def megaface(model: str = "one", benchmark: str = "MegaFace") -> DistractorSearch:
    return DistractorSearch(
        model=model,
        benchmark=benchmark,
        protocol="distractors",
        rank={"1": 0.9789},
        tar_at_far={"at-most": {"1e-06": 0.9811}},
        intervals={"rank": {"1": (0.97, 0.99)}, "at-most": {}},
        counts={"probes": 3},
        options={},
        roc=RocPoints((0, 1e-9, 1e-6, 2e-5), (0.4, 0.6, 0.9811, 0.99)),
    )


ALL: list[LargeResult] = [verification(), identification(), megaface(), megaface(benchmark="MegaFace (R)")]
