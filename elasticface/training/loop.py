"""THE loop: photos in, a model folder out. :func:`train` reads from top to bottom, in the order of the paper.

A run is a folder: `config.yaml`, `environment.json`, `metrics.jsonl`, TensorBoard's events, `checkpoints/` and, once it
is done, `model/`. Everything random is keyed by (seed, step), so a run that was interrupted goes on with the same bits
as if it had not been, on the same machine, device, and number of processes and threads. N processes share each batch:
they see the images, flips and margins that one would.
"""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import nn

from elasticface import backbones, heads
from elasticface.backbones.syncnorm import synchronised
from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.base.interrupts import Interrupts
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data import open_dataset, require_identities
from elasticface.data.feed.batches import Damage, DamagedItems, batches
from elasticface.data.feed.sampler import KeyedBatchSampler, steps_per_epoch
from elasticface.data.sources import Source
from elasticface.distributed.agreement import from_all, from_first, from_first_alone, in_all
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.training import checkpoint
from elasticface.training import processes as launch
from elasticface.training.checkpoint import Validation
from elasticface.training.checkpoint_folder import newest_first
from elasticface.training.config import TrainConfig
from elasticface.training.guard import Guard
from elasticface.training.optim import SGD
from elasticface.training.run_folder import Run
from elasticface.training.step import agree, clip, dropout_seed, forward_backward, prepare


def train(
    data: str | Path, out: str | Path, config: TrainConfig, resume: bool = False, way_on: str | None = None
) -> FaceEncoder:
    """Train a backbone and its class centres on labelled faces.

    Started by torchrun, `fabric run` or srun, every process calls it; the first writes the run folder.

    Args:
        data: what :func:`elasticface.data.open_dataset` opens.
        out: the run folder, which all processes share.
        config: all settings.
        resume: go on from the newest good checkpoint in ``out``, or start where there is none.
        way_on: the command that goes on with a run that was stopped, to be named then; `elasticface train` without.

    Returns:
        The trained encoder, which is also in `out/model`.

    Raises:
        InputError: data, settings or a run folder that cannot be used.
        Stopped: Ctrl-C, SIGTERM, losses that are not finite or another process's end; what was good is in the newest
            checkpoint.
    """
    way_on = way_on or f"elasticface train {data} --out {out} --resume"
    fabric = launch.start(config)
    with launch.peers(way_on):
        return _train(fabric, str(data), Path(out), config, resume, way_on)


