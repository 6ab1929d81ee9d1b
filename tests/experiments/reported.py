"""A report with something in every part, whose names are what a spiteful colleague would type."""

from datetime import UTC, datetime

from experiments.design import Experiment, Variant
from experiments.effect import Effect
from experiments.health import Health, Place, SampleRatio
from experiments.non_inferiority import Guarded
from experiments.novelty import Novelty, Week
from experiments.offer_table import OfferCell, OfferTable
from experiments.over_time import Day, OverTime
from experiments.plan import Guardrail, StopRule
from experiments.report import Report
from experiments.verdict import Verdict
from experiments.who_gained import SegmentEffect, WhoGained

EVIL = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>'
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
UNITS = {"no-offers": 1_010, EVIL: 990}

PLAN = Experiment(
    key="winter-latte",
    salt="winter-latte",
    variants=[Variant("no-offers", 0.5, policy="none"), Variant(EVIL, 0.5)],
    control="no-offers",
    hypothesis=EVIL,
    method="obrien-fleming",
    guardrails=[Guardrail("orders", -0.2)],
    segments=["lifecycle"],
    stop=StopRule(days=28, looks=4),
)


def effect(difference: float, half: float = 60.0, p: float = 0.004) -> Effect:
    return Effect(
        mean=1_000 + difference,
        control_mean=1_000,
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=p,
        relative=difference / 1_000,
        p_adjusted=p,
    )


SPLIT = SampleRatio(p=0.65, planned={"no-offers": 0.5, EVIL: 0.5}, observed=UNITS, deviation=0.01)
REPORT = Report(
    key=PLAN.key,
    design="d0",
    unit="customer",
    control="no-offers",
    confidence=0.95,
    units=UNITS,
    sample_ratio=SPLIT,
    healthy=True,
    reason=SPLIT.reason,
    metrics={
        "margin": {EVIL: effect(125)},
        "orders": {EVIL: Effect(2, 2, refused=f"too few {EVIL}")},
    },
    exploratory=["orders"],
    money=["margin"],
    health=Health(True, SPLIT.reason, [], [f"one unit holds 12% of all margin in {EVIL}"]),
    verdict=Verdict("ship", f"{EVIL} gains on margin, and every guardrail holds", EVIL, True),
    guardrails=[Guarded("orders", EVIL, -0.2, "higher", "open", 0.95, -0.1, -0.3, 0.1)],
    over_time=OverTime(
        "margin",
        [
            Day(f"2026-03-{2 + n:02}", EVIL, 70 * (n + 1), effect(125, 900 / (n + 1)))
            for n in range(28)
        ],
    ),
    offer_table=OfferTable(
        "margin",
        "lifecycle",
        [
            OfferCell(EVIL, [EVIL], "app", "active", 300, 310, effect(50), 15_000, -3_000, 33_000),
            OfferCell(EVIL, [], "till", "new", 3, 2, Effect(0, 0, refused="too few: 2 units")),
        ],
    ),
    novelty=[Novelty("margin", EVIL, 1_800, [Week(1, effect(125))], effect(-3, 9, 0.5))],
    who_gained=WhoGained(
        "margin",
        "benjamini_hochberg",
        [
            SegmentEffect("lifecycle", name, EVIL, {"no-offers": 500, EVIL: 490}, one, exploratory)
            for name, one, exploratory in (
                ("active", effect(210), False),
                (EVIL, effect(-20, 60, 0.5), True),
                ("dormant", Effect(0, 0, refused="too few: 3 units"), False),
            )
        ],
    ),
)
BROKEN = Report(
    key=PLAN.key,
    design="d0",
    unit="customer",
    control="no-offers",
    confidence=0.95,
    units={"no-offers": 1_300, EVIL: 700},
    sample_ratio=SampleRatio(1e-40, SPLIT.planned, {"no-offers": 1_300, EVIL: 700}, 0.3),
    healthy=False,
    reason="sample ratio broken",
    metrics={},
    health=Health(False, "sample ratio broken", ["sample ratio broken"], []),
    places=[
        Place("channel", EVIL, SampleRatio(1e-40, SPLIT.planned, {"no-offers": 600, EVIL: 0}, 1), 0)
    ],
    verdict=Verdict("stop", "its figures may not be read: sample ratio broken"),
)
