import itertools
import threading
import weakref

import pytest

from elasticface.base import ahead
from elasticface.base.ahead import map_ahead


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


def test_an_error_that_is_caught_keeps_nothing_of_what_its_frames_held():
    class Photo:
        pass

    photos = []

    def fails(number):
        photo = Photo()
        photos.append(weakref.ref(photo))
        try:
            raise KeyError(number)
        except KeyError as error:
            raise ValueError(number) from error

    found = list(map_ahead(fails, range(9), caught=ValueError))
    assert [error.args for error in found] == [(n,) for n in range(9)]
    assert [type(error.__cause__) for error in found] == [KeyError] * 9
    assert [photo() for photo in photos] == [None] * 9


def test_after_an_error_no_later_item_is_begun():
    begun = []

    def first_fails(number):
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(map_ahead(first_fails, range(200)))
    assert len(begun) <= ahead._THREADS


def test_an_error_of_a_later_item_does_not_take_the_earlier_results(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    failed = threading.Event()

    def second_fails(number):
        if number == 1:
            failed.set()
            raise ValueError("the second")
        failed.wait(5)
        return number

    results = map_ahead(second_fails, range(5))
    assert next(results) == 0
    with pytest.raises(ValueError, match="the second"):
        next(results)
