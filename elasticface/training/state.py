"""All that a step of training changes, as one object that a checkpoint saves and loads."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import ParamsT
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from elasticface import backbones, heads
from elasticface.backbones.syncnorm import synchronised
from elasticface.base import keyed
from elasticface.data import Source
from elasticface.data.feed.sampler import steps_per_epoch
from elasticface.distributed.agreement import run_in_all
from elasticface.heads.margin_head import MarginHead
from elasticface.training.compiling import CompiledNetwork
from elasticface.training.config import TrainConfig
from elasticface.training.guard import TOO_FEW_IMAGES, Outcome, RunningStatistics, sums_dtype
from elasticface.training.optim import RowSparseAdamW, RowSparseSGD
from elasticface.training.processes import World

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

_COUNTERS = {name: name for name in ("step", "skipped_steps", "skipped_in_row")}
_COUNTERS |= {"losses": "loss_count", "loss_sum": "loss_sum"}  # name in a checkpoint -> attribute


class TrainState(Stateful):
    """Backbone, class centres, optimizer and counters of a run in one process.

    Args:
        config: the settings.
        world: the processes of the run.
        backbone: on the device and in the precision of the run.
        head: likewise; over several processes with the class centres of this one.
        per_epoch: steps of an epoch.

    Attributes:
        backbone: the network itself.
        average: moving average of the backbone, of running statistics too; ``None`` without ``ema``.
        ddp: DDP around the backbone, which averages gradients over the processes; with one process the backbone.
        compiled: the same through `torch.compile`, where the run asks for that.
        model: backbone and head as one module: the optimizer and the checkpoint use its names.
        dtype: type of images and embeddings.
        autocast_dtype: type that the backbone computes in, where it is another one.
        scaler: scales float16's gradients; does nothing for other precisions.
        steps_per_epoch: length of an epoch.
        total_steps: length of the run.
        step: number of steps taken or skipped.
        skipped_steps: number of steps without an update.
        skipped_in_row: number of steps skipped since the last update.
        loss_sum: sum of the losses since :meth:`take_mean_loss`.
        loss_count: their number.
        outcome: result of the last step.
        gradient_norm: norm over all gradients of all processes in the last step, before clipping; reading it waits for
            the device.
    """

    def __init__(
        self, config: TrainConfig, world: World, backbone: nn.Module, head: MarginHead, per_epoch: int
    ) -> None:
        self.world, self.backbone, self.head = world, backbone, head
        self.average = None
        if config.ema is not None:
            mean = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(backbone, multi_avg_fn=mean, use_buffers=True)
        self.ddp = _ddp(backbone, world)
        self.compiled = CompiledNetwork(self.ddp, config.deterministic) if config.compile else None
        self.model = nn.ModuleDict({"backbone": backbone, "head": head})
        groups = [
            {**group, "lr_factor": factor}
            for module, factor in ((backbone, config.backbone_lr), (head, 1.0))
            for group in backbones.parameter_groups(module, config.weight_decay, config.decay_norm_and_bias)
        ]
        self.optimizer = _optimizer(config, groups)
        self.scaler = _scaler(config, world)
        self.running_statistics = RunningStatistics(self.model)
        self.dtype = torch.float64 if config.precision == "64" else torch.float32
        self.autocast_dtype = _AUTOCAST.get(config.precision)
        self.steps_per_epoch, self.total_steps = per_epoch, config.total_steps(per_epoch)
        self.step = self.skipped_steps = self.skipped_in_row = self.loss_count = 0
        self._loss_sum = torch.zeros((), dtype=sums_dtype(world.device), device=world.device)
        self.outcome, self._gradient_norm = TOO_FEW_IMAGES, torch.tensor(torch.nan)  # no step yet

    @classmethod
    def create(cls, config: TrainConfig, source: Source, world: World) -> "TrainState":
        """The state of a run that has not begun: weights are drawn by the seed, the same in all processes."""
        torch.manual_seed(keyed.integer(config.seed, "weights"))
        backbone = run_in_all(
            lambda: backbones.find(config.backbone)(config.embedding_size, **config.backbone_options())
        )
        if config.checkpoint_activations:
            backbones.checkpoint_activations(backbone)
        options = config.head_options()
        head = heads.create(config.loss, source.num_classes, config.embedding_size, mesh=world.mesh, **options)
        if config.precision == "64":
            backbone, head = backbone.double(), head.double()
        backbone = backbone.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.sync_batchnorm and world.size > 1:
            backbone = synchronised(backbone)
        per_epoch = steps_per_epoch(len(source), config.batch_size)
        return cls(config, world, backbone.train(), head.to(world.device).train(), per_epoch)

    @property
    def network(self) -> nn.Module:
        """The network that is validated and kept: the backbone, or its average where there is one."""
        return self.backbone if self.average is None else self.average.module

    @property
    def last_epoch(self) -> int:
        """The epoch of the last step, from 0."""
        return (self.step - 1) // self.steps_per_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step was the last one of an epoch, or of the run."""
        return self.step > 0 and (self.step % self.steps_per_epoch == 0 or self.ends_run)

    @property
    def ends_run(self) -> bool:
        """Whether the last step was the last one of the run."""
        return self.step == self.total_steps

    @property
    def lr(self) -> float:
        """The learning rate of the class centres; the backbone's is `backbone_lr` times that."""
        return float(self.optimizer.param_groups[-1]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = value * group["lr_factor"]

    @property
    def gradient_norm(self) -> float:
        return float(self._gradient_norm)

    @property
    def loss_sum(self) -> float:
        return float(self._loss_sum)

    @loss_sum.setter
    def loss_sum(self, value: float) -> None:
        self._loss_sum.fill_(value)

    def update(self, outcome: Outcome, gradient_norm: Tensor) -> None:
        """Take the step; without a finite loss and gradient skip it and count it, on all processes alike.

        A skipped step changes no weight, momentum or running statistic; the counters go up all the same.
        """
        self.outcome, self._gradient_norm = outcome, gradient_norm
        # The same in all processes: the loss is that of the global batch, the norm that of all processes.
        is_lost = ~(outcome.mean_loss + gradient_norm).isfinite()
        if outcome.has_gradients:
            # The fused step looks at this on the device. Not by the scaler: the gradients are unscaled already.
            self.optimizer.found_inf = is_lost.float()  # type: ignore[attr-defined]
            self.optimizer.step()
            self.scaler.update()
        self.optimizer.zero_grad()
        if is_lost:  # the one number that a step reads: here the host waits for the device
            self.running_statistics.restore()
            self.skipped_steps += 1
            self.skipped_in_row += 1
        else:
            if self.average is not None:
                self.average.update_parameters(self.backbone)
            self.skipped_in_row = 0
            self._loss_sum += outcome.mean_loss
            self.loss_count += 1
        self.step += 1

    def take_mean_loss(self) -> float | None:
        """The mean loss of the updates since the last call, None where there were none; the sum begins anew."""
        mean = self.loss_sum / self.loss_count if self.loss_count else None
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name, to be saved or to be loaded in place."""
        tensors: dict[str, Tensor] = dict(self.model.state_dict())
        for name, parameter in self._parameters().items():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in self.optimizer.state[parameter].items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.module.state_dict().items()}
            tensors["averaged_steps"] = self.average.n_averaged
        # As DTensors of the rows of all processes; head.weight, which is one already, is overwritten by the same.
        tensors |= {name: self.head.sharded(rows) for name, rows in self.centre_tensors().items()}
        for name, value in self._counters().items():
            dtype = torch.float64 if isinstance(value, float) else torch.int64
            tensors[f"progress.{name}"] = torch.tensor(value, dtype=dtype)
        return tensors

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the model, with the head's seed and step, the counters and the scaler.

        Momentum and the average were loaded in place.
        """
        self.model.load_state_dict({name: state_dict[name] for name in self.model.state_dict()})
        counters = {name: state_dict[f"progress.{name}"].item() for name in self._counters()}
        if self.scaler.is_enabled():
            scale = {"scale": counters.pop("scale"), "_growth_tracker": counters.pop("steps_with_this_scale")}
            self.scaler.load_state_dict(self.scaler.state_dict() | scale)
        for name, value in counters.items():
            setattr(self, _COUNTERS[name], value)

    def centre_tensors(self) -> dict[str, Tensor]:
        """Class centres, and what the optimizer has for them: this process's rows [c, D] of each, by name."""
        of_optimizer = self.optimizer.state[self.head.weight]
        return {"head.weight": self.head.weight.detach()} | {
            f"optimizer.head.weight.{key}": value for key, value in of_optimizer.items() if value.ndim
        }

    def _counters(self) -> dict[str, int | float]:
        """The counters and the scaler's numbers, by their names in a checkpoint."""
        counters = {name: getattr(self, attribute) for name, attribute in _COUNTERS.items()}
        if self.scaler.is_enabled():
            scaler = self.scaler.state_dict()
            counters |= {"scale": scaler["scale"], "steps_with_this_scale": scaler["_growth_tracker"]}
        return counters

    def _parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by their names in the state dict."""
        # Not by named_parameters(): the wrapper of `checkpoint_activations` is in those names.
        backbone = self.backbone.state_dict(keep_vars=True, prefix="backbone.")
        parameters = {name: value for name, value in backbone.items() if isinstance(value, nn.Parameter)}
        return parameters | {f"head.{name}": value for name, value in self.head.named_parameters()}


def _optimizer(config: TrainConfig, groups: ParamsT) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return RowSparseAdamW(groups, lr=config.lr)
    return RowSparseSGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def _ddp(backbone: nn.Module, world: World) -> nn.Module:
    if world.size == 1:
        return backbone
    devices = [world.device] if world.device.type == "cuda" else None
    ddp = DistributedDataParallel(backbone, device_ids=devices, gradient_as_bucket_view=True)
    # Each process keeps its own running statistics: training does not read them, and the first one's are saved. As an
    # attribute, since the constructor's argument has another name in newer versions of torch.
    ddp.broadcast_buffers = False
    return cast(nn.Module, ddp)


def _scaler(config: TrainConfig, world: World) -> torch.amp.GradScaler:
    # Sharded so that the scale stays the same in all: only one process may see an overflow, in its own class centres.
    scaler = ShardedGradScaler if world.size > 1 else torch.amp.GradScaler
    return scaler(world.device.type, enabled=config.precision == "fp16")
