"""What every profile store keeps its word on: the snapshot is whole, or it is not there.

Files of LMDB are damaged here too; what Redis alone can do wrong is in tests/faults/test_redis.py.
"""

import asyncio
import contextlib
import gc
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import lmdb_profiles, redis_profiles
from foundation.errors import RegularsError
from foundation.profile import Explanation, Profile, SnapshotFacts
from recommender.next_products import Complement, Known, NextProducts
from serving.profiles import ProfileStore, refresh
from serving.snapshot_export import snapshot_export
from tests.redis_servers import redis_server, redis_store

NIGHT = datetime(2026, 11, 20, 8, tzinfo=UTC)
NAMES = tuple(f"feature_{n}" for n in range(8))
ROOT = Path(__file__).parents[2]


class Shelf(ABC):
    """A place to publish to, under one adapter."""

    @abstractmethod
    def publish_snapshot(self, profiles: Iterable[Profile], **more: Any) -> SnapshotFacts: ...

    @abstractmethod
    def unopened(self) -> ProfileStore: ...

    @abstractmethod
    def left(self) -> list[str]:
        """Name what lies there and does not go by itself."""

    @abstractmethod
    def size(self) -> int:
        """Count what it takes, in bytes."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for another process."""

    @abstractmethod
    def drop_old(self) -> None:
        """Remove every snapshot but the live one."""

    @abstractmethod
    def holding(self, customer_id: str) -> tuple[list[str], list[str]]:
        """Return what was searched for a customer, and what holds her."""

    def publish(
        self,
        profiles: Iterable[Profile],
        as_of: datetime = NIGHT,
        names: tuple[str, ...] = NAMES,
        feature_hash: str = "91bc",
        **more: Any,
    ) -> SnapshotFacts:
        return self.publish_snapshot(
            profiles, as_of=as_of, names=names, feature_hash=feature_hash, **more
        )

    def store(self) -> ProfileStore:
        store = self.unopened()
        refresh(store)
        return store


class LmdbShelf(Shelf):
    def __init__(self, place: str) -> None:
        self.folder = Path(place)

    @property
    def place(self) -> str:
        return str(self.folder)

    def publish_snapshot(self, profiles: Iterable[Profile], **more: Any) -> SnapshotFacts:
        return lmdb_profiles.publish_snapshot(self.folder, profiles, **more)

    def unopened(self) -> ProfileStore:
        return lmdb_profiles.LmdbProfiles(self.folder)

    def drop_old(self) -> None:
        lmdb_profiles.drop_old_snapshots(self.folder)

    def holding(self, customer_id: str) -> tuple[list[str], list[str]]:
        return lmdb_profiles.snapshots_with(self.folder, customer_id)

    def left(self) -> list[str]:
        return sorted(str(path) for path in self.folder.rglob("*"))

    def size(self) -> int:
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())


class RedisShelf(Shelf):
    def __init__(self, place: str) -> None:
        self.url = place
        self.client: Any = redis.Redis.from_url(place)

    @property
    def place(self) -> str:
        return self.url

    def publish_snapshot(self, profiles: Iterable[Profile], **more: Any) -> SnapshotFacts:
        return redis_profiles.publish_snapshot(self.url, profiles, **more)

    def unopened(self) -> ProfileStore:
        return redis_store(self.url)

    def drop_old(self) -> None:
        redis_profiles.drop_old_snapshots(self.url)

    def holding(self, customer_id: str) -> tuple[list[str], list[str]]:
        return redis_profiles.snapshots_with(self.url, customer_id)

    def left(self) -> list[str]:
        return sorted(k.decode() for k in self.client.scan_iter() if self.client.ttl(k) == -1)

    def size(self) -> int:
        return sum(self.client.memory_usage(key, samples=0) for key in self.left())


# A new adapter is one more entry.
ADAPTERS: dict[str, Callable[[str], Shelf]] = {"lmdb": LmdbShelf, "redis": RedisShelf}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def shelf(adapter: str, tmp_path: Path, redis_url: str) -> Shelf:
    return empty_shelf(adapter, tmp_path / "snapshots", redis_url)


def empty_shelf(adapter: str, folder: Path, redis_url: str) -> Shelf:
    if adapter == "redis":
        redis.Redis.from_url(redis_url).flushall()
        return RedisShelf(redis_url)
    return ADAPTERS[adapter](str(folder))


