"""What would a policy have earned by the challenger, beside what it would have by the champion?

Both on the same logged decisions of each placement. It informs: a ranking that differs much is
rarely shown by the log, so that intervals are wide, and most good challengers could not prove a
gain. Only where the interval of the difference lies wholly below 0 is it a fault: then the log
itself says that the challenger earns less. Each placement's interval is of 95 %, so that 1 in 40
challengers that are as good as the champion is refused at each; they wait, or are forced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from foundation.decision import Policy
from foundation.errors import RegularsError
from foundation.lake import Lake
from foundation.model_life import Judgement, Version
from foundation.money import Currency
from foundation.scores import Interval
from recommender.off_policy import OffPolicyValue
from recommender.policy_contest import Contest
from recommender.registry import RESPONSE
from recommender.uplift_registry import UPLIFT
from regulars.contacts import contacts_of
from regulars.jobs.off_policy import (
    Counted,
    PolicyContest,
    PolicyValue,
    placements_decided,
    policy_contest,
)
from regulars.jobs.recorded_scores import RecordedScores, Scores, checked
from regulars.jobs.simulated import no_decision, without_simulated
from regulars.jobs.train import told_until
from regulars.progress import Progress
from regulars.wiring import House

# Days after a decision in which a response counts as its own.
RESPONSE_DAYS = 30


def judge_value(house: House, challenger: Version, progress: Progress) -> Judgement:
    """Tell the off-policy values at every placement; nothing for models that no policy ranks by."""
    champion = house.life.named(challenger.model, "champion")
    if challenger.model not in (RESPONSE, UPLIFT) or champion is None:
        return Judgement(())
    lake = without_simulated(house.lake).pinned()
    if told_until(lake) is None:
        return _unknown(no_decision(lake))
    with progress.step("off-policy value") as step:
        try:
            found = contests(house, lake, challenger, champion)
        except RegularsError as error:
            return _unknown(str(error))
        step.show(f"{len(found)} placements")
    return judged(found, house.settings.currency)


def judged(found: Mapping[str, PolicyContest], currency: Currency) -> Judgement:
    """Return what the contests at each placement say of a promotion; a sure loss is a fault."""
    faults = [
        f"off-policy value at {placement!r}: it surely earns less than the champion, "
        f"{_told(one.slate.gain, one, currency)} a decision"
        for placement, one in found.items()
        if one.slate.gain is not None and one.slate.gain.high < 0
    ]
    lines = [line for placement, one in found.items() for line in told(placement, one, currency)]
    record = {"off_policy": {placement: asdict(one) for placement, one in found.items()}}
    return Judgement(tuple(faults), tuple(lines), record)


def contests(
    house: House,
    lake: Lake,
    challenger: Version,
    champion: Version,
    placements: Sequence[str] | None = None,
) -> dict[str, PolicyContest]:
    """Return by placement what the policy of a model would have earned by either version.

    Args:
        placements: All that decisions were made for, when left out.

    Raises:
        ModelMismatch: A version was trained on other features than today's.
        RegularsError: A model cannot be loaded, or there are no such decisions.
    """
    again = RecordedScores(lake, house.settings)
    scores = [scores_of(house, again, version) for version in (challenger, champion)]
    until = told_until(lake)
    # Without a decision policy_contest says so.
    until = house.clock.now() if until is None else until
    days = RESPONSE_DAYS
    if challenger.model == UPLIFT:
        days = house.uplift.load(challenger.number).days
    kind: Literal["uplift", "response"] = "uplift" if challenger.model == UPLIFT else "response"
    policy = Policy(kind, house.settings.exploration)
    return {
        placement: policy_contest(
            lake,
            policy,
            scores[0],
            checked(scores[1], champion.name),
            placement,
            until,
            days,
            contacts=contacts_of(house.settings),
        )
        for placement in (placements_decided(lake) if placements is None else placements)
    }


def scores_of(house: House, again: RecordedScores, version: Version) -> Scores:
    """Return what a version scores for recorded decisions.

    Raises:
        ModelMismatch: It was trained on other features than today's.
        RegularsError: It cannot be loaded.
    """
    if version.model == UPLIFT:
        return again.uplift(version.name, house.uplift.load(version.number))
    return again.response(version.name, house.models.load_version(version.number))


def told(placement: str, found: PolicyContest, currency: Currency) -> list[str]:
    """Return a placement's values as people read them."""
    parts = [("whole slates", found.slate)]
    if found.first is not None:
        parts.insert(0, ("first position", found.first))
    lines = [f"  {name}: {_line(one, found, currency)}" for name, one in parts]
    return [_head(placement, found), *lines]


def told_alone(placement: str, found: PolicyValue) -> list[str]:
    """Return a policy's value at a placement as people read it, in responses a decision."""
    parts = (("first position", found.first), ("whole slates", found.slate))
    return [_head(placement, found), *(f"  {name}: {_alone(value)}" for name, value in parts)]


def _alone(value: OffPolicyValue) -> str:
    if value.snips is None:
        return f"no value: {value.refusal}"
    told = f"{_shown(value.snips)} responses a decision"
    if value.doubly_robust is not None:
        told += f", doubly robust {_shown(value.doubly_robust)}"
    return f"{told} ({value.effective_successes:,.0f} effective successes)"


def _shown(figure: Interval) -> str:
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def _head(placement: str, found: Counted) -> str:
    left = {
        "not over yet": found.censored,
        "of a catalogue that has changed": found.unmatched,
        "that cannot be scored again": found.unscored,
        "not drawn by chance": found.not_by_chance,
        "older": found.older,
    }
    counted = ", ".join(f"{n:,} {why}" for why, n in left.items() if n)
    head = f"off-policy value at {placement!r} on {found.decisions:,} decisions"
    return f"{head} (left out: {counted})" if counted else head


def _line(one: Contest, found: PolicyContest, currency: Currency) -> str:
    if one.refusal is not None:
        return f"no value: {one.refusal}"
    return (
        f"challenger {_valued(one.challenger, found, currency)}, "
        f"champion {_valued(one.champion, found, currency)}; difference "
        f"{_told(one.gain, found, currency)} a decision, {one.alike:.0%} weighed alike"
    )


def _valued(value: OffPolicyValue, found: PolicyContest, currency: Currency) -> str:
    successes = f"{value.effective_successes:,.0f} effective successes"
    if value.doubly_robust is not None:
        successes = f"doubly robust {_shown(value.doubly_robust)}, {successes}"
    return f"{_told(value.snips, found, currency)} ({successes})"


def _told(figure: Interval | None, found: PolicyContest, currency: Currency) -> str:
    # A contest without refusal has all of its figures.
    assert figure is not None  # noqa: S101
    if found.unit == "money":
        value, low, high = (currency.show(x) for x in (figure.value, figure.low, figure.high))
        return f"{value} [{low}, {high}]"
    return f"{_shown(figure)} {found.unit}"


def _unknown(reason: str) -> Judgement:
    return Judgement((), (f"no off-policy value: {reason}",), {"off_policy": {"refused": reason}})
