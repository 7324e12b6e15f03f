"""What each factor of rendering and training is worth on real faces: a small fixed budget, one change at a time.

Every setting renders its own people, trains on them alone, and is judged on half of LFW's people: those of the first
five folds of its `pairs.txt`. The other half is left for what is chosen here. Writes
`studies/results/rendered_factors.json`, one entry a run, and resumes where it was stopped; without --lfw it fills the
table of docs/default-model.md from it.
"""

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from common import (
    DOCS,
    RESULTS,
    Bootstrap,
    add_run,
    describe_pairs,
    fill,
    from_to,
    judge,
    markdown,
    open_results,
    percent,
    points,
    read_results,
    run,
    runs_in,
)
from numpy.typing import NDArray

from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, PairBenchmark, open_pairs
from elasticface.data.feed import transforms
from elasticface.data.images.photos import identity_of
from elasticface.data.prepare.split import draw_pairs, write_pairs
from elasticface.data.synthetic.expression import resting
from elasticface.data.synthetic.look import Appearance
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.scene import Scene, Variation, draw_occluder, draw_quality, plain_scene
from elasticface.data.synthetic.source import person_name
from elasticface.data.synthetic.studio import RENDERER_VERSION, SIZE, Studio
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train

OUT = RESULTS / "rendered_factors.json"
PAGE = DOCS / "default-model.md"
POPULATION = 1000  # seed of the people of the first run: not those whom quickstart or the default model know
MOST_PHOTOS = 5  # of a person of LFW that pairs are drawn from
FOLDS, PAIRS_A_FOLD = 10, 300  # genuine ones, and as many impostor ones
MOST_TURNED = 1.3  # radians: nearly in profile
MOST_RAISED = 1.2  # of an action unit, as in the renderer's own scenes
BASE = "as it is"
Draw = np.random.Generator
Change = Callable[[Scene, Person, Draw], Scene]
"""A photo's scene as a setting has it; chance comes from the generator, which is the photo's own."""


@dataclass(frozen=True)
class Setting:
    """One change. What is not given is as in ``BASE``."""

    people: int = 1000
    photos: int = 16  # of each
    appearance: Appearance = "varying"
    heterogeneity: float = 0.5
    person: Callable[[Person], Person] = lambda person: person
    scene: Change = lambda scene, person, r: scene
    training: dict[str, Any] = field(default_factory=dict)  # settings of TrainConfig
    augmentation: dict[str, float] = field(default_factory=dict)  # constants of `transforms`, times RECIPE's `augment`

    @property
    def photos_alone(self) -> "Setting":
        """What it changes in the photos: settings that agree in it train on the same ones."""
        return replace(self, training={}, augmentation={})


def _quality(**changes: Any) -> Change:
    return lambda scene, person, r: replace(scene, quality=replace(scene.quality, **changes))


def _worse(scene: Scene, person: Person, r: Draw) -> Scene:
    """Blurred, reduced, noisy and compressed by two draws: by the worse of both, noise by their sum."""
    other = draw_quality(r, person.heterogeneity)
    now = scene.quality
    worse = replace(
        now,
        blur=max(now.blur, other.blur),
        resolution=min(now.resolution, other.resolution),
        noise=now.noise + other.noise,
        jpeg=min(now.jpeg, other.jpeg),
    )
    return replace(scene, quality=worse)


def _posed(factor: float) -> Change:
    def posed(scene: Scene, person: Person, r: Draw) -> Scene:
        angles = (scene.yaw, scene.pitch, scene.roll)
        yaw, pitch, roll = (min(max(factor * angle, -MOST_TURNED), MOST_TURNED) for angle in angles)
        return replace(scene, yaw=yaw, pitch=pitch, roll=roll)

    return posed


def _expressed(factor: float) -> Change:
    def expressed(scene: Scene, person: Person, r: Draw) -> Scene:
        rest = resting(person)
        names = {*rest, *scene.units}
        changed = {n: rest.get(n, 0) + factor * (scene.units.get(n, 0) - rest.get(n, 0)) for n in names}
        return replace(scene, units={n: min(max(value, 0), MOST_RAISED) for n, value in changed.items()})

    return expressed


def _plainly_lit(scene: Scene, person: Person, r: Draw) -> Scene:
    return replace(scene, lamp=plain_scene(person).lamp)


