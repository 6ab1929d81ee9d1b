import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
import uvloop

from serving.batching import LARGEST, Batcher
from serving.errors import Overloaded, TooLate


class Work:
    """Doubles numbers, batch by batch, each as long as the test holds it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if -1 in items:
                raise ValueError(f"batch of {len(items)} failed")
            return [2 * item for item in items]
        finally:
            self.at_once -= 1


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """On the loop that the service runs on: its timers differ from the standard one's."""

    async def within_ten_seconds() -> None:
        await asyncio.wait_for(scenario(), timeout=10)  # pyright: ignore[reportArgumentType]

    uvloop.run(within_ten_seconds())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_requests_that_wait_at_the_same_time_share_a_batch() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in range(10)]
        await settle()
        assert work.batches == [[0]]

        work.gate.set()
        results = await asyncio.gather(*waiting)

        # While the first went alone, the other nine gathered; each hears its own result.
        assert work.batches == [[0], list(range(1, 10))]
        assert results == [2 * n for n in range(10)]

    run(scenario)


def test_a_request_alone_does_not_wait_for_company() -> None:
    async def scenario() -> None:
        work = Work()
        work.gate.set()
        batcher: Batcher[int, int] = Batcher(work, lanes=2)

        assert [await batcher.submit(n) for n in (3, 1, 2)] == [6, 2, 4]
        assert work.batches == [[3], [1], [2]]

    run(scenario)


def test_after_a_batch_the_next_one_waits_for_company() -> None:
    async def scenario() -> None:
        work = Work()
        work.gate.set()
        batcher: Batcher[int, int] = Batcher(work, lanes=1, rest=0.2)
        began = time.monotonic()
        # Nobody was before it.
        assert await batcher.submit(1) == 2
        assert time.monotonic() - began < 0.15
        late = asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0.05)
        assert await asyncio.gather(late, batcher.submit(3)) == [4, 6]
        assert time.monotonic() - began >= 0.2
        assert work.batches == [[1], [2, 3]]
        # Long after, one comes alone again.
        await asyncio.sleep(0.25)
        again = time.monotonic()
        assert await batcher.submit(4) == 8
        assert time.monotonic() - again < 0.15

    run(scenario)


def test_one_who_gives_up_while_a_batch_rests_is_told() -> None:
    async def scenario() -> None:
        work = Work()
        work.gate.set()
        batcher: Batcher[int, int] = Batcher(work, lanes=1, rest=0.3)
        assert await batcher.submit(1) == 2
        with pytest.raises(TooLate):
            await batcher.submit(2, asyncio.get_running_loop().time() + 0.05)
        await asyncio.sleep(0.4)
        assert await batcher.submit(3) == 6
        assert work.batches == [[1], [3]]

    run(scenario)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_as_many_batches_as_lanes_are_under_way_at_once(lanes: int) -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=lanes)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in range(20)]
        await settle()
        assert work.at_once == lanes
        assert [len(batch) for batch in work.batches] == [1] * lanes

        work.gate.set()
        assert await asyncio.gather(*waiting) == [2 * n for n in range(20)]
        assert work.most_at_once == lanes

    run(scenario)


def test_items_keep_the_order_in_which_they_came() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in (5, 3, 9, 1, 7)]
        await settle()
        work.gate.set()
        await asyncio.gather(*waiting)

        assert [item for batch in work.batches for item in batch] == [5, 3, 9, 1, 7]

    run(scenario)


def test_no_batch_is_larger_than_the_largest_and_nothing_is_lost() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1, most_waiting=10_000)
        n = 3 * LARGEST + 17
        waiting = [asyncio.create_task(batcher.submit(k)) for k in range(n)]
        await settle()
        work.gate.set()

        assert await asyncio.gather(*waiting) == [2 * k for k in range(n)]
        assert [len(batch) for batch in work.batches] == [1, LARGEST, LARGEST, LARGEST, 16]

    run(scenario)


def test_an_error_reaches_everyone_who_waits_for_that_batch_and_nobody_else() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        first = asyncio.create_task(batcher.submit(1))
        await settle()
        failing = [asyncio.create_task(batcher.submit(n)) for n in (2, -1, 3)]
        await settle()
        work.gate.set()
        results = await asyncio.gather(*failing, return_exceptions=True)

        assert await first == 2
        assert [str(error) for error in results] == ["batch of 3 failed"] * 3
        # The lane is free again.
        assert await batcher.submit(4) == 8

    run(scenario)


