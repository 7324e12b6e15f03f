"""What is done after every step: log it, save it, validate the model, stop. Each is a function of (state, run).

Your own hook is any such callable (docs/training.md has one); every process calls it after each step, taken or skipped.
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from rich.progress import Progress

from elasticface.base import progress
from elasticface.base.errors import InputError, Stopped
from elasticface.base.interrupts import Interrupts
from elasticface.benchmarks.opening import open_benchmarks
from elasticface.benchmarks.pairwise.lists import PairBenchmark
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs, try_pairs
from elasticface.distributed.agreement import gather_results, print_only_in_first, run_in_first
from elasticface.model.checkpoint_folder import Validation
from elasticface.training.config import TrainConfig
from elasticface.training.run_files import BAD_ITEMS
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

Hook = Callable[[TrainState, RunFolder], Any]

_LOSS, _LR, _SPEED = "loss {task.fields[loss]}", "lr {task.fields[lr]}", "{task.fields[speed]} images/s"
_NORM, _COSINE = "gradient {task.fields[norm]}", "cos θ {task.fields[cosine]}"
SHOW_EVERY = 1.0
"""Seconds between two steps whose figures the bar shows, at least; it shows those of every logged step."""

_WIDE = 120  # columns of a terminal that has room for all of them


@contextlib.contextmanager
def standard_hooks(
    state: TrainState,
    run: RunFolder,
    config: TrainConfig,
    benchmarks: Sequence[PairBenchmark],
    user_hooks: Sequence[Hook],
) -> Iterator[list[Hook]]:
    """The hooks of every run, in their order; in the body the bar is shown, and signals are noted for :class:`Stop`.

    Log comes before Checkpoint, since it resets the sums that are saved; Checkpoint before Validate, which can fail;
    the user's before Stop, which ends the run.
    """
    narrow = progress.console.is_terminal and progress.console.width < _WIDE
    columns = (_LOSS, _LR, _SPEED) if narrow else (_LOSS, _LR, _NORM, _COSINE, _SPEED)
    # Torchrun sends SIGTERM to all processes once one has ended: the handlers outlast the bar, whose last line is
    # written when it closes.
    with Interrupts() as interrupts, progress.bar(*columns) as bar:
        log = Log(bar, state, config)
        validation = [Validate(benchmarks, config, log)] if benchmarks else []
        for validate in validation:
            validate.before_training(state, run)
        yield [log, Checkpoint(config), *validation, *user_hooks, Stop(interrupts, config)]


class Log:
    """The bar after every step; a line of figures every ``log_every`` steps and at the end.

    Figures are read from the device, which the host then waits for: the bar shows those of a step now and then.
    """

    def __init__(self, bar: Progress, state: TrainState, config: TrainConfig) -> None:
        self._bar, self._every = bar, config.log_every
        placeholders: dict[str, Any] = dict.fromkeys(("loss", "lr", "norm", "cosine", "speed"), "–")
        self._task = bar.add_task("training", total=state.total_steps, completed=state.step, **placeholders)
        self._since, self._images = time.perf_counter(), 0
        self._shown = -math.inf  # when the bar was last told figures

    def __call__(self, state: TrainState, run: RunFolder) -> None:
        self._images += state.outcome.images
        texts: dict[str, Any] = {}
        if state.step % self._every == 0 or state.ends_run:
            texts["speed"] = self._write(state, run)
        if texts or time.perf_counter() - self._shown > SHOW_EVERY:
            self._shown = time.perf_counter()
            texts |= {"loss": f"{state.outcome.loss:.3f}", "cosine": f"{state.outcome.target_cosine:.3f}"}
            texts |= {"norm": f"{state.gradient_norm:.2f}", "lr": f"{state.lr:.4f}"}
        self._bar.update(self._task, completed=state.step, description=f"epoch {state.last_epoch + 1}", **texts)

    def leave_out(self, seconds: float) -> None:
        """These were no training: the speed is without them."""
        self._since += seconds

    def _write(self, state: TrainState, run: RunFolder) -> str:
        """Write the line; return its images a second, as the bar shows them."""
        speed = self._images / (time.perf_counter() - self._since)
        figures = {
            "epoch": state.last_epoch,
            "loss": state.take_mean_loss(),
            "lr": state.lr,
            "images_per_second": round(speed, 1),
            "gradient_norm": _finite(state.gradient_norm),
            "target_cosine": _finite(state.outcome.target_cosine),
        }
        run.log(state.step, figures | ({"skipped_steps": state.skipped_steps} if state.skipped_steps else {}))
        self._since, self._images = time.perf_counter(), 0
        return f"{speed:.0f}"


class Checkpoint:
    """A checkpoint every ``checkpoint_every`` steps or minutes, at every epoch's end and at the run's."""

    def __init__(self, config: TrainConfig) -> None:
        self._every, self._unit = config.checkpoint_interval
        self._last = time.monotonic()

    def __call__(self, state: TrainState, run: RunFolder) -> None:
        if state.ends_epoch or self._is_due(state):
            run.save(state)
            self._last = time.monotonic()

    def _is_due(self, state: TrainState) -> bool:
        if self._unit == "steps":
            return state.step % self._every == 0
        ((minutes,), *_) = state.world.gather((time.monotonic() - self._last) / 60)
        return minutes >= self._every  # by the first process's clock, in all of them


def open_validation(config: TrainConfig) -> list[PairBenchmark]:
    """The benchmarks that the run is validated on, of different names.

    Raises:
        InputError: one that cannot be opened, that is not of pairs, or a ``best_by`` that names none of them.
    """
    found: list[PairBenchmark] = []
    for benchmark in open_benchmarks(config.validate or []):
        if not isinstance(benchmark, PairBenchmark):
            raise InputError(f"validate: {benchmark.name} is no benchmark of pairs; measure it by elasticface evaluate")
        found.append(benchmark)
    names = [benchmark.name for benchmark in found]
    if config.best_by is not None and config.best_by not in names:
        raise InputError(f"best_by must be one of those in validate, {', '.join(names)}, got {config.best_by!r}")
    return found


class Validate:
    """The model's figures on pairs, every ``validate_every`` epochs and at the end. The first process measures them.

    Of several benchmarks the mean accuracy says which checkpoint is the best, or that of ``best_by`` alone.
    """

    def __init__(self, benchmarks: Sequence[PairBenchmark], config: TrainConfig, log: Log) -> None:
        self._benchmarks, self._every, self._log = benchmarks, config.validate_every, log
        self._deciding = sorted(one.name for one in benchmarks if config.best_by in (None, one.name))
        self._mean = f"mean of {', '.join(self._deciding)}" if len(self._deciding) > 1 else self._deciding[0]

    def before_training(self, state: TrainState, run: RunFolder) -> None:
        """Embed a few photos, so that a bad benchmark fails early; make up a validation that is missing.

        An interruption prevented it, or the newest checkpoint was validated on other benchmarks.
        """
        for benchmark in self._benchmarks:
            run_in_first(partial(lambda one: try_pairs(run.encoder(state), one), benchmark))
        if self._is_due(state) and not run_in_first(lambda: run.is_validated_on(self._mean)):
            run.forget_validation(state.step, [benchmark.name for benchmark in self._benchmarks])
            self(state, run)

    def __call__(self, state: TrainState, run: RunFolder) -> None:
        if self._is_due(state):
            begun = time.perf_counter()
            run.add_validation(run_in_first(lambda: self._measure(state, run)))
            self._log.leave_out(time.perf_counter() - begun)

    def _is_due(self, state: TrainState) -> bool:
        ends = state.ends_epoch and (state.ends_run or (state.last_epoch + 1) % self._every == 0)
        return ends and not state.skipped_in_row

    def _measure(self, state: TrainState, run: RunFolder) -> Validation:
        encoder = run.encoder(state)
        results = [evaluate_pairs(encoder, benchmark, intervals=False) for benchmark in self._benchmarks]
        for result in results:
            figures = {"accuracy": result.accuracy, "accuracy_std": result.accuracy_std, "eer": result.eer}
            figures |= {f"tar@far={far}": tar for far, tar in result.tar_at_far["at-most"].items()}
            figures = {name: rate for name, rate in figures.items() if math.isfinite(rate)}  # there may be no EER
            run.log(state.step, {"epoch": state.last_epoch, "benchmark": result.benchmark, **figures})
            accuracy = f"{result.accuracy:.2%} ± {result.accuracy_std:.2%}"
            progress.say(f"epoch {state.last_epoch + 1}: {result.benchmark} accuracy {accuracy}")
        accuracies = [result.accuracy for result in results if result.benchmark in self._deciding]
        mean = sum(accuracies) / len(accuracies)
        if len(accuracies) > 1:
            progress.say(f"epoch {state.last_epoch + 1}: mean accuracy {mean:.2%}")
        return Validation(self._mean, mean)


class Stop:
    """Ends a run that was sent a signal, once the state is saved; and one whose steps are skipped again and again."""

    def __init__(self, interrupts: Interrupts, config: TrainConfig) -> None:
        self._interrupts, self._max_skipped = interrupts, config.max_skipped

    def __call__(self, state: TrainState, run: RunFolder) -> None:
        if state.skipped_in_row >= self._max_skipped:
            run.finish_saving()
            raise print_only_in_first(_too_many_skipped(state, run))
        number = max(int(number) for (number,) in state.world.gather(self._interrupts.number))
        if number and not state.ends_run:
            run.save(state)
            run.finish_saving()
            by = signal.Signals(number)
            message = f"stopped by {by.name}; {run.newest_in_words}; resume with: {run.resume_command}"
            raise print_only_in_first(Stopped(message, Interrupts.EXIT_CODES[by]))


def _too_many_skipped(state: TrainState, run: RunFolder) -> Stopped:
    """The error for too many skipped steps: evidence of all processes, and advice. Collective."""
    outcome = state.outcome
    begin = f"{state.skipped_in_row} steps in a row were skipped, the last of them step {state.step}"
    if not outcome.has_gradients:
        return Stopped(
            f"{begin}: too few images of its batch can be read; {run.path / BAD_ITEMS} names those that cannot; "
            f"{run.newest_in_words}"
        )
    all_labels, all_lengths = zip(*gather_results(lambda: (outcome.labels.cpu(), outcome.lengths.cpu())), strict=True)
    evidence = replace(outcome, labels=torch.cat(all_labels), lengths=torch.cat(all_lengths))
    scale = f", gradients scaled by {state.scaler.get_scale():g}" if state.scaler.is_enabled() else ""
    lengths = f"{evidence.lengths.min():g} to {evidence.lengths.max():g}"
    advice = "a lower --lr, a longer --warmup-epochs or --margin-warmup-epochs, or --clip-norm 5"
    if state.scaler.is_enabled():
        advice += ", --precision bf16, or a larger --max-skipped while the scale of fp16 still falls"
    return Stopped(
        f"{begin}, because the loss or gradient was not finite: loss {outcome.loss:g}, learning rate {state.lr:g}, "
        f"gradient norm {state.gradient_norm:g}{scale}, lengths of embeddings {lengths}, worst labels "
        f"{', '.join(map(str, evidence.worst_labels()))}; {run.newest_in_words}. What helps most often is {advice}"
    )


def _finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
