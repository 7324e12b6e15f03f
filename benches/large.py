"""IJB and MegaFace at their full size, in numbers alone: what reading their files and measuring features costs here.

Run it as ``python benches/large.py FOLDER``; ``--help`` lists the options. FOLDER gets `IJBC` with the counts of the
released protocol and `MegaFace` with 3,530 probes and a million distractors, no images, and features to score in their
place. What is there already is used again.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, console, machine, markdown, printed, run, save

from elasticface.base.files import replacing
from elasticface.benchmarks.ijb import files, protocol
from elasticface.benchmarks.megaface import protocol as megaface
from elasticface.benchmarks.reading import rows
from elasticface.benchmarks.reading.features import FeatureFiles

OUT = RESULTS / "large.json"
COLUMNS = ("from files, one after the other", "s by the clock", "s of the processor", "MiB at the peak so far")
_LINES = 1 << 18  # written at a time


def bench(folder: Path, dimensions: int = 512, distractors: int = 1_000_000, out: Path = OUT) -> None:
    """Measure the readers and the figures of IJB-C and MegaFace on made-up features.

    Args:
        folder: where the files are, or are to be made: 1.4 GB for IJB-C and 2 GB for MegaFace at 512 dimensions.
        dimensions: length of a feature.
        distractors: of MegaFace; 0 leaves it out.
        out: JSON file for the figures; replaced if it is there.
    """
    one, many = folder / "IJBC", folder / "MegaFace"
    with console.status("writing what is missing"):
        write_ijb(one, dimensions)
        if distractors:
            write_megaface(many, distractors, dimensions)
    meta = one / "meta"
    rows.read_pairs(_warm_up(folder))  # imports pandas
    taken: dict[str, Any] = {}
    with measured(taken, "IJB-C: list of pairs"):
        rows.read_pairs(meta / "ijbc_template_pair_label.txt")
    with measured(taken, "IJB-C: images, templates, media"):
        rows.read_media(meta / "ijbc_face_tid_mid.txt")
    with measured(taken, "IJB-C: five points and scores"):
        rows.read_points(meta / "ijbc_name_5pts_score.txt")
    with measured(taken, "IJB-C: the whole folder, with 1:N"):
        benchmark = protocol.IjbBenchmark("IJB-C", files.read_ijb(one))
    with measured(taken, "IJB-C: 1:1 and 1:N with intervals and curves"):
        results = benchmark.measure(FeatureFiles(one / "features.npy"), folder)
    if distractors:
        with measured(taken, "MegaFace: lists"):
            search = megaface.open_megaface(many)
        with measured(taken, "MegaFace: figures with intervals and curve"):
            results += search.measure(FeatureFiles(many / "features"), folder)
    notes = [note for result in results for note in result.notes]
    counts = {result.benchmark: result.counts for result in results}
    save(out, {"dimensions": dimensions, "taken": taken, "counts": counts, "notes": notes})
    console.print(printed(COLUMNS, rows_of(taken)))


def rows_of(taken: dict[str, Any]) -> list[list[str]]:
    return [
        [what, *(f"{t[k]:,.2f}" for k in ("clock", "cpu")), f"{t['peak'] / 2**20:,.0f}"] for what, t in taken.items()
    ]


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    told = f"Files that are mapped count as memory: the features, 1 GB and 2 GB. {machine(figures['environment'])}."
    return f"{markdown(COLUMNS, rows_of(figures['taken']))}\n\n{told}"


@contextmanager
def measured(taken: dict[str, Any], what: str) -> Iterator[None]:
    began, cpu = time.perf_counter(), time.process_time()
    yield
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken[what] = {"clock": time.perf_counter() - began, "cpu": time.process_time() - cpu, "peak": peak}


def _warm_up(folder: Path) -> Path:
    path = folder / "warm-up.txt"
    path.write_text("1 2 0\n")
    return path


# ---------------------------------------------------------------------------------------------- full-size files


def write_ijb(root: Path, dimensions: int, kind: str = "ijbc", seed: int = 0) -> None:
    """The meta folder of IJB-C with its published counts, and `features.npy` [N, dimensions] of made-up people.

    Args:
        root: the folder; nothing is done where it is there already.
        dimensions: length of a feature.
        kind: ``"ijbc"``, or ``"ijbb"`` for the counts of IJB-B, without galleries.
        seed: of everything.
    """
    if root.exists():
        return
    counts = protocol.PUBLISHED[kind]
    rng = np.random.default_rng(seed)
    templates = counts["templates"]
    galleries = [counts["G1"], counts["G2"]] if kind == "ijbc" else [templates // 10, templates // 10]
    subjects = sum(galleries)
    probes = templates - subjects
    # Template i < subjects is the gallery template of subject i; then come the probes.
    owner = np.concatenate([np.arange(subjects), rng.integers(0, subjects, probes)])
    extra = rng.geometric(0.05, templates).astype(np.float64)
    sizes = 1 + rng.multinomial(counts["images"] - templates, extra / extra.sum())
    template = np.repeat(np.arange(templates), sizes)
    medium = np.cumsum(rng.random(len(template)) < 0.35) + template  # a new template begins a new medium
    names = [f"{i}.jpg" for i in range(1, len(template) + 1)]
    with replacing(root, sync=False) as folder:
        meta = folder / "meta"
        meta.mkdir(parents=True)
        ids = template + 1
        _write(
            meta / f"{kind}_face_tid_mid.txt",
            len(ids),
            lambda s: zip(names[s], ids[s].tolist(), medium[s].tolist(), strict=True),
        )
        points = rng.uniform(20, 300, (len(ids), 10)).round(3)
        scores = rng.uniform(0.1, 1, len(ids)).round(6)
        _write(
            meta / f"{kind}_name_5pts_score.txt",
            len(ids),
            lambda s: ((n, *p, c) for n, p, c in zip(names[s], points[s].tolist(), scores[s].tolist(), strict=True)),
        )
        second = subjects + np.arange(counts["genuine"]) % probes
        first = owner[second]
        impostors = counts["impostor"]
        others = rng.integers(0, subjects, impostors), subjects + rng.integers(0, probes, impostors)
        same = others[0] == owner[others[1]]
        others[0][same] = (others[0][same] + 1) % subjects
        order = rng.permutation(len(first) + impostors)
        a = np.concatenate([first, others[0]])[order] + 1
        b = np.concatenate([second, others[1]])[order] + 1
        label = (order < len(first)).astype(np.int64)
        _write(
            meta / f"{kind}_template_pair_label.txt",
            len(a),
            lambda s: zip(a[s].tolist(), b[s].tolist(), label[s].tolist(), strict=True),
        )
        if kind == "ijbc":
            bounds = {"gallery_G1": (0, galleries[0]), "gallery_G2": (galleries[0], subjects)}
            for name, (low, high) in {**bounds, "probe_mixed": (subjects, templates)}.items():
                chosen = np.flatnonzero((template >= low) & (template < high))
                lines = [f"{ids[i]},{owner[template[i]] + 1},img/{names[i]}\n" for i in chosen.tolist()]
                text = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + "".join(lines)
                (meta / f"{kind}_1N_{name}.csv").write_text(text)
        centres = rng.normal(size=(subjects, dimensions)).astype(np.float32)
        features = np.lib.format.open_memmap(
            folder / "features.npy", mode="w+", dtype=np.float32, shape=(len(ids), dimensions)
        )
        for start in range(0, len(ids), 1 << 14):
            block = owner[template[start : start + (1 << 14)]]
            noise = rng.standard_normal((len(block), dimensions), dtype=np.float32)
            features[start : start + len(block)] = centres[block] + 6 * noise
        features.flush()


def write_megaface(root: Path, distractors: int, dimensions: int, seed: int = 0) -> None:
    """MegaFace's lists, with 3,530 probes of 80 people and 153,634 pairs of mates, and a folder of made-up features."""
    if root.exists():
        return
    rng = np.random.default_rng(seed)
    sizes = photos_of_people()
    owner = np.repeat(np.arange(len(sizes)), sizes)
    people = [f"Person_{i:02d}" for i in owner.tolist()]
    paths = [f"{person}/{person}_{i}.png" for i, person in enumerate(people)]
    others = [f"{i % 1000}/{i}@N00/{i}_0.jpg" for i in range(distractors)]
    with replacing(root, sync=False) as folder:
        (folder / "features").mkdir(parents=True)
        (folder / "facescrub_features_list.json").write_text(json.dumps({"path": paths, "id": people}))
        (folder / f"megaface_features_list.json_{distractors}_1").write_text(json.dumps({"path": others}))
        centres = rng.normal(size=(len(sizes), dimensions))
        probes = centres[owner] + 1.6 * rng.normal(size=(len(owner), dimensions))
        np.save(folder / "features" / "facescrub.npy", probes.astype(np.float32))
        features = np.lib.format.open_memmap(
            folder / "features" / "megaface.npy", mode="w+", dtype=np.float32, shape=(distractors, dimensions)
        )
        for start in range(0, distractors, 1 << 14):
            rows_left = min(1 << 14, distractors - start)
            features[start : start + rows_left] = rng.standard_normal((rows_left, dimensions), dtype=np.float32)
        features.flush()


def photos_of_people() -> list[int]:
    """How many photos each of 80 people has, for 3,530 in all and 153,634 ordered pairs of one person."""
    wanted = megaface.PUBLISHED["mate_pairs"]
    people, photos = megaface.PUBLISHED["people"], megaface.PUBLISHED["probes"]
    sizes = [photos // people + (i < photos % people) for i in range(people)]
    low = 0
    # Moving a photo from a smaller set to a larger one adds 2(large − small + 1) pairs.
    while (missing := wanted - sum(n * (n - 1) for n in sizes)) > 0:
        high = people - 1
        while 2 * (sizes[high] - sizes[low] + 1) > missing:
            high -= 1
        sizes[low] -= 1
        sizes[high] += 1
        low = (low + 1) % (people // 2)
    return sizes


def _write(path: Path, count: int, rows_of: Callable[[slice], Any]) -> None:
    with path.open("w") as file:
        for start in range(0, count, _LINES):
            file.write("".join(" ".join(map(str, row)) + "\n" for row in rows_of(slice(start, start + _LINES))))


if __name__ == "__main__":
    run(bench)