def _train(fabric: Fabric, data: str, out: Path, config: TrainConfig, resume: bool, way_on: str) -> FaceEncoder:
    first, processes = fabric.is_global_zero, fabric.world_size
    source, validation = in_all(lambda: _open(data, config, processes))
    run = from_first(lambda: Run(out, config, data, resume))

    torch.manual_seed(keyed.integer(config.seed, "weights"))
    network = backbones.create(config.backbone, config.embedding_size, **config.backbone_options())
    if config.checkpoint_activations:
        backbones.checkpoint_activations(network)
    mesh = launch.mesh(fabric)
    head = heads.create(config.loss, source.num_classes, config.embedding_size, mesh=mesh, **config.head_options())
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    head.to(fabric.device, torch.float64 if config.precision == "64" else None)
    if config.sync_batchnorm and processes > 1:
        network = synchronised(network)
    model = nn.ModuleDict({"backbone": network, "head": head})
    decay = config.weight_decay, config.decay_norm_and_bias
    # The centres are a group of their own: over many processes they are of another kind of tensor.
    groups = backbones.parameter_groups(network, *decay) + backbones.parameter_groups(head, *decay)
    optimizer = SGD(groups, lr=config.lr, momentum=config.momentum)
    done = {name: torch.tensor(0) for name in ("step", "losses", "skipped", "skipped_in_row", "scale_age")}
    done |= {name: torch.tensor(0.0, dtype=torch.float64) for name in ("loss_sum", "scale")}
    if resume and checkpoint.load_newest(run.checkpoints, model, optimizer, done, _say):
        launch.restore_scale(fabric, done)
        _say(f"going on after step {int(done['step'])}", first)
    backbone = fabric.setup_module(network)
    sgd = cast(_FabricOptimizer, fabric.setup_optimizers(optimizer))
    head.train()

    card = Card(
        name=out.resolve().name,
        backbone=config.backbone,
        embedding_size=config.embedding_size,
        options=config.backbone_options(),
        training={**asdict(config), "identities": source.num_classes, "images": len(source)},
    )
    per_epoch = steps_per_epoch(len(source), config.batch_size)
    total = config.total_steps(per_epoch)
    step, loss_sum, losses = int(done["step"]), float(done["loss_sum"]), int(done["losses"])
    finite = Guard(network, config.max_skipped, int(done["skipped"]), int(done["skipped_in_row"]))
    damaged = in_all(lambda: DamagedItems(run.path / "bad_items.jsonl", len(source), config.max_damaged, first))
    if first:
        run.open(step)
    shared = f", {processes} processes" if processes > 1 else ""
    sizes = f"{source.num_classes:,} identities, {len(source):,} images"
    _say(f"{sizes}, {config.backbone}, {config.loss}, {total:,} steps{shared}", first)

    def save(figure: Validation | None = None) -> str:
        if finite.in_row:  # what the weights are is doubtful
            return _kept(run)
        counts = step, losses, finite.skipped, finite.in_row, loss_sum
        for name, value in zip(("step", "losses", "skipped", "skipped_in_row", "loss_sum"), counts, strict=True):
            done[name].fill_(value)
        launch.note_scale(fabric, done)
        return f"saved {checkpoint.save(run.checkpoints, model, optimizer, done, config.keep_checkpoints, figure)}"

    columns = "loss {task.fields[loss]}", "lr {task.fields[lr]}", "{task.fields[speed]} images/s"
    # A launcher sends SIGTERM to all once one has ended: that is still to be told, so signals are let go last.
    with Interrupts() as interrupts, progress.bar(*columns, shown=first) as bar:
        task = bar.add_task("training", total=total, completed=step, loss="–", lr="–", speed="–")
        logged_at, logged_images = time.perf_counter(), 0
        while step < total:
            epoch = step // per_epoch
            sampler = KeyedBatchSampler(
                len(source),
                config.batch_size,
                config.seed,
                epoch,
                start_step=step % per_epoch,
                rank=fabric.global_rank,
                world_size=processes,
                order=getattr(source, "epoch_order", None),
            )
            backbone.train()
            stop = None
            for pixels, labels, rows, bad in batches(source, sampler, config.workers, fabric.device.type == "cuda"):
                counts = launch.all_counts(fabric, len(labels), len(bad))  # of every process
                if counts[:, 1].any():
                    _note(damaged, bad)
                lr = config.learning_rate(step, per_epoch)
                for group in sgd.param_groups:
                    group["lr"] = lr
                head.margin_factor = config.margin_factor(step, per_epoch)
                torch.manual_seed(dropout_seed(config.seed, step, fabric.global_rank))

                # Every process needs an image for each part, or none can make the step.
                loss, norm, seen = 0.0, 0.0, None
                if int(counts[:, 0].min()) >= config.accumulate:
                    finite.before()
                    pixels, labels = (t.to(fabric.device, non_blocking=True) for t in (pixels, labels))
                    images = prepare(pixels, config, step, rows, sampler.images_per_batch)
                    seen = forward_backward(
                        fabric, backbone, head, images, labels, config.accumulate, counts[:, 0].tolist()
                    )
                    loss, norm = seen.loss, clip(fabric, backbone, head, sgd, config.clip_norm)
                stop, not_finite = agree(fabric, interrupts.number, not math.isfinite(loss), norm, config)
                if seen and not not_finite:
                    sgd.step()
                    finite.in_row = 0
                    loss_sum += loss
                    losses += 1
                sgd.zero_grad()
                step += 1
                if seen and not_finite and finite.skip():
                    raise from_first_alone(finite.stopped(step, lr, norm, seen, _kept(run)))

                logged_images += int(counts[:, 0].sum())
                bar.update(task, completed=step, description=f"epoch {epoch + 1}", loss=f"{loss:.3f}", lr=f"{lr:.4f}")
                if step % config.log_every == 0 or step == total:
                    speed = logged_images / (time.perf_counter() - logged_at)
                    mean = loss_sum / losses if losses else None
                    figures = {"epoch": epoch, "loss": mean, "lr": lr, "images_per_second": round(speed, 1)}
                    if first:
                        run.log(step, figures | ({"skipped_steps": finite.skipped} if finite.skipped else {}))
                    bar.update(task, speed=f"{speed:.0f}")
                    logged_at, logged_images, loss_sum, losses = time.perf_counter(), 0, 0.0, 0
                if step == total or step % per_epoch == 0:
                    break  # what ends an epoch comes first, or an interrupted run would miss a validation
                if stop:
                    raise from_first_alone(interrupts.stopped(stop, save(), way_on))
                if step % config.checkpoint_every == 0:
                    save()
            ended, figure = step // per_epoch, None
            if validation and not finite.in_row and (step == total or ended % config.validate_every == 0):
                figure = _validate(run, validation, FaceEncoder(network, card, fabric.device), step, epoch)
                logged_at = time.perf_counter()
            saved = save(figure if config.keep_best else None)
            if stop and step < total:
                raise from_first_alone(interrupts.stopped(stop, saved, way_on))
    encoder = FaceEncoder(network.eval(), card, fabric.device)
    from_first(lambda: encoder.save(run.model))
    if first:
        run.close()
    _say(f"the model is in {run.model}", first)
    return encoder


