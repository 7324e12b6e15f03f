"""A step without a finite loss leaves nothing behind, and too many in a row are told apart from a few."""

import math

import torch
from torch import nn

from elasticface.training.guard import Evidence, Guard, norm_of


def test_a_skipped_step_leaves_the_running_statistics_as_they_were() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3))
    guard = Guard(network, most=5)
    network(torch.randn(4, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    guard.before()
    network(torch.full((4, 3), torch.nan))
    assert network[0].running_mean.isnan().all()
    assert not guard.skip()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_so_many_in_a_row_are_too_many_and_a_good_one_between_them_is_not() -> None:
    guard = Guard(nn.Linear(1, 1), most=3)
    assert [guard.skip(), guard.skip()] == [False, False]
    guard.in_row = 0
    assert [guard.skip(), guard.skip(), guard.skip()] == [False, False, True]
    assert guard.skipped == 5


def test_the_worst_labels_are_those_without_a_finite_embedding_then_the_longest() -> None:
    lengths = torch.tensor([3.0, torch.nan, 9.0, 1.0, torch.inf, 2.0, 4.0])
    worst = Evidence(math.nan, torch.arange(10, 17), lengths).worst()
    assert set(worst[:2]) == {11, 14}
    assert worst[2:] == [12, 16, 10]


def test_the_norm_is_that_of_all_gradients_together() -> None:
    assert abs(norm_of([torch.tensor([3.0]), torch.zeros(0), torch.tensor([[4.0, 12.0]])]) - 13) < 1e-5
    assert norm_of([]) == 0
    assert math.isinf(norm_of([torch.tensor([torch.inf, 1])]))
    assert math.isnan(norm_of([torch.tensor([torch.nan, 1])]))
