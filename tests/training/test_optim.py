"""RowSparseSGD: torch's SGD, and of a row-sparse gradient the same for its rows and nothing for the others."""

import copy
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from elasticface import heads
from elasticface.heads.row_sparse import row_sparse, rows_and_values
from elasticface.training import optim
from elasticface.training.optim import RowSparseAdamW, RowSparseSGD

SETTINGS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


def weight_of(rows: int = 12, size: int = 5, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, size, generator=torch.Generator().manual_seed(0), dtype=dtype))


def gradient_of(weight: Tensor, rows: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return row_sparse(
        rows, torch.randn(len(rows), weight.shape[1], generator=generator, dtype=weight.dtype), len(weight)
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_dense_gradients_give_the_bits_of_torchs_fused_sgd(momentum):
    ours, theirs = weight_of(), weight_of()
    mine = RowSparseSGD([ours], lr=0.1, momentum=momentum, weight_decay=5e-4)
    torchs = torch.optim.SGD([theirs], lr=0.1, momentum=momentum, weight_decay=5e-4, fused=True)
    for step in range(5):
        ours.grad = torch.randn(12, 5, generator=torch.Generator().manual_seed(step))
        theirs.grad = ours.grad.clone()
        mine.step()
        torchs.step()
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("piece", [1, 100, 16 << 20])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_sample_of_every_row_gives_what_torchs_sgd_gives(momentum, piece):
    ours, theirs = weight_of(), weight_of()
    mine = RowSparseSGD([ours], lr=0.1, momentum=momentum, weight_decay=5e-4)
    torchs = torch.optim.SGD([theirs], lr=0.1, momentum=momentum, weight_decay=5e-4)
    with mock.patch.dict(optim._PIECE_BYTES, cpu=piece):
        for step in range(5):
            ours.grad = gradient_of(ours, torch.arange(12), step)
            theirs.grad = ours.grad.to_dense()
            mine.step()
            torchs.step()
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_the_rows_that_backward_leaves_are_read_where_they_are():
    head = heads.create("cosface", 50, 5, sample_rate=0.5)
    head(torch.randn(4, 5), torch.arange(4)).backward()
    gradient = head.weight.grad
    rows, values = rows_and_values(gradient)
    assert values.data_ptr() == gradient._values().data_ptr()
    torch.testing.assert_close(torch.zeros(50, 5).index_copy(0, rows, values), gradient.to_dense())


@pytest.mark.parametrize("rows", [[3, 1], [1, 1, 4], [4, 1, 4], [2], []])
def test_rows_in_any_order_and_more_than_once_are_added_up(rows):
    values = torch.randn(len(rows), 5, generator=torch.Generator().manual_seed(0))
    gradient = torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, (6, 5), check_invariants=False)
    found, sums = rows_and_values(gradient)
    assert found.tolist() == sorted(set(rows))
    torch.testing.assert_close(torch.zeros(6, 5).index_copy(0, found, sums), gradient.to_dense())


@settings(max_examples=100)
@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=6), st.sampled_from([0.0, 0.9]))
def test_rows_follow_the_rule_when_they_are_sampled_and_stay_when_not(samples, momentum):
    weight = weight_of(dtype=torch.float64)
    sgd = RowSparseSGD([weight], lr=0.1, momentum=momentum, weight_decay=5e-4)
    rows = [row.clone() for row in weight.detach()]
    speeds = [torch.zeros(5, dtype=torch.float64) for _ in rows]
    for step, sample in enumerate(samples):
        at = torch.tensor(sorted(sample))
        weight.grad = gradient_of(weight, at, step)
        for row, gradient in zip(at.tolist(), weight.grad._values(), strict=True):
            speeds[row] = momentum * speeds[row] + gradient + 5e-4 * rows[row]
            rows[row] = rows[row] - 0.1 * speeds[row]
        before = weight.detach().clone()
        sgd.step()
        torch.testing.assert_close(weight.detach(), torch.stack(rows), rtol=1e-13, atol=1e-15)
        others = sorted(set(range(12)) - sample)
        assert torch.equal(weight[others], before[others])
    if momentum:
        torch.testing.assert_close(sgd.state[weight]["momentum_buffer"], torch.stack(speeds), rtol=1e-13, atol=1e-15)
    else:
        assert "momentum_buffer" not in sgd.state[weight]


def test_rows_that_come_twice_in_a_gradient_are_added_up():
    once, twice = weight_of(), weight_of()
    a, b = (gradient_of(once, torch.tensor(rows), 1) for rows in ([0, 3, 7], [3, 8]))
    once.grad = (a + b).coalesce()
    indices, values = torch.cat([a.indices(), b.indices()], 1), torch.cat([a.values(), b.values()])
    twice.grad = torch.sparse_coo_tensor(indices, values, (12, 5), check_invariants=True)
    RowSparseSGD([once], **SETTINGS).step()
    RowSparseSGD([twice], **SETTINGS).step()
    assert torch.equal(once, twice)