def _harshly_lit(scene: Scene, person: Person, r: Draw) -> Scene:
    return replace(scene, lamp=replace(scene.lamp, strength=2 * scene.lamp.strength))


def _from(nearest: float, farthest: float) -> Change:
    """Cameras at distances in decimetres."""
    return lambda scene, person, r: replace(scene, distance=math.exp(r.uniform(math.log(nearest), math.log(farthest))))


def _uncovered(scene: Scene, person: Person, r: Draw) -> Scene:
    return replace(scene, occluder=None, look=replace(scene.look, mask=None))


def _covered(scene: Scene, person: Person, r: Draw) -> Scene:
    """As often again an object before the face as the renderer's own scenes have one."""
    more = r.random() < 0.08 * min(person.heterogeneity, 2)
    return replace(scene, occluder=draw_occluder(r, person)) if more else scene


def _misplaced(factor: float) -> Change:
    return lambda scene, person, r: replace(scene, jitter=factor * scene.jitter)


def _shaped(factor: float) -> Callable[[Person], Person]:
    return lambda person: replace(person, genes=factor * person.genes, sides=factor * person.sides)


def _apart(factor: float) -> Callable[[Person], Person]:
    """Beyond what the mesh's sculptors meant, where the factor is above 1."""
    return lambda person: replace(
        person, sex=0.5 + factor * (person.sex - 0.5), ancestry=1 / 3 + factor * (person.ancestry - 1 / 3)
    )


def _smooth(person: Person) -> Person:
    """Skin without marks and folds."""
    return replace(
        person, freckles=0.0, moles=person.moles[:0], scar=None, roughness=0.0, wrinkles=np.zeros_like(person.wrinkles)
    )


SETTINGS: dict[str, dict[str, Setting]] = {
    "": {BASE: Setting()},
    "people and photos": {
        "500 × 32": Setting(people=500, photos=32),
        "2,000 × 8": Setting(people=2000, photos=8),
        "4,000 × 4": Setting(people=4000, photos=4),
        "2,000 × 16 in 3 epochs": Setting(people=2000, training={"epochs": 3}),
        "2,000 × 16": Setting(people=2000),
        "as it is, 12 epochs": Setting(training={"epochs": 12}),
        "heterogeneity 0": Setting(heterogeneity=0.0),
        "heterogeneity 1": Setting(heterogeneity=1.0),
    },
    "people": {
        "shapes × 0.7": Setting(person=_shaped(0.7)),
        "shapes × 1.4": Setting(person=_shaped(1.4)),
        "shapes × 2": Setting(person=_shaped(2.0)),
        "shapes × 2.8": Setting(person=_shaped(2.8)),
        "sexes and ancestries twice as far apart": Setting(person=_apart(2.0)),
        "both, shapes × 2": Setting(person=lambda person: _apart(2.0)(_shaped(2.0)(person))),
        "skin without marks and folds": Setting(person=_smooth),
    },
    "photos": {
        "pose × 0.5": Setting(scene=_posed(0.5)),
        "pose × 1.5": Setting(scene=_posed(1.5)),
        "no expression": Setting(scene=_expressed(0.0)),
        "expression × 2": Setting(scene=_expressed(2.0)),
        "plain light": Setting(scene=_plainly_lit),
        "lamp twice as strong": Setting(scene=_harshly_lit),
        "looks frozen": Setting(appearance="frozen"),
        "looks redrawn": Setting(appearance="redrawn"),
        "camera from 1 to 6 m": Setting(scene=_from(10, 60)),
        "camera from 0.5 to 1 m": Setting(scene=_from(5, 10)),
        "nothing before the face": Setting(scene=_uncovered),
        "twice as often something before it": Setting(scene=_covered),
        "one background": Setting(scene=lambda scene, person, r: replace(scene, background=0)),
        "perfect pictures": Setting(scene=_quality(blur=0.0, resolution=112, noise=0.0, jpeg=100)),
        "worse pictures": Setting(scene=_worse),
        "grey pictures": Setting(scene=_quality(saturation=0.0)),
        "exact landmarks": Setting(scene=_misplaced(0.0)),
        "landmarks off twice as far": Setting(scene=_misplaced(2.0)),
    },
    "augmentation": {
        "none but the mirror": Setting(training={"augment": 0.0}),
        "0.3": Setting(training={"augment": 0.3}),
        "1": Setting(training={"augment": 1.0}),
        "no zoom, rotation, shift": Setting(augmentation={"_ZOOM": 0.0, "_ROTATION": 0.0, "_SHIFT": 0.0}),
        "no contrast, brightness, tint": Setting(augmentation={"_CONTRAST": 0.0, "_BRIGHTNESS": 0.0, "_TINT": 0.0}),
        "tint × 3": Setting(augmentation={"_TINT": 0.3}),
        "half of the images grey": Setting(augmentation={"_GREY": 0.8}),
        "no low resolution": Setting(augmentation={"_LOW_RESOLUTION": 0.0}),
        "low resolution in half of them": Setting(augmentation={"_LOW_RESOLUTION": 0.8}),
        "nothing erased": Setting(augmentation={"_ERASED": 0.0}),
    },
    "loss": {
        "normface": Setting(training={"loss": "normface", "margin": None}),
        "cosface, m .2": Setting(training={"loss": "cosface", "margin": 0.2}),
        "elastic-arc+": Setting(training={"loss": "elastic-arc+", "std": 0.05}),
        "adaface": Setting(training={"loss": "adaface"}),
        "subcenter-arcface": Setting(training={"loss": "subcenter-arcface"}),
        "m .15": Setting(training={"margin": 0.15}),
        "m .5": Setting(training={"margin": 0.5}),
        "s 16": Setting(training={"scale": 16.0}),
        "s 64": Setting(training={"scale": 64.0}),
    },
    "training": {
        "weight decay 5e-3": Setting(training={"weight_decay": 5e-3}),
        "moving average": Setting(training={"ema": 0.999}),
        "dropout .4": Setting(training={"dropout": 0.4}),
        "batch 64": Setting(training={"batch_size": 64}),
        "mobilefacenet": Setting(training={"backbone": "mobilefacenet"}),
    },
}
RECIPE = {
    "loss": "arcface",
    "margin": 0.3,
    "scale": 32.0,
    "centre_std": 0.0625,
    "backbone": "tiny",
    "embedding_size": 256,
    "batch_size": 128,
    "epochs": 6,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "clip_norm": 5.0,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "augment": 0.6,
    "workers": 0,
    "compile": True,
    "precision": "bf16",
    "head_products": "bfloat16",
}