def asked(store: ProfileStore, asking: Coroutine[Any, Any, Any]) -> Any:
    """Return what a request would get."""

    async def once() -> Any:
        try:
            return await asking
        finally:
            await store.close()

    return asyncio.run(once())


def profile(customer_id: str = "c-1", value: float = 1.0, **fields: Any) -> Profile:
    known: dict[str, Any] = {
        "household_id": None,
        "time_zone": None,
        "vector": np.full(len(NAMES), value),
        "segments": {},
    }
    return Profile(customer_id, **(known | fields))


def everyone(tag: int, n: int = 100) -> Iterator[Profile]:
    """Customers whose every value says which publication they are of."""
    for i in range(n):
        yield profile(f"c-{i}", tag, segments={"rfm": str(tag)})


def held() -> int:
    """Count the files this process has open."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def same(found: Profile | None, wanted: Profile) -> bool:
    """Equal to the last bit, NaN for NaN."""
    return (
        found is not None
        and found.vector.tobytes() == np.asarray(wanted.vector, dtype=np.float64).tobytes()
        and (found.customer_id, found.household_id, found.time_zone, found.segments)
        == (wanted.customer_id, wanted.household_id, wanted.time_zone, wanted.segments)
        and (found.attributes, found.counts) == (wanted.attributes, wanted.counts)
        and found.remaining_value == wanted.remaining_value
        and [type(v) for v in found.attributes.values()]
        == [type(v) for v in wanted.attributes.values()]
    )


# ------------------------------------------------------------------------------- what comes back


def test_a_profile_comes_back_as_it_was_published(shelf: Shelf) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7e308, 1 / 3, 0.0]
    ana = profile(
        "ana",
        vector=np.array(values),
        household_id="h-1",
        time_zone="Europe/Vienna",
        remaining_value=12_345.5,
        segments={"rfm": "champions", "lifecycle": "aktive Käuferin"},
        # True is not 1 and 1.0 no instant: a rule tells kinds apart.
        attributes={
            "attributes.vip": True,
            "attributes.points": 1.0,
            "attributes.tier": "gold",
            "joined_at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        },
        counts={"count_3f2a": 2**40},
    )
    shelf.publish([ana, profile("bea")])

    found = shelf.store()

    assert same(found.get("ana"), ana)
    assert same(found.get("bea"), profile("bea"))


def test_what_goes_with_a_product_comes_back_and_is_no_customer(shelf: Shelf) -> None:
    milk = Known("DAIRY", (Complement("eggs", 0.1, 0.7, 2.0), Complement("jam", 0.2, 0.1)))
    dairy = Known(None, (Complement("bun", 0.3, 0.2, 1.5),))
    # A customer, a product and a group of one name.
    shelf.publish(
        [profile("milk")],
        next_products=NextProducts(
            {"milk": milk, "quark": Known("milk"), "odd": Known("x" * 1000)},
            {"milk": dairy, "x" * 1000: dairy},
        ),
    )

    store = shelf.store()

    assert same(store.get("milk"), profile("milk"))
    found = asked(store, store.next_products(["milk", "quark", "odd", "eggs"]))
    assert found == NextProducts(
        {"milk": milk, "quark": Known("milk"), "odd": Known("x" * 1000)},
        {"milk": dairy, "x" * 1000: dairy},
    )
    both = asked(store, store.fetch_with_basket("milk", ["odd", "odd", "eggs"]))
    assert same(both[0], profile("milk"))
    assert both[1] == NextProducts({"odd": Known("x" * 1000)}, {"x" * 1000: dairy})
    assert asked(store, store.fetch_with_basket("eggs", [])) == (None, NextProducts())
    assert store.get("eggs") is None
    # The next publication has its own.
    shelf.publish([])
    refresh(store)
    assert asked(store, store.next_products(["milk"])) == NextProducts()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PROFILES = st.builds(
    Profile,
    TEXTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.lists(st.floats(), min_size=8, max_size=8).map(lambda v: np.array(v, dtype=np.float64)),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(PROFILES, max_size=8, unique_by=lambda p: p.customer_id))
def test_any_profiles_come_back_and_nobody_else(redis_url: str, profiles: list[Profile]) -> None:
    for adapter in ADAPTERS:
        with tempfile.TemporaryDirectory() as folder:
            shelf = empty_shelf(adapter, Path(folder), redis_url)
            facts = shelf.publish(profiles)
            store = shelf.store()

            assert facts.customers == len(profiles)
            for wanted in profiles:
                assert same(store.get(wanted.customer_id), wanted)
            known = {p.customer_id for p in profiles}
            for stranger in {"", "x", "\x00facts", *(f"{i}!" for i in known)} - known:
                assert store.get(stranger) is None


@pytest.mark.parametrize(
    "customer_id",
    ["x" * 511, "x" * 512, "x" * 100_000, "客" * 200, "", "\x00", "\x00facts", "a/b\n", " c "],
    ids=["511", "512", "100000", "200 chinese", "empty", "nul", "facts", "slash", "spaces"],
)
def test_an_id_is_opaque_however_long_or_odd(shelf: Shelf, customer_id: str) -> None:
    # Neighbours that a cut or trimmed key would mistake for her.
    others = [customer_id + "x", customer_id[:-1] + "y"]
    shelf.publish([profile(customer_id, 1), *(profile(other, 2) for other in others)])

    store = shelf.store()

    assert same(store.get(customer_id), profile(customer_id, 1))
    assert same(store.get(others[0]), profile(others[0], 2))
    assert store.get(customer_id + "z") is None


def test_the_snapshot_says_what_it_is(shelf: Shelf) -> None:
    published = shelf.publish(everyone(1, 7), feature_hash="3f2a")

    facts = shelf.store().facts()

    assert facts == published
    assert (facts.as_of, facts.names, facts.feature_hash, facts.customers) == (
        NIGHT,
        NAMES,
        "3f2a",
        7,
    )
    assert facts.version.startswith("2026-11-20")
    assert facts.as_of.tzinfo is not None


def test_a_snapshot_of_nobody_is_a_snapshot(shelf: Shelf) -> None:
    shelf.publish([], names=())

    store = shelf.store()

    assert store.facts() is not None
    assert store.get("c-1") is None


def test_a_large_snapshot_is_whole(shelf: Shelf) -> None:
    shelf.publish(everyone(3, 20_000))

    store = shelf.store()

    draw = random.Random(1)
    for number in (0, 19_999, *(draw.randrange(20_000) for _ in range(200))):
        assert same(store.get(f"c-{number}"), profile(f"c-{number}", 3, segments={"rfm": "3"}))
    assert store.get("c-20000") is None


def test_stores_of_one_process_read_the_same_snapshot_beside_each_other(shelf: Shelf) -> None:
    shelf.publish(everyone(1))
    first, second = shelf.store(), shelf.store()
    shelf.publish(everyone(2))
    refresh(second)
    del second
    third = shelf.store()

    assert same(first.get("c-1"), profile("c-1", 1, segments={"rfm": "1"}))
    assert same(third.get("c-1"), profile("c-1", 2, segments={"rfm": "2"}))
    assert refresh(first)
    assert first.facts() == third.facts()


@pytest.mark.parametrize("ids", ["c-{:04}", "{}", "card:{}:x"])
def test_a_sample_is_spread_over_all_customers_and_the_same_each_time(
    shelf: Shelf, ids: str
) -> None:
    everybody = [ids.format(n) for n in range(1_000)]
    shelf.publish(
        (profile(one) for one in everybody),
        next_products=NextProducts({"p": Known("DAIRY", ())}, {"DAIRY": Known(None, ())}),
    )

    found = [one.customer_id for one in shelf.store().sample(50)]

    assert len(set(found)) == 50
    assert found == [one.customer_id for one in shelf.store().sample(50)]
    places = np.sort([sorted(everybody).index(one) for one in found])
    # Spread: no fifth of all customers is left out.
    assert set(places // 200) == {0, 1, 2, 3, 4}


def test_a_sample_of_few_is_all_of_them_as_they_were_published(shelf: Shelf) -> None:
    assert shelf.store().sample(5) == []
    people = [profile("ana", 1.0), profile("bea", 2.0), profile("a" * 400, 3.0)]
    shelf.publish(people)

    found = {one.customer_id: one for one in shelf.store().sample(50)}

    assert len(found) == 3
    assert all(same(found[one.customer_id], one) for one in people)


def test_before_the_first_publication_nothing_is_known(shelf: Shelf) -> None:
    store = shelf.store()

    assert store.facts() is None
    assert store.get("c-1") is None
    assert asked(store, store.fetch("c-1")) is None
    assert asked(store, store.next_products(["p-1"])) == NextProducts()
    assert refresh(store) is False
    shelf.publish(everyone(1))
    assert store.get("c-1") is None
    assert refresh(store) is True
    assert store.get("c-1") is not None


def test_a_vector_outlives_its_snapshot_and_cannot_change_it(shelf: Shelf) -> None:
    shelf.publish(everyone(1))
    store = shelf.store()
    kept = store.get("c-1")
    assert kept is not None
    with contextlib.suppress(ValueError):  # Read-only is as good as a copy.
        kept.vector[:] = 77
    kept.segments["rfm"] = "changed"
    assert same(store.get("c-1"), profile("c-1", 1, segments={"rfm": "1"}))
    before = kept.vector.copy()

    for tag in range(2, 8):
        shelf.publish(everyone(tag))
        refresh(store)
    gc.collect()

    np.testing.assert_array_equal(kept.vector, before)


# ------------------------------------------------------------------------------- the next one


def test_a_reader_moves_only_when_it_refreshes_and_only_once(shelf: Shelf) -> None:
    first = shelf.publish(everyone(1))
    store = shelf.store()

    second = shelf.publish(everyone(2))

    assert store.facts() == first
    assert same(store.get("c-5"), profile("c-5", 1, segments={"rfm": "1"}))
    assert [refresh(store), refresh(store)] == [True, False]
    assert store.facts() == second
    assert same(store.get("c-5"), profile("c-5", 2, segments={"rfm": "2"}))


def test_who_is_no_more_in_the_new_snapshot_is_unknown(shelf: Shelf) -> None:
    shelf.publish([profile("ana"), profile("bea")])
    store = shelf.store()

    shelf.publish([profile("bea")])
    refresh(store)

    assert store.get("ana") is None
    assert store.get("bea") is not None


def test_who_is_gone_from_the_live_snapshot_is_in_none_once_old_ones_are_dropped(
    shelf: Shelf,
) -> None:
    shelf.drop_old()
    assert shelf.holding("ana") == ([], [])
    versions = [
        shelf.publish([profile("ana"), profile("bea")]).version,
        shelf.publish([profile("ana"), profile("bea")]).version,
        shelf.publish([profile("bea")]).version,
    ]
    assert set(versions[1:]) <= set(shelf.holding("ana")[0])
    assert versions[1] in shelf.holding("ana")[1]

    shelf.drop_old()

    assert shelf.holding("ana") == ([versions[2]], [])
    assert shelf.holding("bea") == ([versions[2]], [versions[2]])
    assert shelf.store().get("bea") is not None


def test_affinities_come_back_by_offer_to_the_last_bit(shelf: Shelf) -> None:
    near = np.array([[0.1, np.nan, 3], [1 / 3, -1, np.nan]], dtype=np.float32)
    shelf.publish([profile("c-1", affinity=near), profile("c-2")], offers=("coffee", "tea"))
    store = shelf.store()

    facts, found, nothing = store.facts(), store.get("c-1"), store.get("c-2")

    assert facts is not None
    assert found is not None
    assert nothing is not None
    assert facts.places == {"coffee": 0, "tea": 1}
    tea = found.affinity_to(facts.places.get("tea"))
    assert tea is not None
    np.testing.assert_array_equal(tea, near[1])
    assert found.affinity_to(facts.places.get("younger")) is None
    assert nothing.affinity_to(0) is None


def test_affinities_to_another_number_of_offers_are_refused(shelf: Shelf) -> None:
    odd = profile("ana", affinity=np.zeros((3, 6), dtype=np.float32))

    with pytest.raises(RegularsError, match="affinities to 3 offers, the snapshot names 2"):
        shelf.publish([odd], offers=("coffee", "tea"))


def test_names_and_hash_move_together_with_the_vectors(shelf: Shelf) -> None:
    shelf.publish(everyone(1))
    store = shelf.store()

    shelf.publish([profile("c-1", vector=np.array([4.0]))], names=("one",), feature_hash="new")
    refresh(store)

    facts, found = store.facts(), store.get("c-1")
    assert facts is not None
    assert found is not None
    assert (facts.names, facts.feature_hash, found.vector.tolist()) == (("one",), "new", [4.0])


def test_no_version_is_ever_used_again(shelf: Shelf) -> None:
    store = shelf.store()
    days = [0, 0, 1, 0, 2, 0, -5, 0, 2, 0]
    versions = []
    for tag, day in enumerate(days):
        versions.append(shelf.publish(everyone(tag), NIGHT + timedelta(days=day)).version)
        # A worker that saw any of the older ones sees that this one is another.
        assert refresh(store)
        assert same(store.get("c-1"), profile("c-1", tag, segments={"rfm": str(tag)}))

    assert len(set(versions)) == len(days)
    assert versions[6].startswith("2026-11-15")


def test_a_reader_left_far_behind_still_reads_its_own(shelf: Shelf) -> None:
    shelf.publish(everyone(1, 3_000))
    store = shelf.store()
    store.get("c-0")

    for tag in range(2, 9):
        shelf.publish(everyone(tag, 10))

    # Pages it had never touched, too.
    for number in range(3_000):
        found = store.get(f"c-{number}")
        assert found is not None
        assert found.vector[0] == 1
    assert refresh(store)
    assert same(store.get("c-1"), profile("c-1", 8, segments={"rfm": "8"}))


def test_old_snapshots_are_swept_and_readers_let_go_of_them(shelf: Shelf) -> None:
    shelf.publish(everyone(0))
    store = shelf.store()
    shelf.publish(everyone(1))
    refresh(store)
    store.get("c-1")
    bytes_before, before = shelf.size(), held()

    for tag in range(2, 22):
        shelf.publish(everyone(tag))
        refresh(store)
        store.get("c-1")

    assert held() == before
    # Equal but for how tightly Redis packs: one more snapshot would be half as much again.
    assert shelf.size() <= 1.1 * bytes_before


def test_threads_that_read_all_the_time_see_whole_snapshots_and_never_go_back(shelf: Shelf) -> None:
    publications, readers, customers = 40, 3, 50
    shelf.publish(everyone(0, customers))
    store = shelf.store()
    over = threading.Event()

    def read(seed: int) -> tuple[int, set[int]]:
        draw, latest, seen = random.Random(seed), 0, set[int]()
        count = 0
        while not over.is_set() or latest < publications:
            found = store.get(f"c-{draw.randrange(customers)}")
            assert found is not None
            values = set(found.vector.tolist())
            # One publication through and through, and none older than any customer's before.
            assert values == {float(found.segments["rfm"])}
            assert values.pop() >= latest
            latest = int(found.segments["rfm"])
            seen.add(latest)
            count += 1
        return count, seen

    with ThreadPoolExecutor(readers) as pool:
        reading = [pool.submit(read, seed) for seed in range(readers)]
        try:
            for tag in range(1, publications + 1):
                shelf.publish(everyone(tag, customers))
                assert refresh(store)
        finally:
            over.set()
        for one in reading:
            count, seen = one.result(timeout=30)
            assert count > 100
            assert len(seen) > publications / 4


def test_publications_at_the_same_time_do_not_mix(shelf: Shelf) -> None:
    def slowly(tag: int) -> Iterator[Profile]:
        for one in everyone(tag, 20):
            time.sleep(0.002)
            yield one

    with ThreadPoolExecutor(4) as pool:
        facts = list(pool.map(lambda tag: shelf.publish(slowly(tag)), range(8)))

    assert len({f.version for f in facts}) == 8
    store = shelf.store()
    live = store.facts()
    assert live in facts
    tag = str(facts.index(live))
    assert [store.get(f"c-{n}").segments["rfm"] for n in range(20)] == [tag] * 20  # pyright: ignore[reportOptionalMemberAccess]


# ------------------------------------------------------------------------- what is not published


class Failing:
    """A source that fails each time it is read."""

    def __iter__(self) -> Iterator[Profile]:
        yield profile("ana", 9)
        raise OSError("the lake went away")


@pytest.mark.parametrize(
    ("profiles", "error", "line"),
    [
        ([profile("ana"), profile("bea", vector=np.zeros(7))], RegularsError, r"'bea' .* \(7,\)"),
        ([profile("ana", vector=np.zeros(9))], RegularsError, "names 8 features"),
        ([profile("ana", vector=np.zeros((8, 1)))], RegularsError, r"shape \(8, 1\)"),
        ([profile("ana", vector=np.array(1.0))], RegularsError, r"shape \(\)"),
        ([profile("ana"), profile("bea"), profile("ana", 2)], RegularsError, "'ana' comes twice"),
        (Failing(), OSError, "the lake went away"),
    ],
    ids=["short", "long", "two dimensions", "none", "twice", "source fails"],
)
def test_a_publication_that_fails_leaves_the_old_one_live_and_nothing_behind(
    shelf: Shelf, profiles: Iterable[Profile], error: type[Exception], line: str
) -> None:
    first = shelf.publish(everyone(1))
    before = shelf.left()
    store = shelf.store()

    with pytest.raises(error, match=line):
        shelf.publish(profiles)

    assert refresh(store) is False
    assert shelf.store().facts() == store.facts() == first
    assert shelf.left() == before


# The child says `begun` when its publication is under way; the parent kills it.
PUBLISHER = """
import sys, time
from tests.contracts.test_profile_store_contract import ADAPTERS, everyone
shelf = ADAPTERS[sys.argv[1]](sys.argv[2])
def told(tag):
    for number, one in enumerate(everyone(tag, 2_000)):
        if number == 1_000:
            print("begun", tag, flush=True)
            time.sleep(float(sys.argv[3]))
        yield one