def test_work_that_answers_too_few_or_too_many_fails_everyone_rather_than_mixing_them_up() -> None:
    async def scenario() -> None:
        async def drop(items: Sequence[int]) -> Sequence[int]:
            return list(items)[1:]

        async def invent(items: Sequence[int]) -> Sequence[int]:
            return [*items, 0]

        for work in (drop, invent):
            batcher: Batcher[int, int] = Batcher(work, lanes=1)
            waiting = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(result) for result in results} == {RuntimeError}
            assert "results came" in str(results[0])

    run(scenario)


def test_one_who_gives_up_does_not_lose_the_others() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in range(5)]
        await settle()
        # One in the batch under way, one in the queue.
        for gone in (0, 3):
            waiting[gone].cancel()
        await settle()
        work.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)

        assert [results[n] for n in (1, 2, 4)] == [2, 4, 8]
        assert all(isinstance(results[n], asyncio.CancelledError) for n in (0, 3))
        assert await batcher.submit(6) == 12

    run(scenario)


def test_giving_up_in_a_batch_that_fails_stays_silent() -> None:
    async def scenario() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        gone = asyncio.create_task(batcher.submit(-1))
        await settle()
        gone.cancel()
        work.gate.set()
        await asyncio.gather(gone, return_exceptions=True)

        assert await batcher.submit(2) == 4
        assert complaints == []

    run(scenario)


def test_work_that_is_cancelled_leaves_nobody_waiting() -> None:
    async def scenario() -> None:
        async def interrupted(items: Sequence[int]) -> Sequence[int]:
            if 1 in items:
                raise asyncio.CancelledError
            return items

        batcher: Batcher[int, int] = Batcher(interrupted, lanes=1)
        with pytest.raises(asyncio.CancelledError):
            await batcher.submit(1)
        assert await batcher.submit(2) == 2

    run(scenario)


def test_a_deadline_of_one_request_is_its_own() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        patient = asyncio.create_task(batcher.submit(1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.submit(2), timeout=0.01)
        work.gate.set()

        assert await patient == 2

    run(scenario)


def test_one_who_waits_longer_than_his_deadline_is_told_and_the_others_are_not() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        now = asyncio.get_running_loop().time()
        waiting = [
            asyncio.create_task(batcher.submit(1, now + 0.03)),
            asyncio.create_task(batcher.submit(2)),
            asyncio.create_task(batcher.submit(3, now + 0.01)),
            asyncio.create_task(batcher.submit(4, now + 60)),
        ]
        ended: dict[int, float] = {}
        for n, task in enumerate(waiting, start=1):
            task.add_done_callback(lambda _, n=n: ended.setdefault(n, time.monotonic()))
        began = time.monotonic()
        await asyncio.wait({waiting[0], waiting[2]})
        # The one that came later and gives up earlier does so.
        assert ended[3] < ended[1]
        assert 0.01 <= ended[1] - began < 0.5
        work.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(result) for result in results] == [TooLate, int, TooLate, int]
        # What was under way is done all the same, what still waited is not.
        assert work.batches == [[1], [2, 4]]

    run(scenario)


def test_a_deadline_that_is_over_already_is_told_at_once() -> None:
    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(Work(), lanes=1)
        with pytest.raises(TooLate):
            await batcher.submit(1, asyncio.get_running_loop().time() - 1)

    run(scenario)


def test_deadlines_that_are_over_already_are_told_to_all_who_come_at_once() -> None:
    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(Work(), lanes=1)
        now = asyncio.get_running_loop().time()
        late = [batcher.submit(n, now - n) for n in range(3)]
        results = await asyncio.gather(*late, return_exceptions=True)

        assert [type(result) for result in results] == [TooLate] * 3

    run(scenario)