def main(lfw: str | None = None, seeds: int = 2, only: list[str] | None = None, part: int = 0, parts: int = 1) -> None:
    """Train with each setting on rendered people, judge it on real ones.

    Args:
        lfw: the folder with LFW's tar, `pairs.txt` and `landmarks5.csv`; without it, the stored results are written to
            docs/default-model.md.
        seeds: runs of each setting; all settings come with the first, then all with the second.
        only: names of settings; all unless given.
        part: of the runs, this process's: 0 to parts − 1.
        parts: processes that share the runs.
    """
    if lfw is None:
        fill(PAGE, "factors", table(read_results(OUT)))
        return
    settings = {name: setting for group in SETTINGS.values() for name, setting in group.items()}
    if unknown := [name for name in only or [] if name not in settings]:
        raise InputError(f"no setting {unknown[0]!r}; there are: {', '.join(settings)}")
    benchmark = tuning_half(Path(lfw))
    about, described = open_results(OUT, {"recipe": RECIPE}), describe_pairs(benchmark.pairs)
    about.pop("runs", None)
    if about.setdefault("pairs", described) != described:
        raise InputError(f"{lfw}: other pairs than those of the stored runs")
    faces = None
    for seed, name in itertools.islice(itertools.product(range(seeds), only or settings), part, None, parts):
        key = {"setting": name, "seed": seed, "renderer": RENDERER_VERSION}
        if any(key.items() <= each.items() for each in runs_in(OUT)):
            continue
        setting, began = settings[name], time.monotonic()
        photos = setting.photos_alone
        with patch.dict(vars(transforms), setting.augmentation), tempfile.TemporaryDirectory() as folder:
            if faces is None or faces.of != (photos, seed):
                faces = Rendered(photos, seed)
            config = TrainConfig(**{**RECIPE, **setting.training, "seed": seed})
            judged = judge(train(faces, Path(folder) / "run", config), benchmark)
        add_run(OUT, about, {**key, **judged, "seconds": round(time.monotonic() - began)})
        progress.say(f"{name}, seed {seed}: {judged['accuracy']:.2%}, EER {judged['eer']:.2%}")


