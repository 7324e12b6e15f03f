"""A loss of one's own: a subclass of MarginHead that gives its formulas alone; the page that builds one."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import longhand
import pytest
import small_run
import torch
from heads.test_compared import assert_same, batch_of
from torch import Tensor

from elasticface import heads
from elasticface.base.errors import InputError, Stopped
from elasticface.heads import chunks
from elasticface.heads.margins import arc_margin
from elasticface.heads.softmax import Target
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.state import TrainState

PAGE = Path(__file__).parents[2] / "docs" / "own-loss.md"
BATCH, CLASSES, SIZE = 6, 11, 8


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The known losses, for this test alone."""
    known = dict(heads.LOSSES)
    monkeypatch.setattr(heads, "LOSSES", known)
    monkeypatch.setattr("elasticface.heads.head.LOSSES", known)
    return known


@pytest.fixture
def of_the_page(losses: dict[str, Any]) -> type[heads.MarginHead]:
    """The class that docs/own-loss.md builds, after all of its code was run."""
    (code,) = re.findall(r"```python\n(import torch\n.*?class MVSoftmax.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    found: type[heads.MarginHead] = names["MVSoftmax"]
    return found


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("budget", [1, 300, 1 << 30])
def test_the_loss_of_the_page_is_its_paper_s(of_the_page: type[heads.MarginHead], budget: int, rate: float) -> None:
    torch.manual_seed(0)
    head = of_the_page(CLASSES, SIZE, scale=8.0, max_logits_bytes=budget, sample_rate=rate).double()
    embeddings, labels = batch_of(dtype=torch.float64)
    value = head(embeddings, labels)
    value.backward()
    gradient = head.weight.grad
    assert gradient is not None
    rows = gradient._indices()[0] if gradient.is_sparse else torch.arange(CLASSES)

    inputs, weight = (t.detach()[at].requires_grad_() for t, at in ((embeddings, slice(None)), (head.weight, rows)))
    cosines, places = longhand.cosine(inputs, weight), torch.searchsorted(rows, labels)
    target = cosines[range(BATCH), places] - 0.35
    negatives = torch.where(cosines > target.detach()[:, None], 1.2 * cosines + 0.2, cosines)
    expected = longhand.cross_entropy(negatives, places, target, 8.0)
    by_inputs, by_weight = torch.autograd.grad(expected, (inputs, weight))
    found = gradient._values() if gradient.is_sparse else gradient
    assert_same((value.detach(), embeddings.grad, found), (expected.detach(), by_inputs, by_weight), 1e-12)


def test_a_loss_of_one_s_own_trains_and_resumes(
    of_the_page: type[heads.MarginHead], people: Path, tmp_path: Path
) -> None:
    config = replace(small_run.SMALL, loss="mv-softmax", margin=0.2, std=0.05, max_steps=12, epochs=100, milestones=[])
    small_run.assert_learns_and_resumes(people, tmp_path, config)


def test_a_stopped_run_with_a_loss_of_one_s_own_is_resumed_in_python(
    of_the_page: type[heads.MarginHead], people: Path, tmp_path: Path
) -> None:
    def stop(state: TrainState, run: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match=r"resume with: the same call of train\(\), with resume=True"):
        train(people, tmp_path / "run", replace(small_run.SMALL, loss="mv-softmax"), [stop])


def test_a_loss_that_nobody_added_is_refused() -> None:
    with pytest.raises(InputError, match=r"loss must be one of arcface, .*, subcenter-arcface, got 'mv-softmax'"):
        TrainConfig(loss="mv-softmax")  # type: ignore[arg-type]


class ByLength(heads.MarginHead):
    """Everything at once: target by cosine and length, negatives, penalty, and statistics of the batch."""

    mean: Tensor

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, kind="arc", m=0.3, **options)
        self.register_buffer("mean", torch.tensor(1.0))

    def update_statistics(self, cosines: Tensor, lengths: Tensor) -> None:
        self.update_average(self.mean, lengths.mean(), 0.5)

    def target(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Tensor:
        return (cosines.acos() + margins).cos() - 0.1 * (lengths / self.mean).tanh()

    def negatives(self, cosines: Tensor, targets: Tensor) -> Tensor:
        return cosines + 0.1 * (cosines - targets).exp() / self.mean

    def penalty(self, lengths: Tensor) -> Tensor:
        return (lengths / 10 - 1) ** 2


@pytest.mark.parametrize("budget", [1, 300, 1 << 30])
@pytest.mark.parametrize("each", [1, 3])
def test_target_negatives_penalty_and_statistics_come_together(each: int, budget: int) -> None:
    torch.manual_seed(0)
    head = ByLength(CLASSES, SIZE, scale=8.0, max_logits_bytes=budget, centres_per_class=each).double()
    embeddings, labels = batch_of(dtype=torch.float64)
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": 200}):
        value = head(embeddings, labels)
        value.backward()

    inputs, weight = embeddings.detach().requires_grad_(), head.weight.detach().requires_grad_()
    lengths = inputs.norm(dim=1)
    mean = 0.5 * lengths.mean().item() + 0.5
    cosines = longhand.cosine(inputs, weight.view(-1, SIZE)).view(BATCH, CLASSES, each).amax(2)
    target = (
        longhand.arc(cosines[range(BATCH), labels], torch.tensor(0.3, dtype=torch.float64), "paper")
        - 0.1 * (lengths / mean).tanh()
    )
    negatives = cosines + 0.1 * (cosines - target.detach()[:, None]).exp() / mean
    expected = longhand.cross_entropy(negatives, labels, target, 8.0) + ((lengths / 10 - 1) ** 2).mean()
    gradients = torch.autograd.grad(expected, (inputs, weight))
    assert_same((value.detach(), embeddings.grad, head.weight.grad), (expected.detach(), *gradients), 1e-11)
    assert head.mean.item() == pytest.approx(mean, rel=1e-14)


class Steep(heads.MarginHead):
    """Negatives without the bound that cosines have."""

    def negatives(self, cosines: Tensor, targets: Tensor) -> Tensor:
        return 40 * cosines - 20


def test_negatives_of_any_size_neither_overflow_nor_vanish() -> None:
    torch.manual_seed(0)
    head, (embeddings, labels) = Steep(CLASSES, SIZE, kind="cos", m=0.3), batch_of()
    value = head(embeddings, labels)
    value.backward()
    cosines = longhand.cosine(embeddings, head.weight)
    logits = 64 * (40 * cosines - 20)
    logits[range(BATCH), labels] = 64 * (cosines[range(BATCH), labels] - 0.3)
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    by_embeddings, by_weight = torch.autograd.grad(expected, (embeddings, head.weight))
    for mine, theirs in ((embeddings.grad, by_embeddings), (head.weight.grad, by_weight)):
        assert mine is not None
        assert (mine - theirs).norm() <= 1e-3 * theirs.norm()  # logits of 2,000 have a rounding of 1e-4


def test_a_target_may_come_with_its_own_derivatives() -> None:
    class Arc(heads.MarginHead):
        def target(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Target:
            return Target(*arc_margin(cosines, margins))

    torch.manual_seed(0)
    own, (embeddings, labels) = Arc(CLASSES, SIZE, kind="cos", m=0.5), batch_of()
    torch.manual_seed(0)
    assert torch.equal(own(embeddings, labels), heads.ArcFace(CLASSES, SIZE)(embeddings, labels))
