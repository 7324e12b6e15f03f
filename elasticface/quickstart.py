"""From rendered faces to a model, its figures and a page, by one command. :func:`quickstart` reads from top to bottom.

Nothing is downloaded and nobody's likeness is used. One that was interrupted is resumed when it is called again.
"""

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, progress, records
from elasticface.base.errors import InputError, Stopped
from elasticface.base.locks import locked
from elasticface.benchmarks.pairwise.baseline import whitened_pca
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, open_pairs
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.data import Source, open_dataset
from elasticface.data.formats.folder import FolderSource
from elasticface.data.prepare.split import draw_pairs, write_pairs
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.source import check_set
from elasticface.data.synthetic.write import MOST_WORKERS, write_faces
from elasticface.evaluation import evaluate
from elasticface.model.encoder import FaceEncoder
from elasticface.model.loading import load
from elasticface.report.files import REPORT
from elasticface.report.page import Guide
from elasticface.training.config import RECIPES, TrainConfig, read_config
from elasticface.training.loop import train
from elasticface.training.run_files import MODEL, read_metrics

DEFAULT_OUT = "quickstart"
RECORD, TRAINING, UNSEEN, RUN = "quickstart.json", "training-people", "unseen-people", "run"
NAME = "ElasticFace-Arc+"
FOLDS = 10  # as LFW
SHEET = (5, 8)  # people, and photos of each, to look at


@dataclass(frozen=True)
class Size:
    """How much is rendered, trained and judged."""

    people: int  # to train on
    photos: int  # of each
    unseen_people: int  # to judge on
    unseen_photos: int  # of each
    pairs: int  # of their photos, half of them genuine
    epochs: int


FULL = Size(people=720, photos=16, unseen_people=120, unseen_photos=16, pairs=6000, epochs=6)
SMALL = Size(people=100, photos=10, unseen_people=40, unseen_photos=8, pairs=600, epochs=10)
_OTHER_FOLDER = "give another folder with --out"
_ABOUT_SMALL = "With --small there is too little to learn from for a good model: it only shows the way."


@dataclass(frozen=True)
class QuickstartResult:
    """What a quickstart came to."""

    size: Size
    results: list[PairResult]  # of the model, and of whitened PCA
    report: Path

    def lines(self) -> list[str]:
        """For the terminal."""
        told = [
            f"Same person or not? {self.size.pairs:,} pairs of photos of {self.size.unseen_people} people that "
            "training never saw:"
        ]
        for result in self.results:
            ends = result.intervals.get("accuracy")  # a handful of people has none
            interval = f"   95% interval {ends[0]:.2%} to {ends[1]:.2%}" if ends else ""
            told.append(f"  {result.model:<18}{result.accuracy:7.2%} right{interval}")
        told += [_ABOUT_SMALL] if self.size == SMALL else []
        told += ["", f"The report: {self.report.resolve().as_uri()}", "", "Go on with photos of your own:"]
        return told + [f"  {command}" for _, command in _steps()]


def quickstart(out: Path, size: Size = FULL, *, seed: int = 0, workers: int = 2) -> QuickstartResult:
    """Render people, train on them, judge the model on other people, and write a report.

    ``out`` gets `training-people/`, `unseen-people/` with its `pairs.txt`, the run folder `run/`, `results.json` and
    `report.html`. Called again it resumes where it was stopped; once all is there, it only measures again.

    Args:
        out: a folder that is not there or empty, or that an earlier call with the same size and seed began.
        size: how much of everything.
        seed: of the people, the pairs and the training.
        workers: processes that render, 1..256.

    Raises:
        InputError: a setting out of range, or a folder that holds something else.
        Stopped: Ctrl-C, SIGTERM or a process that was killed; what was made is kept.
    """
    config = replace(TrainConfig(**read_config(RECIPES / "quickstart.yaml")), epochs=size.epochs, seed=seed)
    check_set(size.people, size.photos, seed, Variation())
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"workers must be 1 to {MOST_WORKERS}, got {workers}")
    training, unseen, run = out / TRAINING, out / UNSEEN, out / RUN
    resume_command = _resume_command(out, size, seed, workers)
    render = partial(write_faces, seed=seed, workers=workers)

    with locked(out), _naming(resume_command):
        _record_or_check_arguments(out, size, seed)
        with _phase(
            f"1/4 Rendering {size.people} people, {size.photos} photos of each: faces to learn from that are "
            "nobody's, so nothing has to be downloaded or asked for."
        ):
            render(training, identities=size.people, images_per_identity=size.photos)
        with _phase(
            f"2/4 Rendering {size.unseen_people} other people: what a model can do shows on faces it has not seen. "
            f"{size.pairs:,} pairs of their photos are the test: the same person or not?"
        ):
            render(
                unseen,
                identities=size.unseen_people,
                images_per_identity=size.unseen_photos,
                first=size.people,
            )
            pair_up(unseen, size, seed)
        with _phase(
            f"3/4 Training a small network with {NAME}, the loss whose margins are drawn at random for every photo, "
            f"for {size.epochs} epochs. Ctrl-C saves."
        ):
            if (run / MODEL).is_dir():
                progress.say("The model is there already.")
            else:
                train(training, run, config, resume=True, resume_command=resume_command)
        with _phase(
            "4/4 Judging it on the unseen people, beside whitened PCA: what can be had from the pixels without "
            "learning who is who."
        ):
            trained, faces = load(run), open_dataset(training)
            model = FaceEncoder(trained.network, replace(trained.card, name=NAME), trained.device)
            baseline = whitened_pca(faces)
            guide = _guide(faces, size)
            found = evaluate([model, baseline], [open_pairs(unseen)], out, curves=read_metrics(run), guide=guide)
            results = [result for result in found if isinstance(result, PairResult)]
    return QuickstartResult(size, results, out / REPORT)


