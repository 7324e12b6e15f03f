"""Class centres + margin -> loss: the module that all heads are.

It holds the state (centres, and the counter that keys the draws); the named heads of :mod:`.head` fix its defaults or
give formulas of their own. The margin is :mod:`.margins`, the loss and its gradients are :mod:`.softmax`, and
:mod:`.centres` shares the centres out over processes.

    s·cos(θ_y + m)   "arc"        s·(cos θ_y − m)   "cos"        m constant, or E(m, σ) ~ N(m, σ²) a sample and step
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from elasticface.base.transfer import to_device
from elasticface.distributed.communication import Part, share_of
from elasticface.heads import centres, expectation, vectors
from elasticface.heads import margins as margin_functions
from elasticface.heads.expectation import Draws
from elasticface.heads.formula import Formula, Negatives, Target
from elasticface.heads.given import Given, require
from elasticface.heads.margins import Order, PastPi
from elasticface.heads.products import HeadProducts
from elasticface.heads.softmax import margin_softmax_loss

MAX_LOGITS_BYTES = 1 << 30


class Common(TypedDict, total=False):
    """Keywords that every head takes; see :class:`MarginHead`."""

    scale: float
    seed: int
    past_pi: PastPi
    max_logits_bytes: int
    sample_rate: float
    centre_std: float
    head_products: HeadProducts
    mesh: DeviceMesh | None


class Elastic(Common, total=False):
    """And those of a head whose margin may be drawn."""

    std: float
    plus: bool
    order: Order
    draws: Draws


class MarginHead(nn.Module):
    """Class centres with a margin on the target, and the mean softmax cross-entropy over all classes.

    A loss of one's own is a subclass that gives :meth:`target` and, where it changes them, ``negatives``, ``penalty``
    and :meth:`update_statistics`, as formulas in torch; docs/own-loss.md builds one.

    Args:
        num_classes: C.
        embedding_size: D.
        kind: ``"arc"`` adds the margin to the angle, ``"cos"`` subtracts it from the cosine.
        m: mean margin, ≥ 0; radians for arc (below π), units of cosine for cos.
        std: σ of the draws, ≥ 0; 0 is a fixed margin.
        plus: assign the draws of a batch by proximity to the class centre (ElasticFace+).
        order: how ``plus`` does it: as the ``"paper"`` says or as the authors' ``"release"`` does;
            see :func:`elasticface.heads.margins.assign_by_proximity`.
        draws: ``"random"``, or ``"expected"``: the loss is its own expectation over the draws, by quadrature, and its
            gradient the one that random draws have on average. Not where the negatives depend on the target.
        scale: s, in (0, 512]. Above about 70, e^s leaves float32 and the head computes in float64.
        seed: of the draws, ≥ 0. Margins are a pure function of (seed, step); both are saved with the head.
        past_pi: ``"monotone"`` or ``"paper"``; see :func:`elasticface.heads.margins.arc_margin`.
        max_logits_bytes: memory for probabilities kept from forward to backward; the rest is computed twice.
        sample_rate: share of the negative classes in a step's softmax, in (0, 1], as in Partial FC (An et al. 2022);
            the classes of the batch are always in it. 1 is the exact loss. Below 1 the weight's gradient is row-sparse:
            step it with :class:`elasticface.training.optim.RowSparseSGD`. Each of several processes samples its own.
        centre_std: standard deviation of the centres' components at the start, > 0. An SGD step turns a centre by about
            lr·s / (B·length²): with the field's 0.01 that can be radians at first (docs/training.md).
        centres_per_class: K sub-centres of a class, of which the nearest to an embedding counts.
        head_products: operands of the three large products: ``"float32"``, ``"bfloat16"`` or, on a GPU, ``"tf32"``. The
            loss stays within 1e-5, the gradients within 5e-3 of the formula (docs/heads.md). Sums, target cosines and
            all else are in float32. Not with a scale above 70, nor with float64.
        mesh: of one dimension, the processes that hold the centres together; ``None`` or a mesh of one is this process
            alone. Over several every method is collective, this one too: all processes call the same methods in the
            same order, each with its own part of every batch (docs/heads.md).

    Attributes:
        weight: Parameter [C, D], one row a class centre, of any length; over several processes this one's rows of
            them, [c, D], with the start values that one process would have. In the state dict they are then a
            ``DTensor`` of all [C, D], which loads on any number of processes. A row of a head with K sub-centres has
            them one after the other: [C, K·D].
        step: how many batches the head has drawn margins for; goes up with every forward in training mode.
        target_cosine: mean cos θ_y of the last batch, scalar tensor; 0 before the first.
        margin_factor: multiplies every drawn margin; 1 unless a warm-up sets it.

    Buffers are running statistics: they are saved with the head, and are the same in all processes.

    Raises:
        ValueError: an argument out of its range.
    """

    # ([B, k] cosines of negatives, [B, 1] target values) -> [B, k] in place of these cosines, element by element. No
    # gradient goes to the target values. Or with the derivative by the cosine: a tuple of two [B, k].
    negatives: ClassVar[Callable[..., Any] | None] = None
    # [B] lengths of the embeddings -> [B], added to each sample's loss.
    penalty: ClassVar[Callable[..., Tensor] | None] = None

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        kind: Literal["arc", "cos"],
        m: float,
        std: float = 0.0,
        plus: bool = False,
        order: Order = "paper",
        draws: Draws = "random",
        scale: float = 64.0,
        seed: int = 0,
        past_pi: PastPi = "monotone",
        max_logits_bytes: int = MAX_LOGITS_BYTES,
        sample_rate: float = 1.0,
        centre_std: float = 0.01,
        centres_per_class: int = 1,
        head_products: HeadProducts = "float32",
        mesh: DeviceMesh | None = None,
    ) -> None:
        super().__init__()
        require(num_classes >= 1, f"num_classes must be at least 1, got {num_classes}")
        require(embedding_size >= 1, f"embedding_size must be at least 1, got {embedding_size}")
        require(kind in ("arc", "cos"), f'kind must be "arc" or "cos", got {kind!r}')
        require(0 <= m < (torch.pi if kind == "arc" else torch.inf), f"m is out of range for {kind!r}: {m}")
        require(0 <= std < torch.inf, f"std must be at least 0, got {std}")
        require(order in ("paper", "release"), f'order must be "paper" or "release", got {order!r}')
        require(draws in get_args(Draws), f'draws must be "random" or "expected", got {draws!r}')
        require(0 < scale <= 512, f"scale must be above 0 and at most 512, got {scale}")
        if draws == "expected":
            require(self.negatives is None, 'draws must be "random" where the negatives depend on the drawn margin')
            furthest = expectation.MAX_SPREAD
            require(
                scale * std <= furthest,
                f"with expected draws scale·std must be at most {furthest:g}, got {scale * std:g}",
            )
        require(0 <= seed < 2**63, f"seed must be in 0..2^63-1, got {seed}")
        require(past_pi in ("monotone", "paper"), f'past_pi must be "monotone" or "paper", got {past_pi!r}')
        require(max_logits_bytes >= 1, f"max_logits_bytes must be at least 1, got {max_logits_bytes}")
        require(0 < sample_rate <= 1, f"sample_rate must be in (0, 1], got {sample_rate}")
        require(0 < centre_std < torch.inf, f"centre_std must be above 0, got {centre_std}")
        require(centres_per_class >= 1, f"centres_per_class must be at least 1, got {centres_per_class}")
        products = get_args(HeadProducts)
        require(head_products in products, f"head_products must be one of {', '.join(products)}, got {head_products!r}")
        require(
            head_products == "float32" or vectors.wide_enough(torch.float32, scale, num_classes) == torch.float32,
            f'head_products must be "float32" with a scale of {scale:g}, for which the head computes in float64',
        )
        self.num_classes, self.embedding_size = num_classes, embedding_size
        self.centres_per_class = centres_per_class
        self.kind, self.m, self.std, self.plus, self.order, self.draws = kind, m, std, plus, order, draws
        self.scale, self.past_pi, self.head_products = scale, past_pi, head_products
        self.max_logits_bytes, self.sample_rate = max_logits_bytes, sample_rate
        self.seed, self.step = seed, 0
        self.margin_factor = 1.0
        self.target_cosine = torch.zeros(())
        self._group = centres.group_of(mesh)
        self._mesh = mesh if self._group.size > 1 else None
        self.weight = centres.initial(num_classes, centres_per_class * embedding_size, centre_std, self._mesh)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        margins: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        counts: Sequence[int] | None = None,
    ) -> Tensor:
        """The mean loss of a batch, or with ``weights`` w the weighted one, Σ w_i·L_i / Σ w_i.

        Over N processes [B] here is a process's own part of the batch, which may differ from process to process, and be
        empty in some. Loss and gradients are those of the whole batch, the loss the same in all processes. DDP averages
        gradients: multiply those of the embeddings by N first. Whatever is done to the loss, backward included, must be
        done in all processes.

        Communication of a step, forward and backward, for B embeddings in all, of which the largest part has b:
        N·b·D·(bytes of an embedding's component, 4 or 2) gathered and N·b·D·4 reduced and scattered, B·4·2 reduced,
        N·b·8 (labels; as much for ``margins``, and for ``weights``) and N·6·8 gathered; all 4 are 8 in float64. A loss
        that changes its negatives, or has sub-centres, gathers N·B·4 in place of one of the B·4 reduced. The N·6·8 are
        checks, which ``counts`` make needless. By the ring, a process sends (N − 1)/N of what is gathered or scattered,
        and twice that of what is reduced to all.

        Args:
            embeddings: [B, D], any length; float64 is computed in float64, all else in float32, under autocast too.
            labels: [B] integers in 0..C-1, on the device of the embeddings or on the CPU. From the CPU they are checked
                there and copied without waiting: in one process, and in several with ``counts``, nothing is then read
                from the device, in forward or backward. (Of several with a ``sample_rate`` below 1 each must read the
                labels of the others.)
            margins: [B] to use instead of the drawn ones; the counter then stays.
            weights: [B] of the samples, ≥ 0 and not all 0; what enters running statistics is not weighted.
            counts: how many rows each of the processes has, in rank order, where the caller knows. Labels must then be
                on the CPU. The processes don't compare what they were given: it must fit, and what is wrong in one is
                raised in that one alone.

        Returns:
            Scalar loss, float32 or float64.

        Raises:
            ValueError: a label out of range (named), or shapes that don't fit; in all processes if in one, unless
                ``counts`` are given.
            RuntimeError: the head lies in `torch.utils.checkpoint`: computed again, it would draw other margins, or
                move its running statistics again.
        """
        recomputing = _in_backward()
        random = (self.std and self.draws == "random") or self.sample_rate < 1
        if recomputing and self.training and margins is None and random:
            raise RuntimeError(
                "a head inside torch.utils.checkpoint draws other margins when it is computed again: call it outside; "
                "max_logits_bytes bounds its memory"
            )
        if recomputing and self.training and self._has_statistics:
            raise RuntimeError(
                "a head inside torch.utils.checkpoint moves its running statistics again when it is computed again: "
                "call it outside; max_logits_bytes bounds its memory"
            )
        owned = (len(self.weight), self.own_classes.stop - self.own_classes.start)
        given = Given(embeddings, labels, margins, weights)
        counts = given.check(self.num_classes, self.embedding_size, owned, self._group, counts)
        part = Part(self._group, counts, self.own_classes.start, self.num_classes)
        device = embeddings.device
        on_host = labels if self._mesh is None else None
        labels = part.group.gather_rows(to_device(labels.long().contiguous(), device), counts)
        if margins is not None and self._mesh is not None:
            margins = part.group.gather_rows(to_device(margins.detach().double(), device), counts)
        if weights is not None and self._mesh is not None:
            weights = part.group.gather_rows(to_device(weights.detach().double(), device), counts)
        classes = None
        if self.sample_rate < 1:
            classes = to_device(self._sampled(labels if on_host is None else on_host), device)

        def target(cosines: Tensor, lengths: Tensor) -> Target:
            self.target_cosine = cosines.mean()
            if margins is None:
                drawn_or_given = self.draw_margins(cosines)
            else:
                drawn_or_given = to_device(margins.detach().to(cosines.dtype), device)
            if self.training:
                self.update_statistics(cosines, lengths)
            found = self._with_derivatives(cosines, lengths, drawn_or_given)
            if weights is None:
                return found
            of_batch = to_device(weights.detach().to(cosines.dtype), device)
            return found._replace(share=of_batch / of_batch.sum())

        formula = Formula(target, self._negatives(), self.centres_per_class)
        loss = margin_softmax_loss(
            embeddings,
            self.weight,
            labels,
            formula,
            self.scale,
            self.max_logits_bytes,
            classes,
            part,
            self.head_products,
        )
        if self.training and margins is None and not recomputing:
            self.step += 1
        return loss

    def cosine(self, embeddings: Tensor) -> Tensor:
        """[B, D] -> [B, C] cosines of embeddings with all class centres, differentiable; needs B×C memory.

        Over several processes each gives its own embeddings, and all centres are gathered in each.
        """
        dtype = vectors.compute_dtype(embeddings, self.weight)
        with torch.autocast(embeddings.device.type, enabled=False):
            unit, _ = vectors.normalize(embeddings, dtype)
            rows = centres.all_rows(self.weight, self._mesh, self.num_classes)
            directions, _ = vectors.normalize(vectors.sub_centres(rows, self.centres_per_class), dtype)
            cosines = unit @ directions.T
            if self.centres_per_class == 1:
                return cosines
            return cosines.view(len(cosines), -1, self.centres_per_class).max(2).values

    def target(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Tensor | Target:
        """What is in place of cos θ_y: z_y = s·target(cos θ_y, ‖e‖, m).

        Args:
            cosines: [B] cos θ_y in [-1, 1], of the whole batch.
            lengths: [B] of the embeddings, ≥ 0.
            margins: [B] as :meth:`draw_margins` gives them: m, without σ and warm-up.

        Returns:
            [B], of which a sample's depends on its own cosine and length alone; autograd takes its derivatives. Or a
            :class:`elasticface.heads.formula.Target` with them.
        """
        if self.kind == "arc":
            return Target(*margin_functions.arc_margin(cosines, margins, self.past_pi))
        return Target(*margin_functions.cosine_margin(cosines, margins))

    def update_statistics(self, cosines: Tensor, lengths: Tensor) -> None:
        """Called in every forward of training before :meth:`target`, with what the whole batch has, to set buffers."""

    @staticmethod
    def update_average(statistic: Tensor, of_batch: Tensor, share: float) -> None:
        """statistic ← share·of_batch + (1 − share)·statistic, in place; a batch that is not finite leaves it."""
        updated = share * of_batch.to(statistic) + (1 - share) * statistic
        statistic.copy_(torch.where(updated.isfinite(), updated, statistic))

    @torch.no_grad()
    def draw_margins(self, target_cosines: Tensor) -> Tensor:
        """The margins that the next step gives to samples of these target cosines, of the whole batch.

        Returns:
            [B]; with expected draws [B, Q], each sample's at the nodes of :func:`.expectation.nodes`.
        """
        count = len(target_cosines)
        if self._spread:
            drawn = expectation.draws(self.m, self.std, count, self._spread, in_order=self.plus)
        else:
            drawn = margin_functions.draw(self.m, self.std, count, self.seed, self.step)
        drawn = to_device((drawn * self.margin_factor).to(target_cosines.dtype), target_cosines.device)
        return margin_functions.assign_by_proximity(drawn, target_cosines, self.order) if self.plus else drawn

    def get_extra_state(self) -> Tensor:
        """Seed and step, so that a reloaded head continues with the same draws."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.step = (int(v) for v in state)

    def sharded(self, rows: Tensor) -> Tensor:
        """What belongs to this process's centres, [c, D], as its part of what belongs to all, [C, D]; for checkpoints.

        Over several processes a ``DTensor`` with ``Shard(0)`` that shares the memory of ``rows``; alone, the rows.
        """
        return centres.sharded(rows, self._mesh, self.num_classes)

    @property
    def _has_statistics(self) -> bool:
        return next(self.buffers(), None) is not None

    @property
    def _spread(self) -> float:
        """How far an expected draw of one σ moves a logit at most; 0 where margins are drawn, or fixed."""
        return self.scale * self.std if self.draws == "expected" else 0.0

    def _with_derivatives(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Target:
        nodes = margins.shape[1] if margins.ndim == 2 else 1  # a sample's nodes are samples to `target`
        with torch.enable_grad():
            lengths = lengths.detach().requires_grad_()
            each = [v.detach().repeat_interleave(nodes).requires_grad_() for v in (cosines, lengths)]
            target = self.target(each[0], each[1], margins.flatten())
            if not isinstance(target, Target):
                slopes = torch.autograd.grad(target.sum(), each, materialize_grads=True)
                target = Target(target, *slopes)
            if margins.ndim == 2:
                _, chances = expectation.nodes(self._spread)
                target = target.each(lambda t: t.view(margins.shape))
                target = target._replace(chances=to_device(torch.from_numpy(chances).to(cosines), cosines.device))
            if self.penalty is not None:
                penalty = self.penalty(lengths)
                (slope,) = torch.autograd.grad(penalty.sum(), lengths)
                target = target._replace(penalty=penalty, penalty_by_length=slope)
        return target.each(Tensor.detach)

    def _negatives(self) -> Negatives | None:
        """:attr:`negatives` with its derivative, and in backward with the running statistics that forward used."""
        if self.negatives is None:
            return None
        then, statistics = copy.copy(self), dict[str, Tensor]()
        then.__dict__["_buffers"] = statistics

        def with_derivative(cosines: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            if not statistics:  # the first call, in forward, after they were updated
                statistics.update({name: buffer.clone() for name, buffer in self.named_buffers(recurse=False)})
            assert then.negatives is not None
            with torch.enable_grad():
                cosines = cosines.detach().requires_grad_()
                values = then.negatives(cosines, targets)
                if isinstance(values, tuple):
                    return values
                (slopes,) = torch.autograd.grad(values.sum(), cosines)
            return values.detach(), slopes

        return with_derivative

    def extra_repr(self) -> str:
        parts = [f"{self.num_classes}, {self.embedding_size}, {self.kind}, m={self.m:g}, scale={self.scale:g}"]
        parts += [f"std={self.std:g}"] if self.std else []
        parts += [f"plus=True, order={self.order!r}"] if self.plus else []
        parts += [f"draws={self.draws!r}"] if self.draws != "random" else []
        parts += [f"centres_per_class={self.centres_per_class}"] if self.centres_per_class > 1 else []
        parts += [f"sample_rate={self.sample_rate:g}"] if self.sample_rate < 1 else []
        parts += [f"head_products={self.head_products!r}"] if self.head_products != "float32" else []
        return ", ".join(parts)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.sharded(destination[f"{prefix}weight"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        name = f"{prefix}weight"
        if name in state_dict:
            state_dict[name] = centres.own_rows(state_dict[name], self.own_classes)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def own_classes(self) -> slice:
        """The classes whose centres this process has."""
        return share_of(self.num_classes, self._group)

    def _sampled(self, labels: Tensor) -> Tensor:
        position = (self.step,) if self._mesh is None else (self.step, self._group.rank)
        return centres.sampled(labels, self.own_classes, self.sample_rate, position, self.seed)


def _in_backward() -> bool:
    """Whether autograd is computing gradients in this thread: `torch.utils.checkpoint` recomputes its part there."""
    return bool(torch._C._current_graph_task_id() != -1)
