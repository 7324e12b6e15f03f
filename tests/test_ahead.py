import itertools
import threading

import pytest

from elasticface.ahead import map_ahead


def test_results_come_in_the_order_of_the_items():
    waits = [threading.Event() for _ in range(2)]

    def slow_first(number):
        if number == 0:
            waits[1].wait(5)  # done after the second
        elif number == 1:
            waits[1].set()
        return number * number

    assert list(map_ahead(slow_first, range(20))) == [n * n for n in range(20)]


def test_no_more_than_ahead_wait():
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = map_ahead(lambda n: n, items(), ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 5
    results.close()


def test_an_error_comes_where_its_result_would():
    def third_fails(number):
        if number == 2:
            raise ValueError("the third")
        return number

    results = map_ahead(third_fails, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)


def test_no_items_give_no_results():
    assert list(map_ahead(len, [])) == []


def test_what_is_left_over_is_not_worked_on():
    begun = []
    results = map_ahead(begun.append, range(1000), ahead=3)
    next(results)
    results.close()
    assert len(begun) <= 4
    assert threading.active_count() < 50


def test_an_error_that_is_caught_comes_as_a_result():
    def odd_fails(number):
        if number % 2:
            raise KeyError(number)
        return number

    found = list(map_ahead(odd_fails, range(4), caught=KeyError))
    assert [found[0], found[2]] == [0, 2]
    assert [type(each) for each in found[1::2]] == [KeyError, KeyError]
