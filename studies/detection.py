"""What each step of finding a face is worth: LFW's 6,000 pairs with a public embedder, by who puts the five points.

Every row finds the faces of the same photos in another way, aligns them and judges the same model on the same pairs. Of
several faces in a photo the central one counts. Raw results go to `studies/results/detection.json`, the table to
docs/faces.md; rows that are there are not made again.

    python studies/detection.py --lfw LFW --model mobilefacenet.onnx

Without --lfw it fills the table from what is stored.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, RESULTS, fill, markdown, open_results, read_results, run
from numpy.typing import NDArray

from elasticface.base import environment, files
from elasticface.base.errors import InputError
from elasticface.base.progress import track
from elasticface.benchmarks.pairwise.listed_faces import LANDMARKS_FILE
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import cv2, decode, encode
from elasticface.faces import Detections, Face, FaceFinder, choose
from elasticface.faces.landmarks import read_landmarks
from elasticface.faces.overlap import without_overlaps
from elasticface.faces.yunet import YuNet
from elasticface.model.loading import load

OUT = RESULTS / "detection.json"
PAGE = DOCS / "faces.md"

Image = NDArray[np.uint8]
Finder = Callable[[Image], list[Face]]


class AsItComes(YuNet):
    """YuNet with OpenCV's own choice among the candidates of a face: the one of the highest score."""

    def find(self, image: Image) -> Detections:
        return without_overlaps(self.candidates(image))


def scaled(image: Image, factor: float) -> Image:
    enlarged: Any = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, np.uint8)


def unscaled(points: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Points of an enlarged photo in the photo itself: pixels are squares, centred on their coordinates."""
    return (points + 0.5) / factor - 0.5


def by(detector: YuNet, factor: float) -> Finder:
    """One look at the photo, enlarged by ``factor``."""

    def find(photo: Image) -> list[Face]:
        found = detector.find(scaled(photo, factor) if factor != 1 else photo)
        return [Face(face.box, face.score, unscaled(face.points, factor)) for face in found.faces()]

    return find


def on(
    change: Callable[[Image], Image], back: Callable[[NDArray[np.float64], int, int], NDArray[np.float64]]
) -> Finder:
    """The product on a changed photo, with its points where they are in the photo itself."""
    finder = FaceFinder()

    def find(photo: Image) -> list[Face]:
        height, width = photo.shape[:2]
        faces = finder.find(np.ascontiguousarray(change(photo)))
        return [Face(face.box, face.score, back(face.points, width, height)) for face in faces]

    return find


def quarter_back(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    return np.stack([width - 1 - points[:, 1], points[:, 0]], axis=1)


ROWS: dict[str, Callable[[], Finder]] = {
    "YuNet as it comes, at the photo's 250 pixels": lambda: by(AsItComes(), 1),
    "the same, candidates averaged": lambda: by(YuNet(), 1),
    "YuNet as it comes, the photo doubled": lambda: by(AsItComes(), 2),
    "`detect`, upright only": lambda: FaceFinder(turned=False).find,
    "`detect`": lambda: FaceFinder().find,
    "`detect`, all photos turned by 90 degrees": lambda: on(lambda photo: np.rot90(photo), quarter_back),
    "`detect`, all photos enlarged to 1,000 pixels": lambda: on(
        lambda p: scaled(p, 4), lambda points, *_: unscaled(points, 4)
    ),
}
GIVEN = "five points of RetinaFace, given"


def main(lfw: Path | None = None, model: str | None = None) -> None:
    """Find, align, judge, row by row.

    Args:
        lfw: folder with LFW's photos, `pairs.txt` and `landmarks5.csv` (RetinaFace's points); without it, the table of
            the stored rows is filled in.
        model: an .onnx embedder with its YAML beside it.
    """
    if lfw is not None:
        if model is None:
            raise InputError("--lfw needs a --model")
        measure(lfw, model)
    text = table(read_results(OUT)["rows"])
    fill(PAGE, "detection", text)
    print(text)


def measure(lfw: Path, model: str) -> None:
    """Make the rows that are not stored yet."""
    encoder = load(model)
    stored = {"rows": {}} | open_results(OUT, {"model": encoder.card.name, "pairs": "lfw"})
    given = read_landmarks(lfw / LANDMARKS_FILE)
    benchmark = open_pairs(lfw)
    names = sorted({*benchmark.pairs.first, *benchmark.pairs.second})
    for row in (row for row in (GIVEN, *ROWS) if row not in stored["rows"]):
        stored["rows"][row] = judged(row, encoder, benchmark, names, given)
        files.write_json(OUT, {**stored, "environment": environment.describe()})


def judged(row: str, encoder: Any, benchmark: PairBenchmark, names: list[str], given: dict[str, Any]) -> dict[str, Any]:
    find = None if row == GIVEN else ROWS[row]()
    aligned: dict[str, bytes] = {}
    missed, seconds = 0, 0.0
    for name in track(names, row, len(names)):
        photo = decode(benchmark.photos.read(name), name)
        points = given[name]
        if find is not None:
            start = time.process_time()
            faces = find(photo)
            seconds += time.process_time() - start
            places = choose(faces, "central", photo.shape[1], photo.shape[0])
            missed += not places
            points = faces[places[0]].points if places else points
        aligned[name] = encode(align(photo, points), ".png")
    result = evaluate_pairs(encoder, PairBenchmark("lfw", _Images(aligned), benchmark.pairs), intervals=False)
    return {
        "accuracy": result.accuracy,
        "std": result.accuracy_std,
        "missed": missed,
        "milliseconds": None if find is None else 1000 * seconds / len(names),
    }


class _Images:
    """Encoded images by name."""

    def __init__(self, images: dict[str, bytes]) -> None:
        self._images, self.names = images, sorted(images)

    def read(self, name: str) -> bytes:
        return self._images[name]


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = []
    for row, figures in rows.items():
        time_taken = figures["milliseconds"]
        lines.append(
            [
                row,
                f"{100 * figures['accuracy']:.2f} ± {100 * figures['std']:.2f}",
                str(figures["missed"]) if time_taken is not None else "–",
                f"{time_taken:.0f}" if time_taken is not None else "–",
            ]
        )
    return markdown(["faces found by", "accuracy, %", "photos without a face", "processor time a photo, ms"], lines)


if __name__ == "__main__":
    run(main)
