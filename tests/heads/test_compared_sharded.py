"""The losses that ElasticFace is compared with over two and three processes: those of one process, and the longhand."""

from typing import Any

import on_processes
import pytest
import sharded_heads
import torch
from heads.test_compared import COMPARED, STATISTICS
from heads.test_sharded import SOME_EMPTY, UNEVEN, assert_same
from sharded_heads import Case

# Statistics that move by half, so that a second step would show it if they were those of a part of the batch.
QUICK = {loss: {"t_alpha": 0.5} for loss in STATISTICS}


def cases_of(size: int) -> dict[str, Case]:
    """By what they show."""
    cases = {}
    for loss in COMPARED:
        quick = QUICK.get(loss, {})
        for dtype in ("float32", "float64"):
            long = {"classes": 200, "size": 128} if dtype == "float32" else {}
            cases[f"{loss} {dtype}"] = Case(loss, UNEVEN[size], dtype, **long, options=quick)  # type: ignore[arg-type]
        cases |= {
            f"{loss} parts of the batch that are empty": Case(loss, SOME_EMPTY[size], options=quick),
            f"{loss} processes without a class": Case(loss, UNEVEN[size], classes=4 if size == 3 else 2),
            f"{loss} computed again": Case(loss, UNEVEN[size], options=quick | {"max_logits_bytes": 500}),
            f"{loss} past π": Case(loss, UNEVEN[size], options=quick | {"past_pi": "paper"}),
            f"{loss} weighted": Case(loss, UNEVEN[size], weighted=True, options=quick),
            f"{loss} margins given": Case(loss, UNEVEN[size], given=True, options=quick),
            f"{loss} sampled": Case(
                loss, UNEVEN[size], classes=60, options=quick | {"sample_rate": 0.3, "scale": 8.0}, steps=3
            ),
        }
    return cases


SAMPLED = [name for name in cases_of(2) if name.endswith("sampled")]
EXACT = [name for name in cases_of(2) if name not in SAMPLED]


@pytest.fixture(scope="module", params=[2, 3])
def size(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def found(size: int) -> list[Any]:
    """What each of the processes found."""
    return on_processes.run(sharded_heads.compared, size, sharded_heads.as_plain(list(cases_of(size).values())))


def steps_of(found: list[Any], size: int, name: str) -> list[list[dict[str, Any]]]:
    """By step, what each process found."""
    number = list(cases_of(size)).index(name)
    return [list(parts) for parts in zip(*(own[number] for own in found), strict=True)]


@pytest.mark.parametrize("name", EXACT)
def test_loss_gradients_and_statistics_are_those_of_one_process(found, size, name):
    case = cases_of(size)[name]
    for parts, expected in zip(steps_of(found, size, name), sharded_heads.on_one(case), strict=True):
        assert_same(sharded_heads.joined(parts), expected, 1e-6 if case.dtype == "float32" else 1e-12)
        assert all(part["statistics"] == expected["statistics"] for part in parts)  # to the bit


@pytest.mark.parametrize("name", EXACT)
def test_loss_gradients_and_statistics_are_those_of_the_longhand(found, size, name):
    case = cases_of(size)[name]
    tolerance = 2e-5 if case.dtype == "float32" else 1e-12
    for parts, expected in zip(steps_of(found, size, name), sharded_heads.by_longhand(case), strict=True):
        assert_same(sharded_heads.joined(parts), expected, tolerance)
        assert parts[0]["statistics"] == pytest.approx(expected["statistics"], rel=tolerance)


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sharded_sample_gives_the_longhand_loss_over_its_classes(found, size, name):
    case, parts_of_steps = cases_of(size)[name], steps_of(found, size, name)
    width = -(-case.classes // size)
    classes = [torch.cat([part["rows"] + rank * width for rank, part in enumerate(parts)]) for parts in parts_of_steps]
    assert all(len(sample) < case.classes for sample in classes)
    for parts, expected in zip(parts_of_steps, sharded_heads.by_longhand(case, classes), strict=True):
        assert_same(sharded_heads.joined(parts), expected, 1e-12)


@pytest.mark.parametrize("name", cases_of(2))
def test_all_processes_have_the_same_loss_to_the_bit(found, size, name):
    for parts in steps_of(found, size, name):
        assert len({part["loss"].item() for part in parts}) == 1
