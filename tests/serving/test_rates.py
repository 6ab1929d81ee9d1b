"""Does a key get as many requests a second as it may, and no more, from all workers together?"""

import multiprocessing
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import rates as rates_module
from serving.rates import Rates, lay_out


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(rates_module.time, "monotonic", lambda: now[0])
    return now


def test_a_full_bucket_holds_a_seconds_worth(clock: list[float]) -> None:
    rates = Rates()

    assert [rates.wait(1, 10) for _ in range(10)] == [0.0] * 10
    assert rates.wait(1, 10) == pytest.approx(0.1)
    # What was refused took nothing: the wait does not grow.
    assert rates.wait(1, 10) == pytest.approx(0.1)
    clock[0] += 0.1
    assert rates.wait(1, 10) == 0.0
    assert rates.wait(1, 10) == pytest.approx(0.1)


def test_less_than_one_a_second_still_lets_the_first_in(clock: list[float]) -> None:
    rates = Rates()

    assert rates.wait(1, 0.1) == 0.0
    assert rates.wait(1, 0.1) == pytest.approx(10)
    clock[0] += 9.99
    assert rates.wait(1, 0.1) == pytest.approx(0.01)
    clock[0] += 0.01
    assert rates.wait(1, 0.1) == 0.0


def test_keys_do_not_take_from_each_other(clock: list[float]) -> None:
    rates = Rates()

    while rates.wait(1, 2) == 0.0:
        pass
    assert rates.wait(2, 2) == 0.0


@given(
    rate=st.floats(0.2, 500),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_its_share_and_a_second_of_it(
    rate: float, gaps: list[float]
) -> None:
    # Token bucket: in any window of w seconds at most rate * w + the bucket's depth.
    now, let_in = 0.0, list[float]()
    rates = Rates()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates_module.time, "monotonic", lambda: now)
        for gap in gaps:
            now += gap
            for _ in range(3):
                if rates.wait(7, rate) == 0.0:
                    let_in.append(now)
    depth = max(rate, 1.0)
    for i, first in enumerate(let_in):
        for j in range(i, len(let_in)):
            assert j - i + 1 <= rate * (let_in[j] - first) + depth + 1e-6


def test_a_pause_fills_the_bucket_and_no_more(clock: list[float]) -> None:
    rates = Rates()
    while rates.wait(1, 5) == 0.0:
        pass
    clock[0] += 3600

    assert [rates.wait(1, 5) == 0.0 for _ in range(7)] == [True] * 5 + [False] * 2


def take(file: Path, seconds: float) -> int:
    rates, taken, until = Rates(file), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        taken += rates.wait(3, 50) == 0.0
        time.sleep(0.001)
    return taken


def test_workers_of_a_machine_share_a_bucket(tmp_path: Path) -> None:
    lay_out(tmp_path / "rates")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        # Both are up before they begin.
        pool.starmap(take, [(tmp_path / "rates", 0.01)] * 2)
        time.sleep(1.1)
        taken = sum(pool.starmap(take, [(tmp_path / "rates", 2.0)] * 2))
    # 50 at once and 50 in each of two seconds; apart they would have taken 300.
    assert 120 <= taken <= 165