def _record_or_check_arguments(out: Path, size: Size, seed: int) -> None:
    """Write the arguments into a new ``out``; refuse others for one that an earlier call began."""
    record, given = out / RECORD, {**asdict(size), "seed": seed}
    if not record.exists():
        if files.holds_something(out):
            raise InputError(f"{out}: holds something already; {_OTHER_FOLDER}")
        files.write_json(record, given)
    elif changed := records.changes(records.read(record, dict[str, int], _OTHER_FOLDER), given):
        raise InputError(
            f"{out}: was made with other arguments: {', '.join(changed)}; give the same, or another folder with --out"
        )


def pair_up(unseen: Path, size: Size, seed: int) -> None:
    """Draw the pairs to judge on, and write them beside the unseen people's photos."""
    source = FolderSource(unseen)
    of_people = list(np.arange(len(source)).reshape(size.unseen_people, size.unseen_photos))
    drawn = draw_pairs(of_people, size.pairs // (2 * FOLDS), FOLDS, seed)
    write_pairs(unseen / PAIRS_FILE, drawn, [source.name(image) for image in range(len(source))])


# ---------------------------------------------------------------------------------------------- what is said


def _guide(faces: Source, size: Size) -> Guide:
    people, photos = min(SHEET[0], size.people), min(SHEET[1], size.photos)
    return Guide(
        about=(
            f"These people never lived. A renderer photographed {size.people} of them {size.photos} times each, in "
            f"every pose, light and expression, and a small network learned from the photos who is who, with {NAME}. "
            "Some people look much the same in all of their photos, others never twice alike: that is what elastic "
            "margins are for, and what “heterogeneity” means below. The figures are about "
            f"{size.unseen_people} other people, of whom the network had seen no photo: is a pair of photos the same "
            f"person or not? They say nothing about real faces.{' ' + _ABOUT_SMALL if size == SMALL else ''}"
        ),
        faces=_sheet(faces, people, photos),
        faces_show=f"Training faces: {people} people, one a row, {photos} photos of each.",
        steps=_steps(),
    )


def _sheet(source: Source, people: int, photos: int) -> NDArray[np.uint8]:
    """uint8 [people · H, photos · W, 3]: the first photos of the first people, a row each."""
    starts = np.searchsorted(source.labels, np.arange(people))
    return np.concatenate(
        [np.concatenate([source[int(start) + photo][0] for photo in range(photos)], axis=1) for start in starts]
    )


def _steps() -> list[tuple[str, str]]:
    """Next steps: what for, and the command."""
    program = _program()
    return [
        (
            "Find the faces in your photos, and warp them onto the template that face models expect:",
            f"{program} align photos/ faces/",
        ),
        ("Hold people out, with pairs of their photos to judge on:", f"{program} split faces/ set/ --people 200"),
        (
            "Train on the rest. Ctrl-C saves, --resume resumes:",
            f"{program} train set/train --out run --config lfw-tiny --validate set/heldout",
        ),
        (
            "Measure the model, and get a page like this one in run/report.html:",
            f"{program} evaluate run set/heldout --baseline set/train",
        ),
    ]


def _program() -> str:
    """What to type for this program: its name where the shell finds it, else its path as it was typed."""
    typed = Path(sys.argv[0])
    return "elasticface" if typed.name != "elasticface" or shutil.which("elasticface") else shlex.quote(str(typed))


def _resume_command(out: Path, size: Size, seed: int, workers: int) -> str:
    """The command of a call with these arguments."""
    words = [f"--out={out}"] if str(out) != DEFAULT_OUT else []
    words += ["--small"] if size == SMALL else []
    words += [f"--seed={seed}"] if seed else []
    words += [f"--workers={workers}"] if workers != 2 else []
    return " ".join([_program(), "quickstart", *map(shlex.quote, words)])


@contextlib.contextmanager
def _naming(resume_command: str) -> Iterator[None]:
    """Ctrl-C is answered with the command that resumes."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped; what is made stays, resume with: {resume_command}") from None


@contextlib.contextmanager
def _phase(what: str) -> Iterator[None]:
    """Say what is being done and, afterwards, how long it took."""
    progress.say(what)
    began = time.perf_counter()
    yield
    minutes, seconds = divmod(round(time.perf_counter() - began), 60)
    progress.say(f"Took {minutes} min {seconds} s.\n" if minutes else f"Took {seconds} s.\n")
