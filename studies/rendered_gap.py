"""How far rendered faces are from real ones, by simple measures and to a model, and where the model fails on LFW.

Writes `studies/results/rendered_gap.json`, prints its tables and fills those of docs/default-model.md:
*measures*: what is measured of a picture, real and rendered, and how well it alone tells the two apart (AUC; .5: not at
all); *places*: how well the detail of each part of the picture tells them apart, for what a classifier looks at;
*embeddings*: how far apart a model sees the average real and the average rendered face;
*parts*: how much of that way rendered faces go with one part of a real face in them, or after a change of the picture;
*people*: how much of an embedding people share, and a person's photos, to an embedder that was trained on real faces;
*pairs*: the model's accuracy on LFW's pairs by what differs between the two photos.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from common import DOCS, RESULTS, discriminants, fill, markdown, percent, run
from numpy.typing import NDArray

from elasticface.base import environment, files, keyed, progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data.images.photos import identity_of
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.studio import RENDERER_VERSION, Studio
from elasticface.model.encoder import FaceEncoder
from elasticface.model.loading import load

OUT = RESULTS / "rendered_gap.json"
PAGE = DOCS / "default-model.md"
ON_PAGE = ("parts", "people", "pairs")
FACES = 4000  # of each kind, one a person as far as there are
PEOPLE, PHOTOS = 140, 6  # of each kind, whose photos are compared with each other
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, by which the embedder normalises
SWAPPED = 1000  # pictures of each kind of which parts are exchanged
PARTS = {
    "eyes and brows": np.s_[36:64, 10:102],
    "nose": np.s_[54:82, 36:76],
    "mouth and chin": np.s_[80:112, 28:84],
    "forehead and hair": np.s_[0:38, 0:112],
}
PATCH = 16  # pixels
MEASURED = np.s_[40:100, 30:82]  # of an aligned picture: the face from the brows to the chin
LEFT_OF_IT, RIGHT_OF_IT = np.s_[40:100, 30:56], np.s_[40:100, 56:82]
Image = NDArray[np.uint8]
Floats = NDArray[np.float64]


def main(lfw: str | None = None, model: str | None = None, embedder: str | None = None) -> None:
    """Measure pictures, people, and a model's failures.

    Args:
        lfw: the folder with LFW's tar, `pairs.txt` and `landmarks5.csv`; without it, the stored tables are printed.
        model: whose failures are counted.
        embedder: an ONNX file that was trained on real faces normalised by ImageNet's mean and standard deviation.
    """
    stored: dict[str, Any] = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {}
    if lfw is None:
        _show(stored)
        return
    benchmark = open_pairs(lfw)
    if model is not None and benchmark.landmarks is None:
        raise InputError(f"{lfw}: no landmarks5.csv, by which failures are sorted; add it, or leave out --model")
    real = _one_a_person(benchmark)
    rendered = [Studio(1).image(number, 0) for number in progress.track(range(len(real)), "rendering", len(real))]
    stored |= {"renderer": RENDERER_VERSION, "faces": len(real), "environment": environment.describe()}
    stored["measures"] = compare(real, rendered)
    stored["places"] = places(real, rendered)
    if model is not None:
        encoder = load(model)
        stored["embeddings"] = {"model": encoder.card.name, **apart(encoder.embed(real), encoder.embed(rendered))}
        stored["parts"] = parts(encoder, real[:SWAPPED], rendered[:SWAPPED])
        stored["pairs"] = failures(encoder, benchmark)
    if embedder is not None:
        stored["people"] = people(load(embedder, mean=MEAN, std=STD), benchmark)
    files.write_json(OUT, stored)
    _show(stored)


def _one_a_person(benchmark: PairBenchmark) -> list[Image]:
    """Up to ``FACES`` aligned photos, each of somebody else."""
    firsts = sorted(names[0] for names in _by_person(benchmark))
    chosen = keyed.generator(0, "gap").permutation(firsts)[:FACES]
    return [benchmark.face(str(name)) for name in progress.track(chosen, "aligning", len(chosen))]


def _by_person(benchmark: PairBenchmark) -> list[list[str]]:
    """The photos in which there is a face, person by person."""
    of: dict[str, list[str]] = {}
    for name in sorted(benchmark.photos.names):
        if benchmark.landmarks is None or name in benchmark.landmarks:
            of.setdefault(identity_of(name), []).append(name)
    return list(of.values())


# ---------------------------------------------------------------------------------------------- pictures


def measures(image: Image) -> dict[str, float]:
    """What can be said of one picture, uint8 RGB [112, 112, 3], in grey levels unless named otherwise."""
    rgb = image.astype(np.float64)
    grey = rgb @ [0.299, 0.587, 0.114]
    red, green, blue = rgb[MEASURED].mean((0, 1))
    spread = rgb.max(2) - rgb.min(2)
    power = _spectrum(grey)
    return {
        "mean of the face": grey[MEASURED].mean(),
        "contrast of the face (standard deviation)": grey[MEASURED].std(),
        "contrast of the picture": grey.std(),
        "darkest hundredth": float(np.percentile(grey, 1)),
        "brightest hundredth": float(np.percentile(grey, 99)),
        "red over green in the face": red / max(green, 1),
        "blue over green in the face": blue / max(green, 1),
        "colourfulness of the face": spread[MEASURED].mean(),
        "colourfulness of the border": np.concatenate([spread[:, :12].ravel(), spread[:, -12:].ravel()]).mean(),
        "left against right of the face": abs(grey[LEFT_OF_IT].mean() - grey[RIGHT_OF_IT].mean()),
        "contrast of the mouth": grey[84:102, 36:76].std(),
        "contrast of the eyes": grey[44:60, 26:86].std(),
        "contrast of the cheeks": np.mean([grey[62:80, 26:42].std(), grey[62:80, 70:86].std()]),
        "contrast of the border": np.mean([grey[:, :12].std(), grey[:, -12:].std()]),
        "detail of 8 to 16 pixels (log10 power)": power[0],
        "detail of 4 to 8 pixels": power[1],
        "detail of 2 to 4 pixels": power[2],
    }


def _spectrum(grey: Floats) -> list[float]:
    """log10 of the mean power at wavelengths of 8 to 16, 4 to 8 and 2 to 4 pixels, under a Hann window."""
    window = np.hanning(len(grey))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * np.outer(window, window))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(len(grey)), np.fft.fftfreq(len(grey))))
    bands = ((1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2))
    return [float(np.log10(power[(frequency >= low) & (frequency < high)].mean() + 1)) for low, high in bands]


def compare(real: list[Image], rendered: list[Image]) -> dict[str, dict[str, float]]:
    """By measure: means and standard deviations of both kinds, and the AUC."""
    of_real, of_rendered = ([measures(image) for image in images] for images in (real, rendered))
    found = {}
    for name in of_real[0]:
        a, b = (np.array([each[name] for each in kind]) for kind in (of_real, of_rendered))
        found[name] = {
            "real": float(a.mean()),
            "real_std": float(a.std()),
            "rendered": float(b.mean()),
            "rendered_std": float(b.std()),
            "auc": _auc(a, b),
        }
    return found


def places(real: list[Image], rendered: list[Image]) -> list[list[float]]:
    """AUC, by patch, of the linear discriminant of the patch's mean colour and power by DCT frequency.

    It is fitted on one half of the pictures and judged on the other.
    """
    labels = np.repeat([1, 0], [len(real), len(rendered)])
    images = np.stack([*real, *rendered])
    order = keyed.generator(0, "halves").permutation(len(labels))
    fitted, judged = order[::2], order[1::2]
    side = images.shape[1] // PATCH
    found = np.empty((side, side))
    for row, column in np.ndindex(side, side):
        patch = images[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
        rows = _described(patch)
        centre = rows[fitted].mean(0)
        direction = discriminants(rows[fitted] - centre, labels[fitted], 1)[:, 0]
        scores = (rows[judged] - centre) @ direction
        found[row, column] = _auc(scores[labels[judged] == 1], scores[labels[judged] == 0])
    return [[float(value) for value in row] for row in found]


def _described(patches: Image) -> Floats:
    """[N, 16, 16, 3] -> [N, D]: mean colour, and log power of the grey patch at 36 low and middle frequencies."""
    grey = patches.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    power = np.stack([cv2.dct(patch)[:12:2, :12:2].ravel() for patch in grey])
    colour = patches.mean((1, 2)) / 64
    return np.concatenate([colour, np.log1p(np.abs(power))], axis=1).astype(np.float64)


def _auc(a: Floats, b: Floats) -> float:
    """How often a value of one kind is above one of the other, equal ones counting half; at least .5."""
    ordered = np.sort(b)
    below, not_above = (np.searchsorted(ordered, a, side) for side in ("left", "right"))
    share = float((below + not_above).mean() / (2 * len(b)))
    return max(share, 1 - share)


# ---------------------------------------------------------------------------------------------- embeddings


def apart(real: NDArray[np.float32], rendered: NDArray[np.float32]) -> dict[str, float]:
    """How far the mean of real faces is from that of rendered ones, and how far faces spread along that line.

    Args:
        real: [N, D], of unit length.
        rendered: [M, D], of unit length.
    """
    a, b = real.astype(np.float64), rendered.astype(np.float64)
    line = a.mean(0) - b.mean(0)
    distance = float(np.linalg.norm(line))
    of_real, of_rendered = a @ line / distance, b @ line / distance
    return {
        "distance": distance,
        "real_std": float(of_real.std()),
        "rendered_std": float(of_rendered.std()),
        "auc": _auc(of_real, of_rendered),
    }


def parts(encoder: FaceEncoder, real: list[Image], rendered: list[Image]) -> dict[str, float]:
    """The way from the average rendered face to the average real one: what share of it each change goes."""
    a, b = (encoder.embed(images).astype(np.float64).mean(0) for images in (real, rendered))
    way = (a - b) / ((a - b) @ (a - b))
    changes: dict[str, Callable[[Image, Image], NDArray[Any]]] = {
        **{f"{name} of a real face": _swap(_soft(place)) for name, place in PARTS.items()},
        "what is around the face": _swap(1 - _soft(np.s_[14:112, 20:92])),
        "blurred, 1.2 pixels": lambda image, _: cv2.GaussianBlur(image, (0, 0), 1.2),
        "contrast × 0.7": lambda image, _: (image - image.mean()) * 0.7 + image.mean(),
        "colours × 0.5": lambda image, _: 0.5 * image + 0.5 * image.mean(2, keepdims=True),
        "1.5 pixels lower": lambda image, _: _moved(image, 1, 1.5),
        "4 % larger": lambda image, _: _moved(image, 1.04, 0),
    }
    found = {}
    for name, change in changes.items():
        changed = [change(*pair).clip(0, 255).astype(np.uint8) for pair in zip(rendered, real, strict=True)]
        found[name] = float((encoder.embed(changed).astype(np.float64).mean(0) - b) @ way)
    return found


def _swap(share: Floats) -> Callable[[Image, Image], NDArray[Any]]:
    return lambda image, other: image * (1 - share) + other * share


def _soft(place: tuple[slice, slice]) -> Floats:
    """[112, 112, 1]: 1 in a place, 0 outside, and soft between."""
    mask = np.zeros((112, 112))
    mask[place] = 1
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 3), np.float64)[..., None]


def _moved(image: Image, zoom: float, down: float) -> Image:
    matrix = np.array([[zoom, 0, 56 * (1 - zoom)], [0, zoom, 56 * (1 - zoom) + down]])
    return np.asarray(cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT))


# ---------------------------------------------------------------------------------------------- people


def people(encoder: FaceEncoder, benchmark: PairBenchmark) -> dict[str, Any]:
    """What people have in common to an embedder: real ones, rendered ones, and those with one shape, skin or hair."""
    enough = [names[:PHOTOS] for names in _by_person(benchmark) if len(names) >= PHOTOS]
    chosen = [enough[place] for place in keyed.generator(0, "people").permutation(len(enough))[:PEOPLE]]
    found = {"real": shares(encoder, [[benchmark.face(name) for name in names] for names in chosen])}
    studio = Studio(1)
    alike = studio.person(0)
    for kind, change in ALIKE.items():
        rendered = []
        for number in progress.track(range(PEOPLE), kind, PEOPLE):
            sitter = studio.seat(change(studio.person(number), alike))
            photos = range(PHOTOS)
            rendered.append([studio.take(sitter, studio.scene(number, photo), photo) for photo in photos])
        found[kind] = shares(encoder, rendered)
    return {"model": encoder.card.name, "kinds": found}


def _taken(*fields: str) -> Callable[[Person, Person], Person]:
    """A person with these fields of another."""
    return lambda person, other: replace(person, **{name: getattr(other, name) for name in fields})


ALIKE = {
    "rendered": _taken(),
    "rendered, one shape": _taken("genes", "sides", "asymmetry", "ancestry", "sex", "age", "weight"),
    "rendered, one skin": _taken(
        *("melanin", "haemoglobin", "ruddiness", "eye_circles", "freckles", "moles", "scar", "lips", "roughness"),
        *("wrinkles", "blotches", "oiliness", "iris", "pupil", "sclera"),
    ),
    "rendered, one hair and brows": _taken("hair_colour", "receding", "hairline", "brows", "habits"),
}


def shares(encoder: FaceEncoder, photos: Sequence[Sequence[Image]]) -> dict[str, float]:
    """Of the squared length of embeddings, 1: what all people share, what a person's photos share beyond, and the rest.

    The first is the mean cosine of two people's photos, the first two together that of two photos of one person.

    Args:
        encoder: makes embeddings of unit length.
        photos: of each person, equally many.
    """
    each = len(photos[0])
    rows = encoder.embed([photo for own in photos for photo in own]).astype(np.float64).reshape(len(photos), each, -1)
    means = rows.mean(1)
    own = float(((rows - means[:, None]) ** 2).sum() / (len(photos) * (each - 1)))
    person = float(means.var(0, ddof=1).sum()) - own / each
    return {"all": 1 - person - own, "person": person, "photo": own}


# ---------------------------------------------------------------------------------------------- pairs


def failures(encoder: FaceEncoder, benchmark: PairBenchmark) -> dict[str, Any]:
    """Accuracy on genuine pairs and on impostor pairs, by thirds of what differs between the two photos."""
    result = evaluate_pairs(encoder, benchmark)
    right = result.same == result.accepted
    names = {*result.first, *result.second}
    facts = {name: _facts(benchmark, name) for name in progress.track(names, "looking", len(names))}
    found: dict[str, Any] = {}
    for fact in next(iter(facts.values())):
        a, b = (np.array([facts[name][fact] for name in side]) for side in (result.first, result.second))
        differing = np.abs(a - b)
        found[fact] = {
            kind: [float(right[chosen & part].mean()) for part in _thirds(differing, chosen)]
            for kind, chosen in (("genuine", result.same), ("impostor", ~result.same))
        }
    return {"model": result.model, "accuracy": result.accuracy, "by": found}


def _thirds(apart: Floats, chosen: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Pairs that differ least, more and most, cut so that each part has a third of the chosen ones."""
    low, high = np.percentile(apart[chosen], [100 / 3, 200 / 3])
    return [apart <= low, (apart > low) & (apart <= high), apart > high]


