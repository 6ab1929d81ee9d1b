import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

import serving.breaker
from serving.breaker import SHARED, Breaker

PAUSE = 10.0


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def breaking(failures: int = 3) -> tuple[Breaker, Time]:
    clock = Time()
    return Breaker(failures, PAUSE, clock), clock


def test_a_store_that_fails_in_a_row_is_left_alone() -> None:
    breaker, _ = breaking()
    for _ in range(2):
        assert breaker.allows()
        breaker.failed()
    assert breaker.state == "closed"
    breaker.failed()
    assert breaker.state == "open"
    assert not breaker.allows()


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker, _ = breaking()
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()


def test_after_a_pause_one_probe_is_let_through_and_decides() -> None:
    for succeeds in (True, False):
        breaker, clock = breaking(1)
        breaker.failed()
        clock.now += PAUSE
        assert [breaker.allows() for _ in range(3)] == [True, False, False]
        assert breaker.state == "half_open"
        if succeeds:
            breaker.succeeded()
            assert [breaker.allows() for _ in range(3)] == [True, True, True]
        else:
            breaker.failed()
            clock.now += PAUSE - 0.1
            assert not breaker.allows()


def test_a_probe_that_is_never_heard_of_again_does_not_close_the_way_for_ever() -> None:
    breaker, clock = breaking(1)
    breaker.failed()
    for _ in range(3):
        clock.now += PAUSE
        assert breaker.allows()
        assert not breaker.allows()


class Naive:
    """The rule in other words: the whole history is kept and read anew for every question."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self._history: list[tuple[str, float]] = []

    def tell(self, what: str, at: float) -> None:
        self._history.append((what, at))

    def allows(self, now: float) -> bool:
        since = [e for e in self._history if e[0] != "succeeded"]
        for place, (what, _) in enumerate(self._history):
            if what == "succeeded":
                since = self._history[place + 1 :]
        failed = [at for what, at in since if what == "failed"]
        if len(failed) < self._failures:
            return True
        opened = [at for n, at in enumerate(failed, start=1) if n >= self._failures]
        probes = [at for what, at in since if what == "probe"]
        return now - max([*opened, *probes]) >= PAUSE


@given(
    st.integers(1, 4),
    st.lists(
        st.sampled_from(["succeeded", "failed", "asks"])
        | st.sampled_from([0.5, 3.0, PAUSE, 2 * PAUSE]),
        max_size=60,
    ),
)
def test_is_the_rule_whatever_happens(failures: int, story: list[str | float]) -> None:
    breaker, clock = breaking(failures)
    naive = Naive(failures)
    for event in story:
        if isinstance(event, float):
            clock.now += event
        elif event == "asks":
            closed, allowed = breaker.state == "closed", naive.allows(clock.now)
            assert breaker.allows() == allowed
            if allowed and not closed:
                naive.tell("probe", clock.now)
        else:
            getattr(breaker, event)()
            naive.tell(event, clock.now)


def test_all_who_shared_what_failed_are_few() -> None:
    breaker = Breaker(2 * SHARED)
    first, second = TimeoutError(), TimeoutError()
    for _ in range(100):
        breaker.failed(first)
    assert breaker.state == "closed"
    breaker.failed(second)
    assert breaker.state == "open"


def test_it_is_told_as_open_while_those_who_ask_fail_and_soon_not_where_nobody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving.breaker, "QUIET_SECONDS", 0.8)
    registry = CollectorRegistry()
    breaker = Breaker(1, 0.01, told=Gauge("open", "1 while open", registry=registry))

    def told() -> float | None:
        return registry.get_sample_value("open")

    async def story() -> None:
        for _ in range(10):
            await asyncio.sleep(0.1)
            # Asked seldom, and each time in vain: no scrape in between sees a recovery.
            assert breaker.allows()
            breaker.failed()
            assert told() == 1
        await asyncio.sleep(1.2)
        assert told() == 0
        assert breaker.allows()
        breaker.failed()
        assert told() == 1
        await asyncio.sleep(0.6)
        breaker.succeeded()
        assert told() == 0
        breaker.failed()
        # When the failure before would have been too old to be told.
        await asyncio.sleep(0.4)
        assert told() == 1

    asyncio.run(story())