def _open(data: str, config: TrainConfig, processes: int) -> tuple[Source, PairBenchmark | None]:
    source = open_dataset(data)
    require_identities(source)
    share = min(config.batch_size, len(source)) // (processes * config.accumulate)
    if processes > 1 and share < 2:
        raise InputError(
            f"a batch of {config.batch_size} images in {config.accumulate} parts for {processes} processes: each needs "
            "two images a part at least; give a larger --batch-size, or fewer processes"
        )
    return source, open_pairs(config.validate) if config.validate else None


def _note(damaged: DamagedItems, own: Damage) -> None:
    """What any process could not read goes into the count of all of them."""
    everyones = [item for part in from_all(lambda: own) for item in part]
    in_all(lambda: damaged.add(everyones))


def _validate(run: Run, benchmark: PairBenchmark, encoder: FaceEncoder, step: int, epoch: int) -> Validation:
    """The first process measures the model, logs what it finds and says it; the others wait."""

    def measured() -> Validation:
        result = evaluate_pairs(encoder, benchmark, intervals=False)
        figures = {"accuracy": result.accuracy, "accuracy_std": result.accuracy_std, "eer": result.eer}
        figures |= {f"tar@far={far}": tar for far, tar in result.tar_at_far["at-most"].items()}
        run.log(step, {"epoch": epoch, "benchmark": result.benchmark, **figures})
        _say(f"epoch {epoch + 1}: {result.benchmark} accuracy {result.accuracy:.2%} ± {result.accuracy_std:.2%}")
        return Validation(result.benchmark, result.accuracy)

    return from_first(measured)


def _kept(run: Run) -> str:
    saved = newest_first(run.checkpoints)
    return f"the last good checkpoint is {saved[0]}" if saved else "there is no checkpoint yet"


def _say(message: str, aloud: bool = True) -> None:
    if aloud:
        progress.console.print(message, markup=False, soft_wrap=True)