def _facts(benchmark: PairBenchmark, name: str) -> dict[str, float]:
    """What five points and the picture say of a photo."""
    assert benchmark.landmarks is not None  # else main has refused
    left, right, nose, left_mouth, right_mouth = benchmark.landmarks[name]
    eyes, across = (left + right) / 2, np.linalg.norm(right - left)
    grey = cv2.cvtColor(benchmark.face(name), cv2.COLOR_RGB2GRAY).astype(np.float64)
    return {
        "side (nose from the middle of the eyes)": float((nose - eyes) @ (right - left) / across**2),
        "tilt (eyes to mouth)": float(np.linalg.norm((left_mouth + right_mouth) / 2 - eyes) / across),
        "expression (width of the mouth)": float(np.linalg.norm(right_mouth - left_mouth) / across),
        "brightness": float(grey[MEASURED].mean()),
        "light from the left or right": float(grey[LEFT_OF_IT].mean() - grey[RIGHT_OF_IT].mean()),
        "sharpness": float(np.log10(cv2.Laplacian(grey, cv2.CV_64F).var() + 1)),
    }


# ---------------------------------------------------------------------------------------------- tables


def _show(stored: dict[str, Any]) -> None:
    found = tables(stored)
    print(*found.values(), sep="\n\n")
    for name in ON_PAGE:
        if name in found:
            fill(PAGE, f"gap: {name}", found[name])