def test_results_that_came_while_the_loop_was_held_up_are_in_time() -> None:
    async def scenario() -> None:
        async def soon(items: Sequence[int]) -> Sequence[int]:
            await asyncio.sleep(0.01)
            return items

        batcher: Batcher[int, int] = Batcher(soon, lanes=1)
        now = asyncio.get_running_loop().time()
        waiting = [asyncio.create_task(batcher.submit(n, now + 0.02)) for n in range(3)]
        await settle()
        # Something else keeps the loop for itself: the work is done meanwhile.
        time.sleep(0.1)

        assert (await waiting[0]) == 0

    run(scenario)


def test_deadlines_that_were_met_leave_nothing_behind() -> None:
    async def scenario() -> None:
        work = Work()
        work.gate.set()
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        now = asyncio.get_running_loop().time()
        for n in range(50):
            await batcher.submit(n, now + 0.02)
        await asyncio.sleep(0.06)
        assert batcher._deadlines == []
        assert batcher._timer is None

    run(scenario)


def test_more_than_can_be_done_soon_are_refused_and_the_others_served() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1, most_waiting=5)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in range(9)]
        await settle()
        work.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)

        # One under way and five in the queue.
        assert results[:6] == [0, 2, 4, 6, 8, 10]
        assert {type(result) for result in results[6:]} == {Overloaded}
        assert await batcher.submit(21) == 42

    run(scenario)


def test_those_who_gave_up_make_room_also_while_a_batch_hangs() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=1, most_waiting=3)
        now = asyncio.get_running_loop().time()
        waiting = [asyncio.create_task(batcher.submit(n, now + 0.01)) for n in range(4)]
        await asyncio.wait(waiting)
        late = [asyncio.create_task(batcher.submit(n)) for n in range(10, 13)]
        await settle()
        work.gate.set()
        assert await asyncio.gather(*late) == [20, 22, 24]
        assert {type(task.exception()) for task in waiting} == {TooLate}

    run(scenario)


def test_work_that_cannot_be_shared_is_done_one_by_one() -> None:
    async def scenario() -> None:
        work = Work()
        batcher: Batcher[int, int] = Batcher(work, lanes=2, largest=1)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in range(5)]
        await settle()
        work.gate.set()
        assert await asyncio.gather(*waiting) == [0, 2, 4, 6, 8]
        assert work.batches == [[n] for n in range(5)]
        assert work.most_at_once == 2

    run(scenario)


class Steady:
    """Takes the same time for each batch of two, and stops altogether once told to."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stands = False

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(3600 if self.stands else self.seconds)
        return list(items)


def test_who_waits_for_work_that_is_done_steadily_is_answered_late_rather_than_not() -> None:
    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(Steady(0.02), lanes=1, largest=2, patience=0.05)
        by = asyncio.get_running_loop().time() + 0.05

        # The last of ten batches is done after 0.2 s, long after the deadline.
        assert await asyncio.gather(*(batcher.submit(n, by) for n in range(20))) == list(range(20))
        assert batcher.lively

    run(scenario)


def test_work_that_stands_still_keeps_nobody_beyond_patience() -> None:
    async def scenario() -> None:
        work = Steady(0.02)
        batcher: Batcher[int, int] = Batcher(work, lanes=1, largest=2, patience=0.05)
        loop = asyncio.get_running_loop()
        await batcher.submit(0)
        work.stands = True
        begun = loop.time()
        asked = [batcher.submit(n, begun + 0.03) for n in range(6)]

        results = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(result) for result in results] == [TooLate] * 6
        # 50 ms after the last that was done, or a little later for a busy machine.
        assert 0.04 <= loop.time() - begun < 0.5
        assert not batcher.lively

    run(scenario)


def test_without_a_word_yet_a_deadline_is_what_it_says() -> None:
    async def scenario() -> None:
        work = Steady(0.02)
        work.stands = True
        batcher: Batcher[int, int] = Batcher(work, lanes=1, patience=60)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(TooLate):
            await batcher.submit(1, begun + 0.03)
        assert loop.time() - begun < 0.5

    run(scenario)


def test_those_who_give_up_together_hear_one_error() -> None:
    async def scenario() -> None:
        work = Steady(0.02)
        work.stands = True
        batcher: Batcher[int, int] = Batcher(work, lanes=1)
        by = asyncio.get_running_loop().time() + 0.03
        asked = [batcher.submit(n, by) for n in range(3)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert len({id(error) for error in errors}) == 1

    run(scenario)
