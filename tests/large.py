"""Small folders of IJB and MegaFace as they are published: the same files, columns and rules, tens of people."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elasticface.data.images import decoding
from elasticface.data.images.alignment import TEMPLATE, similarity
from elasticface.model.encoder import Card, FaceEncoder

IJB = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}


def patches(inputs: Tensor) -> Tensor:
    """The mean of each of 4×4 patches: not the same for a mirror image, and of any norm."""
    return functional.avg_pool2d(inputs, inputs.shape[2] // 4).flatten(1)


def patch_encoder(name: str = "patches") -> FaceEncoder:
    return FaceEncoder(patches, Card(name, embedding_size=48))


def pattern(rng: np.random.Generator) -> NDArray[np.float64]:
    """An aligned face of somebody, [112, 112, 3]."""
    return np.kron(rng.uniform(40, 215, (7, 7, 3)), np.ones((16, 16, 1)))


def noisy(face: NDArray[np.float64], rng: np.random.Generator, sigma: float) -> NDArray[np.uint8]:
    blocks = np.kron(rng.normal(0, sigma, (7, 7, 3)), np.ones((16, 16, 1)))
    return np.clip(face + blocks, 0, 255).astype(np.uint8)


@dataclass
class IjbRows:
    """The rows of a folder, before they are written."""

    faces: list[tuple[str, int, int]] = field(default_factory=list)  # name, template, medium
    points: list[tuple[NDArray[np.float64], float]] = field(default_factory=list)
    pairs: list[tuple[int, int, int]] = field(default_factory=list)
    galleries: list[dict[int, int]] = field(default_factory=lambda: [{}, {}])  # template -> subject
    probes: dict[int, int] = field(default_factory=dict)


def write_ijb(
    root: Path, kind: str = "ijbc", subjects: int = 10, seed: int = 0, pictures: bool = True, sigma: float = 60
) -> IjbRows:
    """A folder with a gallery template and two probe templates a subject, of stills and videos.

    The subjects are dealt to the two galleries in turn, so half of the probes have no mate in one; the pairs are all of
    a gallery and a probe template. The first medium of a subject is in all its templates, and template ids
    are neither contiguous nor in order.
    """
    rng = np.random.default_rng(seed)
    rows = IjbRows()
    ids = rng.permutation(np.arange(7, 7 + 11 * subjects * 3, 11))[: subjects * 3].tolist()
    medium = 100
    for subject in range(1, subjects + 1):
        face = pattern(rng)
        shared = medium = medium + 1
        for role in range(3):
            template = ids.pop()
            if role == 0:
                rows.galleries[subject % 2][template] = subject
            else:
                rows.probes[template] = subject
            for number in range(int(rng.integers(1, 4))):
                medium += 1
                for _ in range(int(rng.integers(1, 4))):
                    name = f"{len(rows.faces) + 1}.jpg"
                    rows.faces.append((name, template, medium if number else shared))
                    rows.points.append(_picture(root / "loose_crop" / name, noisy(face, rng, sigma), rng, pictures))
    everyone = {**rows.galleries[0], **rows.galleries[1]}
    rows.pairs = [(g, p, int(a == b)) for g, a in everyone.items() for p, b in rows.probes.items()]
    rng.shuffle(rows.pairs)
    rows.pairs = [(int(a), int(b), int(c)) for a, b, c in rows.pairs]
    write_rows(root, kind, rows)
    return rows


def _picture(
    path: Path, face: NDArray[np.uint8], rng: np.random.Generator, write: bool
) -> tuple[NDArray[np.float64], float]:
    """A loose crop with ``face`` turned and moved in it, its five points [5, 2] and a detector score."""
    angle, scale = rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.3)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ turn.T + rng.uniform(20, 50, 2)
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        back = cv2.invertAffineTransform(similarity(points))
        photo = cv2.warpAffine(face, back, (220, 200), flags=cv2.INTER_LINEAR)
        path.write_bytes(decoding.encode(photo, ".jpg"))
    return points.round(3), round(float(rng.uniform(0.3, 1)), 6)


def write_rows(root: Path, kind: str, rows: IjbRows) -> None:
    meta = root / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    (meta / f"{kind}_face_tid_mid.txt").write_text("".join(f"{n} {t} {m}\n" for n, t, m in rows.faces))
    (meta / f"{kind}_name_5pts_score.txt").write_text(
        "".join(
            f"{name} {' '.join(map(str, points.ravel().tolist()))} {score}\n"
            for (name, *_), (points, score) in zip(rows.faces, rows.points, strict=True)
        )
    )
    (meta / f"{kind}_template_pair_label.txt").write_text("".join(f"{a} {b} {c}\n" for a, b, c in rows.pairs))
    images_of: dict[int, list[str]] = {}
    for name, template, _ in rows.faces:
        images_of.setdefault(template, []).append(name)
    listed = [
        *zip([f"gallery_{name}" for name in IJB[kind]], rows.galleries, strict=True),
        ("probe_mixed", rows.probes),
    ]
    for name, templates in listed:
        lines = ["TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT,SIGHTING_ID"]
        lines += [f"{t},{s},img/{file},1,2,3,4,5" for t, s in templates.items() for file in images_of[t]]
        (meta / f"{kind}_1N_{name}.csv").write_text("\n".join(lines) + "\n")


def write_matrix(path: Path, values: NDArray[np.float32], header: tuple[int, ...] | None = None) -> None:
    """A feature as the devkit writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<4i", *(header or (len(values), 1, 4, 5))) + values.astype("<f4").tobytes())


