"""A selection and its `select.json`: what it is made with, every run's accuracies, and what was chosen by them."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.report.files import REPORT, SELECTION
from elasticface.selection.choice import Candidate, Stage
from elasticface.training.config import Loss, TrainConfig

RECORD, RUNS, CHOSEN = SELECTION, "runs", "chosen.yaml"
FIXED: dict[str, Loss] = {
    "elastic-arc": "arcface",
    "elastic-cos": "cosface",
    "elastic-arc+": "arcface",
    "elastic-cos+": "cosface",
}
"""Elastic loss -> the one whose margin is fixed."""

Keep = Literal["model", "all", "figures"]

_OTHER_FOLDER = "give another folder with --out"
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Grid:
    """What is tried."""

    margins: list[float]  # m; radians for arc, units of cosine for cos
    stds: list[float]  # σ > 0
    seeds: int  # runs of each candidate, of seeds 0, 1, …

    def __post_init__(self) -> None:
        for name, what in (("margins", "m"), ("stds", "σ")):
            values = [float(value) for value in getattr(self, name)]  # as they are when they are read again
            object.__setattr__(self, name, values)
            if not values:
                raise InputError(f"--{name}: no value of {what}; give at least one")
            if twice := [value for value in values if values.count(value) > 1]:
                raise InputError(f"--{name}: {twice[0]:g} is given twice")
        if min(self.margins) < 0:
            raise InputError(f"--margins must be at least 0, got {min(self.margins):g}")
        if min(self.stds) <= 0:
            raise InputError(
                f"--stds must be above 0, got {min(self.stds):g}; σ = 0, the fixed margin, is always compared"
            )
        if self.seeds < 1:
            raise InputError(f"--seeds must be at least 1, got {self.seeds}")

    @property
    def size(self) -> int:
        """How many runs it takes."""
        return (len(self.margins) + len(self.stds)) * self.seeds


@dataclass(frozen=True)
class Run:
    """One training, and what its model reached."""

    folder: str  # of :func:`folder_of`, in the selection's
    loss: Loss
    margin: float
    std: float | None  # None: the margin is fixed
    seed: int
    accuracy: dict[str, float]  # benchmark -> in 0..1
    seconds: Annotated[float, Meta(ge=0, le=1e9)] | None  # None: it was stopped in between

    def __post_init__(self) -> None:
        # Of a run that is done files are removed: that folder is not whatever a file says.
        if self.folder != (folder := folder_of(self.loss, self.margin, self.std, self.seed)):
            raise ValueError(f"folder is not {folder}, where that run is")


def folder_of(loss: Loss, margin: float, std: float | None, seed: int) -> str:
    """Of a run, within that of the selection: "runs/elastic-arc+-m0.5-std0.0175-seed0"."""
    return f"{RUNS}/{loss}-m{margin}{'' if std is None else f'-std{std}'}-seed{seed}"


@dataclass
class Record:
    """The content of the file."""

    settings: dict[str, Any]  # what all runs have in common: data, benchmarks, settings of training
    grid: Grid
    runs: list[Run] = field(default_factory=list)  # that are done
    stages: list[Stage] = field(default_factory=list)  # m, then σ, as far as they are decided
    environment: dict[str, Any] = field(default_factory=dict)
    format_version: Literal[1] = 1

    def write(self, out: Path) -> None:
        """Write ``out/select.json``, whole or not at all."""
        files.write_json(out / RECORD, asdict(self))

    def find(self, folder: str) -> Run | None:
        """The run in that folder, if it is done."""
        return next((run for run in self.runs if run.folder == folder), None)


@dataclass(frozen=True)
class Selection:
    """What was chosen, and by what."""

    out: Path
    data: list[str]
    config: TrainConfig  # with the chosen m and σ
    grid: Grid
    of_margin: Stage
    of_std: Stage
    runs: list[Run]

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / REPORT

    def runs_of(self, stage: Stage, candidate: Candidate) -> list[Run]:
        """Those of a candidate, or of the reference, by seed."""
        std = candidate.value or None if stage.parameter == "std" else None
        margin = candidate.value if stage.parameter == "margin" else self.config.margin
        found = [run for run in self.runs if (run.margin, run.std) == (margin, std) and run.seed < stage.seeds]
        return sorted(found, key=lambda run: run.seed)

    @property
    def command(self) -> str:
        """What trains with the chosen values."""
        words = [*self.data, "--config", str(self.out / CHOSEN), "--out", str(self.out / "chosen")]
        return shlex.join(["elasticface", "train", *words])


def read_or_begin(out: Path, settings: Mapping[str, Any], grid: Grid) -> Record:
    """The record of a selection that begins in ``out``, or of the one to resume there.

    More values and more seeds than before only add runs. Until there is a run, everything may be changed.

    Raises:
        InputError: ``out`` holds something else, or a selection with other settings.
    """
    path = out / RECORD
    if not path.exists():
        if files.holds_something(out):
            raise InputError(f"{printable(out)}: holds something already; {_OTHER_FOLDER}")
        return Record(dict(settings), grid)
    before = records.read(path, Record, _OTHER_FOLDER, _MOST_BYTES)
    if not before.runs and not files.holds_something(out / RUNS):
        return Record(dict(settings), grid)
    changed = [*records.changes(before.settings, settings), *_left_out(before.grid, grid)]
    if changed:
        raise InputError(
            f"{printable(out)}: was made with other settings: {', '.join(changed)}; give the same, or another folder "
            "with --out"
        )
    for run in before.runs:
        folder = out / run.folder
        if not folder.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{printable(folder)}: is a link that leads out of {printable(out)}; {_OTHER_FOLDER}")
    return Record(dict(settings), grid, before.runs)


def _left_out(before: Grid, now: Grid) -> list[str]:
    """Where ``now`` has not all that ``before`` has."""
    changes = records.changes(asdict(before), asdict(now))
    kept = {
        "margins": {*before.margins} <= {*now.margins},
        "stds": {*before.stds} <= {*now.stds},
        "seeds": before.seeds <= now.seeds,
    }
    return [change for change in changes if not kept[change.split()[0]]]