def test_momentum_is_one_tensor_for_dense_and_row_sparse_gradients():
    weight, dense = weight_of(), weight_of()
    sgd, torchs = RowSparseSGD([weight], **SETTINGS), torch.optim.SGD([dense], **SETTINGS)
    for step in range(4):
        gradient = gradient_of(weight, torch.arange(12), step)
        weight.grad = gradient if step % 2 else gradient.to_dense()
        dense.grad = gradient.to_dense()
        sgd.step()
        torchs.step()
    torch.testing.assert_close(weight, dense, rtol=1e-6, atol=1e-7)


def test_a_group_may_have_gradients_of_both_kinds_and_none():
    sparse, dense, still = weight_of(), weight_of(), weight_of()
    sgd = RowSparseSGD([sparse, dense, still], **SETTINGS)
    sparse.grad, dense.grad = gradient_of(sparse, torch.tensor([2]), 0), torch.ones(12, 5)
    sgd.step()
    assert (sparse != still).any(dim=1).nonzero()[:, 0].tolist() == [2]
    assert (dense != still).all()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(6, 8)
        self.head = heads.create("elastic-arc", 30, 8, sample_rate=0.3)

    def steps(self, sgd: RowSparseSGD, count: int) -> None:
        for _ in range(count):
            generator = torch.Generator().manual_seed(self.head.step)
            images, labels = torch.randn(5, 6, generator=generator), torch.randint(30, (5,), generator=generator)
            sgd.zero_grad()
            self.head(self.backbone(images), labels).backward()
            sgd.step()


def test_a_run_goes_on_from_its_state_dict_to_the_bit():
    unbroken = Model()
    sgd = RowSparseSGD(unbroken.parameters(), **SETTINGS)
    unbroken.steps(sgd, 3)
    model_state, optimizer_state = copy.deepcopy(get_state_dict(unbroken, sgd))
    unbroken.steps(sgd, 3)

    resumed = Model()
    again = RowSparseSGD(resumed.parameters(), **SETTINGS)
    set_state_dict(resumed, again, model_state_dict=model_state, optim_state_dict=optimizer_state)
    resumed.steps(again, 3)
    for mine, theirs in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("piece", [1, 16 << 20])
@pytest.mark.parametrize("sparse", [False, True])
def test_nesterov_is_torchs(sparse, piece):
    ours, theirs = weight_of(), weight_of()
    mine = RowSparseSGD([ours], nesterov=True, **SETTINGS)
    torchs = torch.optim.SGD([theirs], nesterov=True, fused=True, **SETTINGS)
    with mock.patch.dict(optim._PIECE_BYTES, cpu=piece):
        for step in range(5):
            gradient = gradient_of(ours, torch.arange(12), step)
            ours.grad, theirs.grad = gradient if sparse else gradient.to_dense(), gradient.to_dense()
            mine.step()
            torchs.step()
            torch.testing.assert_close(ours, theirs, rtol=1e-6 if sparse else 0, atol=1e-7 if sparse else 0)


@pytest.mark.parametrize("piece", [1, 16 << 20])
@pytest.mark.parametrize("sparse", [False, True])
def test_adamw_is_torchs_where_all_rows_have_a_gradient(sparse, piece):
    ours, theirs = weight_of(), weight_of()
    mine = RowSparseAdamW([{"params": [ours], "weight_decay": 0.1}], lr=0.01)
    torchs = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, fused=True)
    with mock.patch.dict(optim._PIECE_BYTES, cpu=piece):
        for step in range(5):
            gradient = gradient_of(ours, torch.arange(12), step)
            ours.grad, theirs.grad = gradient if sparse else gradient.to_dense(), gradient.to_dense()
            mine.step()
            torchs.step()
            torch.testing.assert_close(ours, theirs, rtol=1e-5 if sparse else 0, atol=1e-6 if sparse else 0)
    assert mine.state[ours].keys() == torchs.state[theirs].keys() == {"step", "exp_avg", "exp_avg_sq"}


@settings(max_examples=50)
@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=6))
def test_rows_follow_adamws_rule_when_they_are_sampled_and_stay_when_not(samples):
    weight = weight_of(dtype=torch.float64)
    adamw = RowSparseAdamW([weight], lr=0.01, weight_decay=0.1)
    rows = [row.clone() for row in weight.detach()]
    m, v = ([torch.zeros(5, dtype=torch.float64) for _ in rows] for _ in range(2))
    for step, sample in enumerate(samples):
        at, t = torch.tensor(sorted(sample)), step + 1
        weight.grad = gradient_of(weight, at, step)
        for row, g in zip(at.tolist(), weight.grad._values(), strict=True):
            m[row] = 0.9 * m[row] + 0.1 * g
            v[row] = 0.999 * v[row] + 0.001 * g**2
            unbiased = m[row] / (1 - 0.9**t), v[row] / (1 - 0.999**t)
            rows[row] = (1 - 0.01 * 0.1) * rows[row] - 0.01 * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        before = weight.detach().clone()
        adamw.step()
        torch.testing.assert_close(weight.detach(), torch.stack(rows), rtol=1e-12, atol=1e-14)
        others = sorted(set(range(12)) - sample)
        assert torch.equal(weight[others], before[others])
