"""A step that is skipped leaves nothing behind; and what is said of the worst of its images."""

import torch
from torch import nn

from elasticface.heads.row_sparse import row_sparse
from elasticface.training.guard import Outcome, RunningStatistics, norm_of


def test_restored_running_statistics_are_those_before_the_forward_pass() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3))
    statistics = RunningStatistics(network)
    network(torch.randn(4, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    statistics.take_snapshot()
    network(torch.full((4, 3), torch.nan))
    assert network[0].running_mean.isnan().all()
    statistics.restore()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_worst_labels_are_those_without_a_finite_embedding_then_the_longest() -> None:
    lengths = torch.tensor([3.0, torch.nan, 9.0, 1.0, torch.inf, 2.0, 4.0])
    worst = Outcome(torch.tensor(torch.nan), torch.zeros(()), torch.arange(10, 17), lengths, 7).worst_labels()
    assert set(worst[:2]) == {11, 14}
    assert worst[2:] == [12, 16, 10]


def test_the_norm_is_that_of_all_gradients_together() -> None:
    rows = row_sparse(torch.tensor([1, 5]), torch.tensor([[4.0], [12.0]]), 100)
    cpu = torch.device("cpu")
    assert abs(norm_of([torch.tensor([3.0]), torch.zeros(0), rows], cpu) - 13) < 1e-5
    assert norm_of([], cpu) == norm_of([torch.zeros(0)], cpu) == 0
    assert norm_of([torch.tensor([torch.inf, 1])], cpu).isinf()
    assert norm_of([torch.tensor([torch.nan, 1])], cpu).isnan()
