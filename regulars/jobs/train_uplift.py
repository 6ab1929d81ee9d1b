"""Train uplift: learn from randomised decisions whom which offer makes spend more, and judge it.

The model may serve only if targeting by it beats both the best single offer for everyone and none,
by cross-fitting; otherwise it is kept in the registry with the reason. The first such serves; where
one does already, the next is its challenger, for 'regulars promote uplift'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapters.postgres_admin import StoredExperiment
from foundation.errors import NothingToDo
from foundation.lake import Lake
from foundation.model_life import Alias
from foundation.money import Currency
from foundation.scores import Interval
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.offer_uplift import Effects, OfferUplift
from recommender.policy_value import Price, mean_interval
from recommender.uplift import fit_uplift
from recommender.uplift_evaluation import FITS, cross_fit
from recommender.uplift_registry import UPLIFT, UpliftRegistry, UpliftReport
from recommender.uplift_watch import uplift_reference
from regulars.assumptions import statements
from regulars.contacts import contact_statement, contacts_of
from regulars.jobs.customers import SEED, registry
from regulars.jobs.randomised_decisions import (
    NO_OFFER,
    WAY_OUT,
    RandomisedDecisions,
    randomised_decisions,
)
from regulars.jobs.simulated import RealShoppers
from regulars.jobs.train import TRAINED_ON, told_until
from regulars.progress import Progress


@dataclass(frozen=True)
class TrainedUplift:
    """What was trained, where it is registered, and what it goes by from now on, if anything."""

    report: UpliftReport
    version: int
    alias: Alias | None
    assumptions: list[str]

    @property
    def name(self) -> str:
        return f"{UPLIFT}@{self.version}"

    def told(self, currency: Currency) -> list[str]:
        """Return the result as people read it; money a decision."""
        report, values = self.report, self.report.evaluation.values
        drawn_by = " and ".join(report.drawn_by)
        lines = [
            f"trained on {report.rows:,} decisions drawn by chance, one a customer; money is that "
            f"of the {report.model.days} days after"
        ]
        lines += [
            f"  {name}: {n:,} customers, {report.response_rates.get(name, 0.0):.1%} redeemed"
            for name, n in report.customers.items()
        ]
        lines += [f"left out: {n:,} decisions {why}" for why, n in report.left_out.items()]
        if report.again:
            lines.append(
                f"{report.again:,} customers were decided for again in those days: what offers of "
                "then caused is in the figures too"
            )
        lines += [
            f"  {word:<28} {_shown(one, currency)}"
            for word, one in (
                ("each what uplift advises", values.policy),
                (f"all {report.best_single}", values.best_single),
                ("none", values.none),
                (f"as {drawn_by} drew", report.drawn),
                ("uplift over one for all", values.policy_over_best),
                ("uplift over none", values.policy_over_none),
            )
        ]
        if "response" not in report.drawn_by:
            lines.append(
                "what policy response would have earned on these decisions is not known: they do "
                "not record its scores; give it a variant of an experiment of its own to compare"
            )
        lines += [f"{report.verdict()} (minor units)", f"registered: {self.name} {self._served()}"]
        return [*lines, *(f"assumed: {statement}" for statement in self.assumptions)]

    def _served(self) -> str:
        if self.alias == "champion":
            return "serves: name policy uplift in a variant of an experiment"
        if self.alias == "challenger":
            return (
                "is the challenger; 'regulars promote uplift' compares it with the champion on "
                "decisions drawn by chance from now on, when their outcomes are in the lake"
            )
        return "does not serve; what served before still does"


def train_uplift(
    lake: Lake,
    models: UpliftRegistry,
    experiments: Sequence[StoredExperiment],
    settings: Settings,
    progress: Progress,
) -> TrainedUplift:
    """Train and judge; a model by which targeting pays is the first champion, or a challenger.

    Args:
        experiments: All there were, with the holdout.

    Raises:
        NothingToDo: The lake holds no decisions.
        TooLittleData: They do not say what offers cause; says why, and what to do.
    """
    with progress.step("train uplift") as step:
        step.show("decisions drawn by chance")
        until = told_until(lake)
        if until is None:
            raise NothingToDo(f"{_none_decided(lake)}; {WAY_OUT}")
        features = registry(lake)
        found = randomised_decisions(lake, features, experiments, until, settings.time_zone)
        rows = found.trial()
        step.show(f"{len(found.rows):,} decisions, {len(found.offers)} offers: cross-fitting")
        step.expect(FITS)
        price = found.price(contacts_of(settings))
        evaluation = cross_fit(rows, price, SEED, fitted=step.advance)
        fitted = fit_uplift(rows, SEED)
        model = OfferUplift(
            fitted,
            found.offers,
            found.names,
            response_hash(features),
            found.days,
            Effects.of(fitted.effects(rows.features)),
        )
        report = UpliftReport(
            model=model,
            evaluation=evaluation,
            drawn=_drawn(found, price),
            drawn_by=found.policies,
            rows=len(found.rows),
            customers=found.shown,
            response_rates=_response_rates(found),
            again=found.again,
            left_out=found.left_out | _simulated(lake),
            told_until=until,
            reference=uplift_reference(
                model, found.matrix, found.rows["customer_id"].tolist(), until
            ),
        )
        step.show("tracking in MLflow")
        version = models.register(report, lake.digest(TRAINED_ON))
        alias = _named(models, version) if report.pays else None
        step.show(f"uplift@{version} is {f'the {alias}' if alias else 'registered'}")
    channels = sorted(found.rows["channel"].value_counts().items())
    contact = [contact_statement(settings, str(channel), int(n)) for channel, n in channels]
    return TrainedUplift(report, version, alias, [*statements(lake), *contact])


def _simulated(lake: Lake) -> dict[str, int]:
    """Return how many decisions are of simulated shoppers and left out, by that reason."""
    n = lake.left_out("decisions") if isinstance(lake, RealShoppers) else 0
    return {"of simulated shoppers": n} if n else {}


def _none_decided(lake: Lake) -> str:
    if simulated := sum(_simulated(lake).values()):
        return (
            f"all {simulated:,} decisions in the lake are of simulated shoppers, whose effects "
            "were planted"
        )
    return "the lake holds no decisions"


def _named(models: UpliftRegistry, version: int) -> Alias:
    if models.champion_version() is None:
        models.crown(version)
        return "champion"
    models.challenge(version)
    return "challenger"


def _drawn(found: RandomisedDecisions, price: Price) -> Interval:
    """Return what the policy that drew earned a decision: its own variant's mean."""
    earned = found.rows["outcome"] - np.where(found.rows["offer_id"].notna(), price.cost, 0.0)
    own = found.rows["drawn"]
    unit = np.unique(found.rows["unit"][own].to_numpy(dtype=object), return_inverse=True)[1]
    return mean_interval(earned[own].to_numpy(dtype=np.float64), unit)


def _shown(one: Interval | None, currency: Currency) -> str:
    if one is None:
        return "cannot be judged"
    low, high = currency.show(one.low), currency.show(one.high)
    return f"{currency.show(one.value)} a decision [{low}, {high}]"


def _response_rates(found: RandomisedDecisions) -> dict[str, float]:
    means = found.rows.groupby(found.rows["offer_id"].fillna(NO_OFFER))["response"].mean()
    return {str(name): float(value) for name, value in means.items()}