@dataclass
class MegaFaceRows:
    probes: list[str]
    people: list[str]
    distractors: list[str]


def write_megaface(
    root: Path, people: int = 4, photos: int = 4, distractors: int = 60, seed: int = 0, pictures: bool = False
) -> MegaFaceRows:
    """A folder with the devkit's lists and the published kind of noise lists, of which some lines name nothing."""
    rng = np.random.default_rng(seed)
    rows = MegaFaceRows([], [], [])
    root.mkdir(parents=True, exist_ok=True)
    for person in range(people):
        face = pattern(rng)
        for photo in range(photos - (person == 0)):  # not everybody has equally many
            name = f"Some_One{person}/Some_One{person}_{100 + photo}.png"
            rows.probes.append(name)
            rows.people.append(f"Some_One{person}")
            _aligned(root / "facescrub_images" / name, noisy(face, rng, 60), pictures)
    for number in range(distractors):
        name = f"{number % 7}/{number}@N0{number % 3}/{number}_{number % 2}.jpg"
        rows.distractors.append(name)
        _aligned(root / "megaface_images" / name, noisy(pattern(rng), rng, 30), pictures)
    (root / "facescrub_features_list.json").write_text(json.dumps({"path": rows.probes, "id": rows.people}))
    (root / "megaface_features_list.json_1000000_1").write_text(json.dumps({"path": rows.distractors}))
    (root / "facescrub_noises.txt").write_text("# noise\nSomeone_Else_1.png\n" + rows.probes[5].split("/")[1] + "\n")
    (root / "megaface_noises.txt").write_text(f"0\t{rows.distractors[3]}\n1\t9/9@N99/9_9.jpg\n{rows.distractors[8]}\n")
    return rows


def _aligned(path: Path, face: NDArray[np.uint8], write: bool) -> None:
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(decoding.encode(face, ".png"))


def write_features(
    root: Path, rows: MegaFaceRows, probes: NDArray[np.float32], distractors: NDArray[np.float32]
) -> Path:
    """A folder of the devkit's matrix files."""
    for which, names, features in (("facescrub", rows.probes, probes), ("megaface", rows.distractors, distractors)):
        for name, feature in zip(names, features, strict=True):
            write_matrix(root / which / f"{name}_r100.bin", feature)
    return root
