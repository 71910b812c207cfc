"""Reading ahead."""

import threading

import pytest

from stg.loading import read_ahead


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_everything_comes_in_order(count: int) -> None:
    assert list(read_ahead(lambda n: n * n, range(count))) == [n * n for n in range(count)]


def test_the_next_is_read_in_another_thread_while_one_is_in_use() -> None:
    begun = {n: threading.Event() for n in range(3)}

    def load(n: int) -> str:
        begun[n].set()
        return threading.current_thread().name

    loaded = read_ahead(load, range(3))
    assert next(loaded).startswith("stg-read-ahead")
    assert begun[1].wait(10)
    assert not begun[2].is_set()


def test_an_error_is_raised_where_its_batch_is_asked_for() -> None:
    loaded = read_ahead(lambda n: 1 // n, [1, 0])
    assert next(loaded) == 1
    with pytest.raises(ZeroDivisionError):
        next(loaded)
