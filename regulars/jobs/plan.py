"""Plan a campaign: which live offer goes to whom through a channel, so that most is earned?

What an offer earns with a customer is the uplift champion's word, net of redeemed offers and of the
contact; see recommender.plan for how limits are kept and priced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as arrow

from foundation.errors import NothingToDo, RegularsError
from foundation.lake import Lake
from foundation.model_life import ModelLife
from foundation.money import Currency
from foundation.profile import SnapshotFacts
from foundation.scores import Interval
from foundation.settings import Settings
from recommender.campaign import Campaign, Limits, PlannedOffer
from recommender.offer_uplift import OfferUplift
from recommender.plan import Plan, plan
from recommender.registry import RESPONSE, ModelRegistry
from recommender.uplift_registry import UPLIFT, UpliftRegistry
from recommender.winners_curse import chosen_interval
from regulars.assumptions import statements
from regulars.contacts import contact_statement, contacts_of
from regulars.jobs.candidates import (
    Candidates,
    Running,
    Scoring,
    candidates,
    consenting,
    everyone,
    live_by,
    stock_of,
)
from regulars.progress import Progress
from serving.profiles import ProfileStore
from serving.scoring import Scorer
from serving.uplift_scoring import UpliftScorer

NOBODY = "nobody is expected to earn more than she costs: no offer is to be sent"
# So many offers of one reason are named.
NAMED = 5
COVERS = (
    "a 95 % interval for offers' average effects and for how sharply the model tells customers "
    "apart, both learned from a sample, and for having chosen what looked best; it does not know "
    "whether effects changed since, or are others by this channel"
)


@dataclass(frozen=True)
class Asked:
    """A campaign as the marketer asks for it; `segment` is a living one."""

    channel: str
    at: datetime
    limits: Limits
    segment: str | None = None


@dataclass(frozen=True)
class Sources:
    """Where a campaign's facts are; `lake` is without simulated shoppers."""

    lake: Lake
    profiles: ProfileStore
    uplift: UpliftRegistry
    response: ModelRegistry
    life: ModelLife
    running: Callable[[Sequence[str]], Running]


@dataclass(frozen=True)
class CampaignPlan:
    """Whom to send what, and what is expected of it; money in minor units.

    Attributes:
        plan: None where nobody is expected to earn more than she costs.
        sent: Customer, offer and expected incremental margin of each offer sent.
        earned: All of it; without bounds (None) where the model is of before they were kept.
        held_out: What the model's own choices earned a decision over none, on decisions it had not
            seen; None where its run does not say.
        considered: Customers in all; those `left_out` are counted by reason.
        refused: Offers that cannot be sent, with the reason.
    """

    channel: str
    at: datetime
    model: str
    plan: Plan | None
    sent: list[tuple[str, str, float]]
    earned: Interval | None
    held_out: Interval | None
    considered: int
    left_out: dict[str, int]
    refused: dict[str, str]
    assumptions: list[str]

    @property
    def reached(self) -> int:
        """Customers who are sent anything."""
        return len({customer_id for customer_id, _, _ in self.sent})

    def table(self) -> arrow.Table:
        """Return an offer sent a row: customer_id, offer_id, channel, expected_margin (major)."""
        customers, offers, margins = zip(*self.sent, strict=True) if self.sent else ((), (), ())
        return arrow.table(
            {
                "customer_id": arrow.array(customers, arrow.string()),
                "offer_id": arrow.array(offers, arrow.string()),
                "channel": arrow.array([self.channel] * len(offers), arrow.string()),
                "expected_margin": arrow.array(np.array(margins) / 100, arrow.float64()),
            }
        )

    def told(self, currency: Currency) -> list[str]:
        """Return the plan as people read it."""
        lines = [
            f"{self.considered:,} customers, by {self.channel} at {self.at:%Y-%m-%d %H:%M} UTC"
        ]
        lines += [f"left out: {n:,} {why}" for why, n in self.left_out.items()]
        for why in dict.fromkeys(self.refused.values()):
            names = [offer_id for offer_id, reason in self.refused.items() if reason == why]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(f"offers not sent, {why}: {', '.join(names[:NAMED])}{more}")
        if self.plan is None:
            lines.append(NOBODY)
        else:
            lines += self._planned(self.plan, currency)
        if self.held_out is not None:
            value, low, high = (
                currency.show(x)
                for x in (self.held_out.value, self.held_out.low, self.held_out.high)
            )
            lines.append(
                f"{self.model} on decisions it had not seen: what it advises earned {value} "
                f"[{low}, {high}] a decision more than none"
            )
        return [*lines, *(f"assumed: {statement}" for statement in self.assumptions)]

    def _planned(self, made: Plan, currency: Currency) -> list[str]:
        lines = [f"{self.reached:,} customers are reached"]
        lines += [
            f"  {row['offer_id']}: {row['sent']:,} sent, {currency.show(row['value'])} expected, "
            f"{row['uses']:,.1f} redemptions"
            for row in made.by_offer.to_dict("records")
        ]
        all_of_it, *limits = made.sentences(currency)
        return [*lines, all_of_it, self._interval(currency), *limits]

    def _interval(self, currency: Currency) -> str:
        if self.earned is None:
            return f"no interval: {self.model} was trained before its error was kept"
        low, high = currency.show(self.earned.low), currency.show(self.earned.high)
        return f"between {low} and {high}: {COVERS}"


