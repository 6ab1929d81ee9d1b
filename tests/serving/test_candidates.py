from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.offer import Offer, read_offer
from serving.candidates import CandidateLists
from serving.catalogue import Catalogue
from serving.eligibility import unfit

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOURS = st.integers(0, 6)


@st.composite
def offers(draw: st.DrawFn) -> list[Offer]:
    found: list[Offer] = []
    for number in range(draw(st.integers(0, 5))):
        starts = draw(HOURS)
        document = {
            "offer_id": f"o-{number}",
            "title": "",
            "valid_from": (NOON + timedelta(hours=starts)).isoformat(),
            "valid_to": (NOON + timedelta(hours=starts + draw(st.integers(1, 3)))).isoformat(),
            "channels": draw(st.lists(st.sampled_from(["app", "till"]), unique=True)),
            "placements": [],
            "stores": draw(st.lists(st.sampled_from(["s-1", "s-2"]), unique=True)),
            "scope": [],
            "eligibility": draw(st.sampled_from([None, {"feature": "x", "op": "<", "value": 1}])),
            "customer_cap": None,
            "total_cap": draw(st.sampled_from([None, 3])),
            "priority": 0,
            "exclusive_group": None,
            "reward": 1.0,
            "min_spend": 0,
            "cost": 0,
            "campaign_kind": None,
        }
        found.append(read_offer(document, 0.1))
    return found


@settings(max_examples=200, deadline=None)
@given(
    offers(),
    st.lists(
        st.tuples(
            st.integers(-60, 700),
            st.sampled_from(["app", "till", "web"]),
            st.sampled_from([None, "s-1", "s-2"]),
        ),
        max_size=12,
    ),
)
def test_lists_that_are_kept_say_what_every_offer_by_itself_would(
    known: list[Offer], asked: list[tuple[int, str, str | None]]
) -> None:
    # Also backwards in time, and at the very instants at which offers start and end.
    catalogue = Catalogue(1, known, [])
    lists = CandidateLists(catalogue)
    for minutes, channel, store_id in asked:
        at = NOON + timedelta(minutes=minutes)
        found = lists.at(at, channel, store_id)
        expected = {o.offer_id: unfit(o, catalogue, at, channel, store_id) for o in known}
        assert found.refusals == {i: code for i, code in expected.items() if code is not None}
        left = {o.offer_id for o in found.offers}
        assert left == {i for i, code in expected.items() if code is None}
