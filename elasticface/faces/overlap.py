"""Boxes that are of one face."""

import numpy as np

from elasticface.faces.detector import Detections, Floats

SAME_FACE = 0.45
"""Intersection over union from which two boxes are of one face."""


def overlap(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of ``box`` [4] with each of ``boxes`` [K, 4]: [K], from 0 to 1."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    union = areas + np.prod(box[2:] - box[:2]) - common
    shares: Floats = np.divide(common, union, out=np.zeros(len(boxes)), where=union > 0)
    return shares


def without_overlaps(found: Detections) -> Detections:
    """The detections without those that overlap one of a higher score (non-maximum suppression), best first."""
    remaining = np.argsort(-found.scores, kind="stable")
    kept = []
    while len(remaining):
        kept.append(remaining[0])
        others = remaining[1:]
        remaining = others[overlap(found.boxes[remaining[0]], found.boxes[others]) <= SAME_FACE]
    rows = np.array(kept, np.int64)
    return Detections(found.boxes[rows], found.scores[rows], found.points[rows])
