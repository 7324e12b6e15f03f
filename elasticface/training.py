"""THE loop: photos in, a model folder out. :func:`train` reads from top to bottom, in the order of the paper.

A run is a folder: `config.yaml`, `environment.json`, `metrics.jsonl`, TensorBoard's events, `checkpoints/` and, once it
is done, `model/`. Everything random is keyed by (seed, step), so a run that was interrupted goes on with the same bits
as if it had not been, on the same machine, device and number of threads.
"""

import math
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import ClassVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import Tensor, nn

from elasticface import backbones, checkpoint, heads, keyed, progress
from elasticface.benchmarks.pairs import PairBenchmark, evaluate_pairs, open_pairs
from elasticface.config import TrainConfig
from elasticface.data import open_dataset, require_identities
from elasticface.data.batches import DamagedItems, batches
from elasticface.data.sampler import KeyedBatchSampler, steps_per_epoch
from elasticface.data.transforms import augment, flip, to_input
from elasticface.errors import InputError, Stopped
from elasticface.model import Card, FaceEncoder
from elasticface.rundir import Run

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def train(
    data: str | Path, out: str | Path, config: TrainConfig, resume: bool = False, way_on: str | None = None
) -> FaceEncoder:
    """Train a backbone and its class centres on labelled faces.

    Args:
        data: what :func:`elasticface.data.open_dataset` opens.
        out: the run folder.
        config: all settings.
        resume: go on from the newest good checkpoint in ``out``, or start where there is none.
        way_on: the command that goes on with a run that was stopped, to be named then; `elasticface train` without.

    Returns:
        The trained encoder, which is also in `out/model`.

    Raises:
        InputError: data, settings or a run folder that cannot be used.
        Stopped: Ctrl-C, SIGTERM or a loss that is not finite; what was good is in the newest checkpoint.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("this version trains in one process; start it without torchrun")
    fabric = _fabric(config)
    source = open_dataset(data)
    require_identities(source)
    validation = open_pairs(config.validate) if config.validate else None

    torch.manual_seed(keyed.integer(config.seed, "weights"))
    network = backbones.create(config.backbone, config.embedding_size, **config.backbone_options())
    head = heads.create(config.loss, source.num_classes, config.embedding_size, **config.head_options())
    run = Run(Path(out), config, str(data), resume)
    way_on = way_on or f"elasticface train {data} --out {run.path} --resume"

    model = nn.ModuleDict({"backbone": network.to(memory_format=torch.channels_last), "head": head})  # type: ignore[call-overload]
    model.to(fabric.device)
    optimizer = torch.optim.SGD(
        backbones.parameter_groups(model, config.weight_decay, config.decay_norm_and_bias),
        lr=config.lr,
        momentum=config.momentum,
    )
    done = {"step": torch.tensor(0), "loss_sum": torch.tensor(0.0, dtype=torch.float64)}
    if resume and checkpoint.load_newest(run.checkpoints, model, optimizer, done, _say):
        _say(f"going on after step {int(done['step'])}")
    backbone = fabric.setup_module(network)
    sgd = cast(_FabricOptimizer, fabric.setup_optimizers(optimizer))
    head.train()

    card = Card(
        name=Path(out).resolve().name,
        backbone=config.backbone,
        embedding_size=config.embedding_size,
        options=config.backbone_options(),
        training={**asdict(config), "identities": source.num_classes, "images": len(source)},
    )
    per_epoch = steps_per_epoch(len(source), config.batch_size)
    total = config.total_steps(per_epoch)
    step, loss_sum = int(done["step"]), float(done["loss_sum"])
    damaged = DamagedItems(run.path / "bad_items.jsonl", len(source))
    run.open(step)
    _say(
        f"{source.num_classes:,} identities, {len(source):,} images, {config.backbone}, {config.loss}, {total:,} steps"
    )

    def save(figure: checkpoint.Validation | None = None) -> Path:
        done["step"].fill_(step)
        done["loss_sum"].fill_(loss_sum)
        return checkpoint.save(run.checkpoints, model, optimizer, done, config.keep_checkpoints, figure)

    bar = progress.bar("loss {task.fields[loss]}", "lr {task.fields[lr]}", "{task.fields[speed]} images/s")
    with bar, _Interrupts() as interrupts:
        task = bar.add_task("training", total=total, completed=step, loss="–", lr="–", speed="–")
        logged_at, logged_images = time.perf_counter(), 0
        while step < total:
            epoch = step // per_epoch
            sampler = KeyedBatchSampler(len(source), config.batch_size, config.seed, epoch, start_step=step % per_epoch)
            backbone.train()
            for pixels, labels in batches(source, sampler, damaged, config.workers, fabric.device.type == "cuda"):
                lr = config.learning_rate(step, per_epoch)
                for group in sgd.param_groups:
                    group["lr"] = lr
                head.margin_factor = config.margin_factor(step, per_epoch)
                torch.manual_seed(keyed.integer(config.seed, "dropout", step))  # of the backbone

                images = prepare(pixels.to(fabric.device, non_blocking=True), config, step)
                loss = forward_backward(fabric, backbone, head, images, labels.to(fabric.device), config.accumulate)
                if not math.isfinite(loss):
                    raise Stopped(_diverged(loss, step, lr, run))
                if config.clip_norm:
                    fabric.clip_gradients(backbone, sgd, max_norm=config.clip_norm, error_if_nonfinite=False)
                sgd.step()
                sgd.zero_grad()

                step += 1
                loss_sum += loss
                logged_images += len(labels)
                bar.update(task, completed=step, description=f"epoch {epoch + 1}", loss=f"{loss:.3f}", lr=f"{lr:.4f}")
                if step % config.log_every == 0 or step == total:
                    speed = logged_images / (time.perf_counter() - logged_at)
                    mean = loss_sum / ((step - 1) % config.log_every + 1)
                    run.log(step, {"epoch": epoch, "loss": mean, "lr": lr, "images_per_second": round(speed, 1)})
                    bar.update(task, speed=f"{speed:.0f}")
                    logged_at, logged_images, loss_sum = time.perf_counter(), 0, 0.0
                if step == total or step % per_epoch == 0:
                    break  # what ends an epoch comes first, or an interrupted run would miss a validation
                if interrupts.name:
                    raise interrupts.stopped(save(), way_on)
                if step % config.checkpoint_every == 0:
                    save()
            ended, figure = step // per_epoch, None
            if validation and (step == total or ended % config.validate_every == 0):
                figure = _validate(run, validation, FaceEncoder(backbone, card, fabric.device), step, epoch)
                logged_at = time.perf_counter()
            saved = save(figure if config.keep_best else None)
            if interrupts.name and step < total:
                raise interrupts.stopped(saved, way_on)
    run.close()
    encoder = FaceEncoder(network.eval(), card, fabric.device)
    encoder.save(run.model)
    _say(f"the model is in {run.model}")
    return encoder


def prepare(pixels: Tensor, config: TrainConfig, step: int) -> Tensor:
    """uint8 [B, H, W, 3] -> the network's input of this step: in [-1, 1], flipped and augmented."""
    if not len(pixels):  # every image of the batch was damaged
        return to_input(pixels)
    images = flip(to_input(pixels), keyed.generator(config.seed, "flip", step))
    images = augment(images, keyed.generator(config.seed, "augment", step), config.augment)
    return images.contiguous(memory_format=torch.channels_last)


