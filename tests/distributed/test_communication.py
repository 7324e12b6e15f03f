"""Who has what of a batch; what processes tell each other is tried in heads/test_sharded."""

from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elasticface.distributed.communication import Group, Part, share_of


def one(rank: int, size: int) -> Group:
    """One of several processes, as far as counting goes."""
    return Group(SimpleNamespace(rank=lambda: rank, size=lambda: size))  # type: ignore[arg-type]


@given(st.integers(0, 300), st.integers(1, 40))
def test_shares_are_those_of_torch_chunk(total, size):
    chunks = list(torch.arange(total).chunk(size))
    chunks += [torch.arange(0)] * (size - len(chunks))
    for rank, chunk in enumerate(chunks):
        share = torch.arange(total)[share_of(total, one(rank, size))]
        assert share.tolist() == chunk.tolist()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_own_rows_follow_each_other_in_rank_order(counts):
    whole = torch.arange(sum(counts))
    parts: list[Tensor] = []
    for rank, count in enumerate(counts):
        own = Part(one(rank, len(counts)), tuple(counts), 0, 1).own_rows
        assert own.stop - own.start == count
        parts.append(whole[own])
    assert torch.equal(torch.cat(parts), whole)


def test_one_process_keeps_what_it_has():
    alone, rows = Group(), torch.randn(3, 2)
    assert (alone.size, alone.rank) == (1, 0)
    assert alone.gather_rows(rows, (3,)) is rows
    assert alone.sum_to_owners(rows, (3,)) is rows
    assert alone.sum_(rows) is rows
    assert alone.gather_numbers(torch.tensor([4, 5])) == [[4, 5]]