def tables(stored: dict[str, Any]) -> dict[str, str]:
    """Markdown of what is stored."""
    if not stored:
        raise InputError(f"{OUT}: no results yet; give --lfw")
    rows = [
        [name, *(f"{of[kind]:.3g} ± {of[kind + '_std']:.2g}" for kind in ("real", "rendered")), f"{of['auc']:.2f}"]
        for name, of in sorted(stored["measures"].items(), key=lambda item: -item[1]["auc"])
    ]
    found = {"measures": markdown(["measure", "real", "rendered", "AUC"], rows)}
    grid = [["", *(f"{value:.2f}" for value in row)] for row in stored["places"]]
    found["places"] = markdown(["places", *map(str, range(len(grid[0]) - 1))], grid)
    if "embeddings" in stored:
        of = stored["embeddings"]
        row = [of["model"], *(f"{of[name]:.2f}" for name in ("distance", "rendered_std", "real_std", "auc"))]
        columns = ["model", "distance of the means", "rendered faces along it (std)", "real faces", "AUC"]
        found["embeddings"] = markdown(columns, [row])
    if "parts" in stored:
        rows = [[name, percent(value)] for name, value in stored["parts"].items()]
        found["parts"] = markdown(["rendered faces with", "of the way to real ones"], rows)
    if "people" in stored:
        of = stored["people"]["kinds"]
        names = ("all", "person", "photo")
        rows = [[kind, *(f"{each[name]:.2f}" for name in names)] for kind, each in of.items()]
        columns = ["people", "all share", "a person's photos share beyond", "a photo's own"]
        found["people"] = markdown(columns, rows)
    if "pairs" in stored:
        kinds: tuple[str, ...] = ("genuine", "impostor")
        rows = [
            [name, *(percent(value) for kind in kinds for value in of[kind])]
            for name, of in stored["pairs"]["by"].items()
        ]
        thirds = [f"{kind}, {third}" for kind in kinds for third in ("nearest", "middle", "farthest")]
        found["pairs"] = markdown(["judged right", *thirds], rows)
    return found


if __name__ == "__main__":
    run(main)
