"""Offers by chance: what did each single offer add, where a variant drew among several?

Of the variants' own comparison an offer's part cannot be told: the policy chose who got it. Where
it drew by chance, with a probability that was recorded, who got which offer differs by chance alone
from who by chance got none.
"""

import pandas as pd

from adapters.postgres_admin import StoredExperiment
from experiments.analysis import Plan
from experiments.design import Experiment, content_hash
from experiments.metrics import Column, Ratio
from experiments.offer_table import OfferTable, offer_table
from foundation.errors import TooLittleData
from foundation.lake import Lake
from regulars.jobs.customers import registry
from regulars.jobs.randomised_decisions import NO_OFFER, randomised_decisions

# Each decision speaks for as many of its kind as its chance was rare (Horvitz and Thompson 1952).
WEIGHTED = Ratio(Column("weighted"), Column("weight"))


def offers_by_chance(
    lake: Lake,
    design: Experiment,
    metric: str,
    segmentation: str,
    segments: pd.DataFrame,
    decisions: pd.DataFrame,
    plan: Plan,
    until: pd.Timestamp,
    time_zone: str,
    confidence: float = 0.95,
) -> OfferTable | None:
    """Return each offer's table of channels and segments; None where each variant has one offer.

    The outcome is the margin of the offers' longest attribution window, net of what redeemed offers
    cost, weighted by one over the chance of the draw (Hajek's mean, with a ratio's error).

    Args:
        metric: What the outcome is called.
        segmentation, segments: customer_id and segment, as known before the start.
        decisions: As of `assigned_decisions`.
        plan: How often, and when, one looks.
        until: The end of the report.
        time_zone: Of a customer who has none of her own.
    """
    treated = [one for one in design.variants if one.name != design.control]
    if all(one.offers is not None and len(one.offers) < 2 for one in treated):
        return None
    started = decisions["at"].min()
    stored = StoredExperiment(design, content_hash(design), started, None)
    try:
        found = randomised_decisions(
            lake, registry(lake), [stored], until.to_pydatetime(), time_zone
        )
    except TooLittleData as refusal:
        return OfferTable(
            metric,
            segmentation,
            refused=f"what a single offer earned cannot be told apart: {refusal}",
        )
    rows = found.rows[found.rows["customer_id"].isin(decisions["customer_id"])]
    rows = rows.merge(segments[["customer_id", "segment"]], on="customer_id", how="left")
    weight = 1 / rows["propensity"]
    units = pd.DataFrame(
        {
            "variant": rows["offer_id"].fillna(NO_OFFER),
            "channel": rows["channel"],
            "segment": rows["segment"],
            "weighted": rows["outcome"] * weight,
            "weight": weight,
        }
    )
    offers = {offer: [offer] for offer in found.offers}
    return offer_table(metric, WEIGHTED, units, segmentation, offers, NO_OFFER, plan, confidence)
