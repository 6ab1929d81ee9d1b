from datetime import UTC, datetime, timedelta

import msgspec
import pandas as pd
import pytest

from experiments.contamination import contamination, contamination_faults
from experiments.design import Experiment, Variant
from experiments.event_faults import EventFaults
from experiments.outliers import outlier_warnings, top_few

START = pd.Timestamp(datetime(2026, 5, 4, tzinfo=UTC))
HOUR = timedelta(hours=1)
PLAN = Experiment(
    "latte",
    "latte",
    [Variant("off", 0.5, policy="none"), Variant("on", 0.5, offers=["o-1", "o-2"])],
    "off",
    channels=["app"],
)


def assigned(n=100):
    return pd.DataFrame(
        {
            "customer_id": [f"c-{number}" for number in range(n)],
            "variant": ["off", "on"] * (n // 2),
            "since": START,
        }
    )


def found(*rows, plan=PLAN, of=None):
    """Rows of customer, offer and instant; channel app and decided unless they say otherwise."""
    names = ["customer_id", "offer_id", "at", "channel", "decided"]
    whole = [row if len(row) == 5 else (*row, "app", True) for row in rows]
    events = pd.DataFrame(whole, columns=names).astype({"decided": bool})
    return contamination(plan, assigned() if of is None else of, events)


def test_an_arm_without_offers_is_contaminated_by_any_offer_after_its_start():
    told = found(
        ("c-0", "o-1", START + HOUR),
        ("c-2", "o-9", START + HOUR),
        ("c-2", "o-1", START + HOUR),
        ("c-4", "o-1", START - HOUR),  # before she was assigned
        ("c-6", "o-1", START + HOUR, "till", True),  # not the experiment's channel
        ("c-1", "o-1", START + HOUR),  # as she should
        ("c-3", "o-9", START + HOUR),  # of no other variant
    )
    assert told.other_offers == {"off": 2}
    assert told.customers == {"off": 50, "on": 50}


def test_two_arms_with_offers_of_their_own_are_told_apart():
    both = [Variant("a", 0.5, offers=["o-1"]), Variant("b", 0.5, offers=["o-1", "o-2"])]
    two = msgspec.structs.replace(PLAN, variants=both, control="a")
    people = assigned().replace({"variant": {"off": "a", "on": "b"}})
    told = found(
        ("c-0", "o-2", START + HOUR),
        ("c-2", "o-1", START + HOUR),
        ("c-1", "o-1", START + HOUR),
        plan=two,
        of=people,
    )
    assert told.other_offers == {"a": 1}


def test_variants_that_name_no_offers_cannot_be_told_apart():
    policies = msgspec.structs.replace(
        PLAN, variants=[Variant("off", 0.5, policy="popular"), Variant("on", 0.5)]
    )
    told = found(("c-0", "o-1", START + HOUR), plan=policies)
    assert (told.other_offers, told.unassigned) == (None, None)
    assert contamination_faults(policies, told) == ([], [])


def test_who_saw_its_offers_and_was_never_decided_for_is_exposed_without_assignment():
    told = found(
        ("c-stranger", "o-1", START + HOUR, "app", False),
        ("c-stranger", "o-2", START + HOUR, "app", False),
        ("c-outside", "o-1", START + HOUR, "app", True),  # decided for, outside the audience
        ("c-other", "o-9", START + HOUR, "app", False),  # an offer of no variant
    )
    assert told.unassigned == 1


def test_a_customer_in_two_variants_is_counted():
    moved = pd.concat([assigned(), assigned(2).assign(variant="on").iloc[:1]])
    assert found(of=moved).in_two == 1


@pytest.mark.parametrize(("wrong", "fault"), [(2, False), (3, True)])
def test_a_twentieth_of_a_variant_is_forgiven_and_told(wrong, fault):
    told = found(*((f"c-{2 * number}", "o-1", START + HOUR) for number in range(wrong)))
    faults, warnings = contamination_faults(PLAN, told)
    assert (len(faults), len(warnings)) == (int(fault), int(not fault))
    assert f"{wrong} customers of off saw offers" in (faults or warnings)[0]
    audience = msgspec.structs.replace(PLAN, audience={"segment": "rfm", "in": ["x"]})
    # Who has left the audience sees what everybody sees.
    assert contamination_faults(audience, told)[0] == []


def test_events_that_are_not_as_they_should_be_are_told():
    assert EventFaults().warnings() == []
    told = EventFaults(redemptions_repeated=2, late=3).warnings()
    assert len(told) == 2
    assert told[0].startswith("2 redemption(s)")


def test_the_largest_few_and_a_single_one_that_decides_are_told():
    units = pd.DataFrame(
        {"variant": ["off"] * 100 + ["on"] * 100, "margin": [10.0] * 199 + [-990.0]}
    )
    off, on = top_few("margin", units)
    # By hand: 10 of 100 equal ones; 990 and nine 10s of 1,980.
    assert (off.share, off.largest) == pytest.approx((0.1, 0.01))
    assert (on.share, on.largest) == pytest.approx((1_080 / 1_980, 0.5))
    (line,) = outlier_warnings([off, on], "plan an outlier_cap next time")
    assert "50% of all margin in on" in line
    assert "plan an outlier_cap" in line