def plan_campaign(
    sources: Sources, asked: Asked, settings: Settings, progress: Progress
) -> CampaignPlan:
    """Plan a campaign over all customers of the newest snapshot.

    Raises:
        NothingToDo: No uplift model serves, or no offer can be sent.
        RegularsError: There is no snapshot, it does not know the segment, or it holds other
            features than the model.
    """
    with progress.step("plan") as step:
        step.show("uplift model")
        facts = _snapshot(sources.profiles, asked.segment)
        name, model = _champion(sources.uplift)
        uplift = UpliftScorer(name, model, facts, contacts_of(settings))
        response, instead = _response(sources.response, facts)
        scoring = Scoring(uplift, model.offers, response, settings.time_zone)
        step.show("customers")
        lake = sources.lake.pinned()
        customers = everyone(lake)
        running = sources.running(customers)
        running = Running(
            running.catalogue.compiled(facts.vocabulary), running.held, running.states
        )
        offers, refused = live_by(running, model.offers, asked.channel, asked.at)
        consents = consenting(lake, asked.channel, asked.at)
        step.show(f"{len(customers):,} customers, {len(offers)} offers: scoring")
        step.expect(len(customers))
        found = candidates(
            customers,
            sources.profiles,
            facts,
            running,
            offers,
            scoring,
            channel=asked.channel,
            at=asked.at,
            segment=asked.segment,
            consents=consents,
            advance=step.advance,
        )
        step.show(f"{len(found.customers):,} customers, {len(offers)} offers: planning")
        campaign = campaign_of(found, running, asked, uplift)
        made = plan(campaign) if bool((campaign.values > 0).any()) else None
        step.show(NOBODY if made is None else f"{len(made.offers):,} offers are sent")
    assumed = [
        *statements(lake),
        contact_statement(settings, asked.channel, found.unvalued),
        *([instead] if instead else []),
    ]
    if consents is None:
        assumed.append(f"the lake holds no consents to {asked.channel}: everybody may be contacted")
    if asked.limits.per_customer > 1:
        assumed.append("what several offers cause in one customer adds up, as nobody measured it")
    return CampaignPlan(
        channel=asked.channel,
        at=asked.at,
        model=name,
        plan=made,
        sent=_sent(found, campaign, made),
        earned=_earned(found, model, made),
        held_out=_held_out(sources.life),
        considered=found.considered,
        left_out=found.left_out,
        refused=refused,
        assumptions=assumed,
    )


def campaign_of(
    found: Candidates, running: Running, asked: Asked, uplift: UpliftScorer
) -> Campaign:
    """Return candidates as a campaign: values net of the contact, redemptions by their chance."""
    costs = np.array([offer.cost for offer in found.offers])
    # What an opt-out loses is no money spent.
    spent = uplift.contact_cost(asked.channel)
    return Campaign(
        values=found.effects - found.contact_costs[:, None],
        costs=found.responses * costs + spent,
        offers=[
            PlannedOffer(
                offer.offer_id, stock_of(offer, running), asked.channel, offer.exclusive_group
            )
            for offer in found.offers
        ],
        limits=asked.limits,
        uses=found.responses,
    )


def _snapshot(profiles: ProfileStore, segment: str | None) -> SnapshotFacts:
    facts = profiles.facts()
    if facts is None:
        raise RegularsError("no customer snapshot is published; run 'regulars segment'")
    if segment is not None and segment not in facts.living:
        known = ", ".join(sorted(facts.living)) or "none"
        raise RegularsError(
            f"segment {segment!r} is not in snapshot {facts.version}, which has: {known}; save it "
            "and run 'regulars segment'"
        )
    return facts


def _champion(models: UpliftRegistry) -> tuple[str, OfferUplift]:
    version = models.champion_version()
    if version is None:
        raise NothingToDo(
            "no uplift model serves, so what an offer causes is not known; run 'regulars train "
            "uplift'"
        )
    return f"{UPLIFT}@{version}", models.load(version)


def _response(models: ModelRegistry, facts: SnapshotFacts) -> tuple[Scorer | None, str | None]:
    """Return the response champion on this snapshot, or none and what stands in for it."""
    stands_in = "each customer redeems an offer as often as all did before"
    described, model = models.described("champion"), models.load("champion")
    if described is None or model is None:
        return None, f"no response model serves: {stands_in}"
    try:
        return Scorer(f"{RESPONSE}@{described.version}", model, facts), None
    except RegularsError as error:
        return None, f"{stands_in}, as {error}"


def _sent(found: Candidates, campaign: Campaign, made: Plan | None) -> list[tuple[str, str, float]]:
    if made is None:
        return []
    values = campaign.values[made.customers, made.offers].tolist()
    return [
        (found.customers[row], found.offers[column].offer_id, value)
        for row, column, value in zip(
            made.customers.tolist(), made.offers.tolist(), values, strict=True
        )
    ]


def _earned(found: Candidates, model: OfferUplift, made: Plan | None) -> Interval | None:
    if made is None:
        return None
    learned = np.array([model.offers.index(offer.offer_id) for offer in found.offers])
    place, number = learned[made.offers], len(model.offers)
    caused = np.bincount(place, found.effects[made.customers, made.offers], number)
    error = model.error_of_sum(caused, np.bincount(place, minlength=number))
    if error is None:
        return None
    # Sending none of them is one of the choices.
    return chosen_interval(made.value, error, rivals=len(found.offers))


def _held_out(life: ModelLife) -> Interval | None:
    champion = life.named(UPLIFT, "champion")
    names = ("policy_over_none", "policy_over_none_low", "policy_over_none_high")
    if champion is None or any(name not in champion.metrics for name in names):
        return None
    value, low, high = (champion.metrics[name] for name in names)
    return Interval(value, low, high)