class Rendered:
    """The people of a setting as a source for training, rendered into a file without a name."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.of = setting, seed
        self.num_classes = setting.people
        self.labels = np.repeat(np.arange(setting.people, dtype=np.int64), setting.photos)
        self.class_names = [person_name(number) for number in range(setting.people)]
        shape = (len(self.labels), SIZE, SIZE, 3)
        with tempfile.TemporaryFile() as file:  # gone from the folder at once; the map keeps it
            self._images = np.memmap(file, np.uint8, "w+", shape=shape)
        for place, image in enumerate(progress.track(_rendered(setting, seed), "rendering", len(self.labels))):
            self._images[place] = image

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return np.array(self._images[index]), int(self.labels[index])


def _rendered(setting: Setting, seed: int) -> Iterator[NDArray[np.uint8]]:
    studio = Studio(POPULATION + seed, Variation(setting.heterogeneity, setting.appearance))
    for number in range(setting.people):
        sitter = studio.seat(setting.person(studio.person(number)))
        for photo in range(setting.photos):
            draw = keyed.generator(seed, "study of factors", number, photo)
            scene = setting.scene(studio.scene(number, photo), sitter.person, draw)
            yield studio.take(sitter, scene, photo)


def tuning_half(lfw: Path) -> PairBenchmark:
    """6,000 pairs of the people in the first five folds of LFW's list, drawn as `elasticface split` draws them."""
    benchmark = open_pairs(lfw)
    listed = benchmark.pairs
    of_half = slice(len(listed.same) // 2)
    people = {identity_of(name) for name in (*listed.first[of_half], *listed.second[of_half])}
    own: dict[str, list[str]] = {}
    for name in sorted(benchmark.photos.names):
        if identity_of(name) in people:
            own.setdefault(identity_of(name), []).append(name)
    names = [photos[:MOST_PHOTOS] for photos in own.values()]
    starts = np.cumsum([0, *map(len, names)])
    drawn = draw_pairs([np.arange(a, b) for a, b in itertools.pairwise(starts)], PAIRS_A_FOLD, FOLDS, 0)
    with tempfile.TemporaryDirectory() as folder:
        drawn_list = Path(folder) / PAIRS_FILE
        write_pairs(drawn_list, drawn, list(itertools.chain.from_iterable(names)))
        return replace(open_pairs(lfw, drawn_list), name="LFW, tuning half")


def table(stored: dict[str, Any]) -> str:
    """Markdown: the mean over the seeds, and what it is more than without the change, over the seeds that both have."""
    bootstrap = Bootstrap(stored["pairs"])
    rows = []
    for group, settings in SETTINGS.items():
        for name in settings:
            if not (runs := _runs(stored, name)):
                continue
            base = _runs(stored, BASE, next(iter(runs.values()))["renderer"]) if name != BASE else {}
            seeds = runs.keys() & base.keys()
            difference = interval = ""
            if seeds:
                with_it, without = ([own[seed] for seed in sorted(seeds)] for own in (runs, base))
                apart = bootstrap.accuracies(with_it) - bootstrap.accuracies(without)
                difference = points(_mean(with_it, "accuracy") - _mean(without, "accuracy"))
                interval = from_to(tuple(np.percentile(apart, [2.5, 97.5])), points)
            figures = [percent(_mean(runs.values(), figure)) for figure in ("accuracy", "eer", "tar")]
            rows.append([f"{group}: {name}" if group else name, *figures, difference, interval, str(len(runs))])
    columns = ["change", "accuracy", "EER", "TAR at FAR 1e-2", "points more", "95 % over people", "seeds"]
    return markdown(columns, rows)


def _runs(stored: dict[str, Any], name: str, renderer: int | None = None) -> dict[int, dict[str, Any]]:
    """The runs of a setting with one renderer, by seed; with the newest that it was tried with unless one is given."""
    found = [each for each in stored["runs"] if each["setting"] == name]
    if renderer is None:
        renderer = max((each["renderer"] for each in found), default=0)
    return {each["seed"]: each for each in found if each["renderer"] == renderer}


def _mean(runs: Iterable[dict[str, Any]], figure: str) -> float:
    return float(np.mean([each[figure] for each in runs]))


if __name__ == "__main__":
    run(main)