def forward_backward(
    fabric: Fabric, backbone: nn.Module, head: nn.Module, images: Tensor, labels: Tensor, parts: int
) -> float:
    """Gradients of the mean loss over a batch, computed in ``parts``: each counts by its share of the images."""
    loss = 0.0
    if not len(labels):
        return loss
    for part, part_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        part_loss = head(backbone(part), part_labels) * (len(part) / len(images))
        fabric.backward(part_loss)
        loss += part_loss.item()
    return loss


class _Interrupts:
    """Ctrl-C and SIGTERM end the run after the step that is being made; a second one ends it at once.

    After the last step of an epoch its validation is made first.
    """

    _EXIT_CODES: ClassVar = {signal.SIGINT: 1, signal.SIGTERM: 0}

    def __enter__(self) -> "_Interrupts":
        self.name, self.exit_code = "", 0
        self._before = {number: signal.signal(number, self._note) for number in self._EXIT_CODES}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopped(self, saved: Path, way_on: str) -> Stopped:
        return Stopped(f"stopped by {self.name}, saved {saved}; go on with: {way_on}", self.exit_code)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.name:
            raise KeyboardInterrupt
        self.name, self.exit_code = signal.Signals(number).name, self._EXIT_CODES[signal.Signals(number)]


def _fabric(config: TrainConfig) -> Fabric:
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, False):
        raise InputError(f"no device {device!r} here; there is {', '.join(name for name in there if there[name])}")
    if config.precision == "fp16" and device == "cpu":
        raise InputError("precision fp16 needs a GPU; use bf16 or 32 on the CPU")
    # Buffers that a kernel is about to overwrite need no filling to make a run repeatable.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return Fabric(accelerator=device, devices=1, precision=_PRECISION[config.precision])  # type: ignore[arg-type]


def _validate(run: Run, benchmark: PairBenchmark, encoder: FaceEncoder, step: int, epoch: int) -> checkpoint.Validation:
    result = evaluate_pairs(encoder, benchmark)
    figures = {"accuracy": result.accuracy, "accuracy_std": result.accuracy_std, "eer": result.eer}
    figures |= {f"tar@far={far}": tar for far, tar in result.tar_at_far["at-most"].items()}
    run.log(step, {"epoch": epoch, "benchmark": result.benchmark, **figures})
    _say(f"epoch {epoch + 1}: {result.benchmark} accuracy {result.accuracy:.2%} ± {result.accuracy_std:.2%}")
    return checkpoint.Validation(result.benchmark, result.accuracy)


def _diverged(loss: float, step: int, lr: float, run: Run) -> str:
    saved = sorted(run.checkpoints.glob("step-*"))
    kept = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
    return (
        f"the loss of step {step + 1} is {loss} at learning rate {lr:g}; {kept}. What helps most often is "
        "a lower --lr, a longer --warmup-epochs or --margin-warmup-epochs, or --precision bf16 instead of fp16"
    )


def _say(message: str) -> None:
    progress.console.print(message, markup=False, soft_wrap=True)