for tag in range(int(sys.argv[4]), 10_000):
    shelf.publish(told(tag))
"""


def killed_publisher(shelf: Shelf, adapter: str, pause: float, first: int, after: float) -> int:
    """Start a publisher, kill it `after` seconds into its first publication; its last tag."""
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, adapter, shelf.place, str(pause), str(first)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == f"begun {first}\n"
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        begun = child.stdout.read().split()
        assert child.wait(10) == -signal.SIGKILL
    return int(begun[-1]) if begun else first


@pytest.mark.slow
def test_a_publisher_killed_half_way_leaves_the_old_one_live(shelf: Shelf, adapter: str) -> None:
    first = shelf.publish(everyone(1))
    store = shelf.store()

    killed_publisher(shelf, adapter, pause=60, first=2, after=0)

    assert refresh(store) is False
    assert shelf.store().facts() == first
    assert same(store.get("c-1"), profile("c-1", 1, segments={"rfm": "1"}))
    # The next publication is not in its way, and sweeps up after it.
    size = shelf.size()
    shelf.publish(everyone(3))
    assert refresh(store) is True
    assert same(store.get("c-1"), profile("c-1", 3, segments={"rfm": "3"}))
    assert shelf.size() <= 2.1 * size
    assert not [name for name in shelf.left() if "draft" in name]


@pytest.mark.slow
def test_a_publisher_killed_at_any_moment_leaves_a_whole_snapshot(
    shelf: Shelf, adapter: str
) -> None:
    shelf.publish(everyone(0, 2_000))
    store, draw, first = shelf.store(), random.Random(4), 1
    for _ in range(4):
        begun = killed_publisher(shelf, adapter, 0, first, after=draw.uniform(0, 0.12))

        refresh(store)
        facts = shelf.store().facts()
        assert facts == store.facts()
        assert facts is not None
        assert facts.customers == 2_000
        tags = {float(store.get(f"c-{n}").vector[0]) for n in range(2_000)}  # pyright: ignore[reportOptionalMemberAccess]
        assert len(tags) == 1
        assert tags <= {float(t) for t in range(first - 1, begun + 1)}
        first = begun + 1
        # And publishing goes on.
        shelf.publish(everyone(first, 2_000))
        first += 1
        refresh(store)


# ------------------------------------------------------------------------------- damaged files


def damage_truncated(folder: Path, version: str) -> None:
    data = folder / version / "data.mdb"
    # LMDB by itself reads on past the end, and the kernel ends the process (SIGBUS).
    os.truncate(data, data.stat().st_size // 2)


def damage_empty(folder: Path, version: str) -> None:
    os.truncate(folder / version / "data.mdb", 0)


def damage_overwritten(folder: Path, version: str) -> None:
    (folder / version / "data.mdb").write_bytes(b"not a snapshot" * 2_000)


def damage_gone(folder: Path, version: str) -> None:
    shutil.rmtree(folder / version)


def damage_pointer(folder: Path, version: str) -> None:
    (folder / "CURRENT").write_bytes(b"\xff\x00")


def damage_pointer_cut(folder: Path, version: str) -> None:
    (folder / "CURRENT").write_text("")


def damage_unfinished(folder: Path, version: str) -> None:
    # A file of customers without the facts that are written last.
    import lmdb

    shutil.rmtree(folder / version)
    with lmdb.open(str(folder / version)) as environment, environment.begin(write=True) as write:
        write.put(b"c-1", b"\x90")


def refused(ask: Callable[[], object]) -> RegularsError:
    with pytest.raises(RegularsError) as caught:
        ask()
    return caught.value


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_empty,
        damage_overwritten,
        damage_gone,
        damage_pointer,
        damage_pointer_cut,
        damage_unfinished,
    ],
)
def test_a_damaged_lmdb_snapshot_is_told_in_one_line_and_the_old_one_stays(
    tmp_path: Path, damage: Callable[[Path, str], None]
) -> None:
    shelf = LmdbShelf(str(tmp_path / "snapshots"))
    first = shelf.publish(everyone(1, 2_000))
    store = shelf.store()
    damaged = shelf.publish(everyone(2, 2_000))
    damage(shelf.folder, damaged.version)
    files = held()

    lines = {str(refused(partial(refresh, store))) for _ in range(3)} | {str(refused(shelf.store))}

    (line,) = lines
    assert "is not whole" in line
    assert "publish it again with 'regulars segment'" in line
    assert "\n" not in line
    assert store.facts() == first
    assert same(store.get("c-1999"), profile("c-1999", 1, segments={"rfm": "1"}))
    assert held() == files
    # The line's way out is one.
    mended = shelf.publish(everyone(3, 2_000))
    assert refresh(store) is True
    assert shelf.store().facts() == mended


def test_a_hand_edited_pointer_may_end_in_a_line_break(tmp_path: Path) -> None:
    shelf = LmdbShelf(str(tmp_path / "snapshots"))
    first = shelf.publish(everyone(1))
    shelf.publish(everyone(2))
    store = shelf.store()

    # As an operator goes back: echo 2026-11-20.0001 > CURRENT
    (shelf.folder / "CURRENT").write_text(first.version + "\n")

    assert [refresh(store), refresh(store)] == [True, False]
    assert store.facts() == first


def test_reasons_come_back_with_what_they_mean(shelf: Shelf) -> None:
    meant = Explanation("response@7", ("visits", "bought"), ("coffee", ""))
    codes = np.array([[2, 1, 0], [1, 0, 0]], dtype=np.uint8)
    told, silent = profile("told", reasons=codes), profile("silent")
    shelf.publish([told, silent], offers=("o-1", "o-2"), explanation=meant)
    store = shelf.store()
    facts, found, other = store.facts(), store.get("told"), store.get("silent")
    assert facts is not None
    assert found is not None
    assert other is not None
    assert facts.explanation == meant
    assert found.reasons.tolist() == codes.tolist()
    assert len(other.reasons) == 0


def test_a_profile_is_exported_in_words(shelf: Shelf) -> None:
    shelf.publish(
        [
            profile(
                "known",
                affinity=np.array([[0.25, 9, *[np.nan] * 5], [np.nan] * 7], dtype=np.float32),
                reasons=np.array([[1, 0, 0], [0, 0, 0]], dtype=np.uint8),
            ),
            profile("stranger", vector=np.full(len(NAMES), np.nan)),
        ],
        offers=("o-1", "o-2"),
        explanation=Explanation("response@7", ("bought",), ("coffee", "")),
    )
    store = shelf.store()
    facts, known, stranger = store.facts(), store.get("known"), store.get("stranger")
    assert facts is not None
    assert known is not None
    assert stranger is not None
    told = snapshot_export(known, facts)
    assert told.affinities == {"o-1": {"affinity_share_365d": 0.25, "affinity_lines_365d": 9.0}}
    assert told.reasons == {"o-1": ["bought 9 items of coffee in the last year"]}
    told = snapshot_export(stranger, facts)
    assert (told.affinities, told.reasons) == ({}, {})
    assert set(told.features.values()) == {None}


def test_reasons_of_other_offers_are_refused(shelf: Shelf) -> None:
    wrong = profile(reasons=np.zeros((3, 3), dtype=np.uint8))
    with pytest.raises(RegularsError, match="reasons for 3 offers"):
        shelf.publish([wrong], offers=("o-1", "o-2"))
