"""The selection from its first run to its page. :func:`select` reads from top to bottom.

FOLDER/select.json              all accuracies, Borda counts and the choice (:mod:`.record`)
    report.html                 tables and plots
    chosen.yaml                 the settings with the chosen m and σ, for `elasticface train --config`
    runs/<loss>-m<m>-…-seed<n>  an ordinary run folder each
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from elasticface.backbones import create as create_backbone
from elasticface.base import environment, files, progress
from elasticface.base.errors import InputError, Stopped
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.benchmarks.pairwise.lists import PairBenchmark
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs, try_pairs
from elasticface.benchmarks.units import units_of
from elasticface.data import require_identities
from elasticface.data.joined import AnySet, open_sets, set_names
from elasticface.distributed.agreement import run_in_all, run_in_first
from elasticface.heads.head import create as create_head
from elasticface.model import Card, FaceEncoder, checkpoint_folder
from elasticface.model.shipped import located
from elasticface.model.storing import CARD, WEIGHTS
from elasticface.selection.choice import choose
from elasticface.selection.page import write_selection
from elasticface.selection.record import (
    CHOSEN,
    FIXED,
    RECORD,
    Grid,
    Keep,
    Record,
    Run,
    Selection,
    folder_of,
    read_or_begin,
)
from elasticface.training import processes
from elasticface.training.class_weights import file_of_weights
from elasticface.training.config import FREE_ON_RESUME, TrainConfig, to_yaml
from elasticface.training.hooks import open_validation
from elasticface.training.loop import train
from elasticface.training.run_files import CHECKPOINTS, CLASSES, MODEL

_REMOVED: dict[Keep, tuple[str, ...]] = {
    "all": (),
    "model": (CHECKPOINTS, CLASSES),
    "figures": (CHECKPOINTS, CLASSES, MODEL),
}

# Settings that may differ between runs of one selection: those that compute the same, and those of the candidates.
_FREE = (FREE_ON_RESUME - {"epochs", "max_steps", "merge_identities"}) | {"margin", "std", "seed"}


def select(
    data: AnySet | list[AnySet],
    out: str | Path,
    config: TrainConfig,
    grid: Grid,
    *,
    keep: Keep = "model",
    resume_command: str = "the same command",
) -> Selection:
    """Choose m with the margin fixed, then σ with that m, as the paper does (section 4.1).

    A candidate is trained once for each seed, and its model judged after the last step, by the accuracy on each
    benchmark; :func:`elasticface.selection.choose` has the rule. Called again it resumes, and runs that are done
    are not trained again. Under torchrun or srun every process calls it, as :func:`elasticface.training.train`.

    Args:
        data: what :func:`elasticface.training.train` takes.
        out: folder for everything: new, empty, or one that an earlier call began.
        config: settings of all runs: an elastic ``loss``, and in ``validate`` the benchmarks of pairs to judge by.
            ``margin``, ``std`` and ``seed`` are the grid's.
        grid: the candidates.
        keep: what stays of a run that is done, beside its settings and logs: its model; everything (checkpoints and
            class centres, too); or no more than figures.
        resume_command: what messages tell the user to type to resume.

    Raises:
        InputError: data, settings, a grid or a folder that cannot be used.
        Stopped: as :func:`elasticface.training.train`; what is done is kept.
    """
    out, sets = Path(out), data if isinstance(data, list) else [data]
    _check(config, grid)
    with processes.connect(config, resume_command), _naming(resume_command):  # one group of processes for all runs
        benchmarks, settings = run_in_all(lambda: _open(sets, config))
        with _locked(out):
            record = run_in_first(lambda: _begin(out, settings, grid, keep))
            runs = _Runs(sets, out, grid, benchmarks, record, keep, resume_command)
            names = [benchmark.name for benchmark in benchmarks]

            fixed = [runs.accuracies(_candidate(config, margin)) for margin in grid.margins]
            of_margin = choose("margin", grid.margins, fixed, names)
            record.stages = [of_margin]

            margin = of_margin.chosen
            progress.say(f"m = {margin:g} is chosen; now σ")
            elastic = [runs.accuracies(_candidate(config, margin, std)) for std in grid.stds]
            of_std = choose("std", grid.stds, elastic, names, reference=fixed[grid.margins.index(margin)])
            record.stages = [of_margin, of_std]

            chosen = replace(config, margin=margin, std=of_std.chosen)
            selection = Selection(out, set_names(sets), chosen, grid, of_margin, of_std, record.runs)
            run_in_first(lambda: _conclude(record, selection))
    return selection


def _check(config: TrainConfig, grid: Grid) -> None:
    """Refuse what would fail after hours: a loss without σ, or a candidate that no head takes."""
    if config.loss not in FIXED:
        raise InputError(f"loss must be an elastic one, which has a σ to choose: {', '.join(FIXED)}; got {config.loss}")
    if not config.validate:
        raise InputError("no benchmark to judge by; give at least one of pairs with --validate")
    candidates = [_candidate(config, margin) for margin in grid.margins]
    candidates += [_candidate(config, margin, std) for margin in grid.margins for std in grid.stds]
    for candidate in candidates:
        create_head(candidate.loss, 2, 2, **candidate.head_options())


def _candidate(config: TrainConfig, margin: float, std: float | None = None) -> TrainConfig:
    """The settings of its runs; without ``std`` those of the fixed margin. Their seed is still to be given."""
    if std is None:
        config = replace(config, loss=FIXED[config.loss], draws="random", order="paper")  # which has no draws
    return replace(config, margin=margin, std=std, validate=None, best_by=None)


def _open(sets: Sequence[AnySet], config: TrainConfig) -> tuple[list[PairBenchmark], dict[str, Any]]:
    """The benchmarks, and what all runs have in common: other runs would not be comparable."""
    benchmarks = open_validation(config)
    trial = FaceEncoder(create_backbone("tiny", 2), Card("trial", "tiny", 2))
    for benchmark in benchmarks:
        try_pairs(trial, benchmark)  # photos that no model of these runs could be judged on
    source = open_sets(sets, config.merge_identities)
    require_identities(source)
    settings = {
        "data": [_place(name) for name in set_names(sets)],
        "identities": source.num_classes,
        "images": len(source),
        "validate": sorted(map(_place, config.validate or [])),
        "pairs": {benchmark.name: len(benchmark.pairs.same) for benchmark in benchmarks},
        "content of validate": {benchmark.name: _content(benchmark) for benchmark in benchmarks},
    }
    settings |= {name: value for name, value in asdict(config).items() if name not in _FREE}
    return benchmarks, settings | _contents(config)


def _content(benchmark: PairBenchmark) -> str:
    """SHA-256 of its list of pairs, and of the images of a pack."""
    pairs = benchmark.pairs
    return units_of(pairs.first, pairs.second, pairs.same, pairs.folds, benchmark.content).digest


def _contents(config: TrainConfig) -> dict[str, str]:
    """SHA-256 of what settings name: the same path may hold something else when the selection is resumed."""
    contents = {}
    if (weights := file_of_weights(config)) is not None:
        contents["content of class_weights"] = hashlib.sha256(weights).hexdigest()
    if config.init is not None:
        path = located(config.init)
        folders = [path, path / MODEL, *checkpoint_folder.newest_first(path / CHECKPOINTS)]
        parts = [folder / part for folder in folders for part in (CARD, WEIGHTS, checkpoint_folder.CHECKSUMS)]
        digests = [checkpoint_folder.sha256(part) for part in [path, *parts] if part.is_file()]
        contents["content of init"] = hashlib.sha256("".join(digests).encode()).hexdigest()
    return contents


def _place(name: str) -> str:
    return os.path.realpath(name) if os.path.exists(name) else name


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """The first of the processes holds ``out`` against other commands."""
    with contextlib.ExitStack() as stack:
        run_in_first(lambda: stack.enter_context(locked(out)) or True)
        yield


def _begin(out: Path, settings: dict[str, Any], grid: Grid, keep: Keep) -> Record:
    record = read_or_begin(out, settings, grid)
    for run in record.runs:
        if run.accuracy.keys() != settings["pairs"].keys():
            raise InputError(
                f"{printable(out / RECORD)}: {run.folder} has not the accuracies on {', '.join(settings['pairs'])}; "
                "give another folder with --out"
            )
    record.environment = environment.describe()
    record.write(out)
    for run in record.runs:  # killed before that, or called with another ``keep``
        _remove(out / run.folder, keep)
    if record.runs:
        progress.say(f"runs that are done already: {len(record.runs)}")
    return record


class _Runs:
    """The runs of a selection: each is looked up, or trained, judged and stored."""

    def __init__(
        self,
        sets: list[AnySet],
        out: Path,
        grid: Grid,
        benchmarks: Sequence[PairBenchmark],
        record: Record,
        keep: Keep,
        resume_command: str,
    ) -> None:
        self._sets, self._out, self._grid, self._benchmarks = sets, out, grid, benchmarks
        self._record, self._keep, self._resume_command = record, keep, resume_command
        self._number = 0  # of the run that was asked for last

    def accuracies(self, candidate: TrainConfig) -> list[list[float]]:
        """[S, B], of S seeds on B benchmarks. Collective."""
        rows = []
        for seed in range(self._grid.seeds):
            self._number += 1
            config = replace(candidate, seed=seed)
            run = self._record.find(_folder(config)) or self._train(config)
            rows.append([run.accuracy[benchmark.name] for benchmark in self._benchmarks])
        return rows

    def _train(self, config: TrainConfig) -> Run:
        self._announce(config)
        folder, began = self._out / _folder(config), time.perf_counter()
        is_new = run_in_first(lambda: not files.holds_something(folder))
        encoder = train(self._sets, folder, config, resume=True, resume_command=self._resume_command)
        accuracy = run_in_first(
            lambda: {one.name: evaluate_pairs(encoder, one, intervals=False).accuracy for one in self._benchmarks}
        )
        run = Run(
            folder=_folder(config),
            loss=config.loss,
            margin=_margin(config),
            std=config.std,
            seed=config.seed,
            accuracy=accuracy,
            seconds=round(time.perf_counter() - began, 1) if is_new else None,
        )
        self._record.runs.append(run)
        run_in_first(lambda: self._store(run))
        return run

    def _store(self, run: Run) -> None:
        self._record.write(self._out)
        _remove(self._out / run.folder, self._keep)
        progress.say("accuracy: " + ", ".join(f"{printable(name)} {one:.2%}" for name, one in run.accuracy.items()))

    def _announce(self, config: TrainConfig) -> None:
        times = [run.seconds for run in self._record.runs if run.seconds is not None]
        remaining = self._grid.size - self._number + 1
        left = f", {timedelta(seconds=round(sum(times) / len(times) * remaining))} left" if times else ""
        std = "" if config.std is None else f", σ {config.std:g}"
        candidate = f"{config.loss}, m {config.margin:g}{std}, seed {config.seed}"
        progress.say(f"run {self._number} of {self._grid.size}: {candidate}{left}")


def _folder(config: TrainConfig) -> str:
    return folder_of(config.loss, _margin(config), config.std, config.seed)


def _margin(config: TrainConfig) -> float:
    assert config.margin is not None  # every candidate has one
    return config.margin


def _remove(run: Path, keep: Keep) -> None:
    for part in _REMOVED[keep]:
        if (run / part).is_symlink():  # the user has moved it elsewhere: only the link is ours
            (run / part).unlink()
        elif (run / part).exists():
            shutil.rmtree(run / part)


def _conclude(record: Record, selection: Selection) -> None:
    record.write(selection.out)
    files.write_text(selection.out / CHOSEN, to_yaml(selection.config))
    write_selection(selection.report, selection, record)


@contextlib.contextmanager
def _naming(resume_command: str) -> Iterator[None]:
    """Ctrl-C between two runs, or while one is judged, is answered with the command that resumes."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped; runs that are done are kept, resume with: {resume_command}") from None
