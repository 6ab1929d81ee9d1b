"""Is each offer's own part found where it was drawn by chance, and refused where it was not?"""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.mlflow_life import MlflowLife
from adapters.mlflow_uplift import MlflowUplift
from experiments.design import Experiment, Variant
from experiments.plan import StopRule
from experiments.report_words import single_offer_lines
from foundation.contracts import TABLES
from foundation.money import Currency
from foundation.settings import Settings
from regulars.jobs.report import More, experiment_report
from regulars.jobs.train_uplift import train_uplift
from regulars.jobs.uplift_bins import BINS, SEGMENTATION, UpliftModels, uplift_bins
from regulars.progress import Progress
from tests.jobs.uplift_shop import (
    DAY,
    DAYS,
    LOVED,
    START,
    UNLOVED,
    ZONE,
    Shop,
    design,
    opened,
    stored,
)

UNTIL = START + (DAYS + 3) * DAY


def segmented(lake: DuckDbLake, shop: Shop) -> None:
    rows = [
        {
            "segment_row_id": record.customer_id, "run_id": "run", "as_of": START - DAY,
            "made_at": START - DAY, "customer_id": record.customer_id, "recency_score": 1,
            "frequency_score": 1, "monetary_score": 1, "rfm": "all", "cluster": "all",
            "lifecycle": "new" if number % 2 else "active",
        }
        for number, record in enumerate(shop.records)
    ]  # fmt: skip
    with lake.write() as write:
        write.merge("segments", TABLES["segments"].from_rows(rows))


def test_each_offer_has_its_own_effect_by_channel_and_segment(lake: DuckDbLake) -> None:
    segmented(lake, opened(900, lake, design()))
    report = experiment_report(
        lake, design(stop=StopRule(days=DAYS + 3)), UNTIL, more=More(None, ZONE)
    )
    table = report.by_offer
    assert table is not None
    assert table.refused is None
    cells = {(cell.variant, cell.channel, cell.segment): cell for cell in table.cells}
    assert {key[0] for key in cells} == {"a", "b", "c"}
    assert {key[1:] for key in cells} == {("app", "new"), ("app", "active")}
    # Planted: half love a, half b, nobody c.
    truth = dict.fromkeys("ab", (LOVED + UNLOVED) / 2) | {"c": UNLOVED}
    for (offer, _, _), cell in cells.items():
        effect = cell.effect
        assert effect.low is not None
        assert effect.high is not None
        assert effect.low < truth[offer] < effect.high
        assert cell.offers == [offer]
        assert cell.incremental == pytest.approx((effect.difference or 0) * cell.units)
        assert effect.p_adjusted is not None
    assert sum(cell.units for cell in table.cells) < 500
    told = single_offer_lines(report, Currency("USD"))
    assert told[0].label.startswith("a: app, ")
    assert "without an offer" in told[0].note


def test_where_a_policy_chose_no_offers_part_is_told(lake: DuckDbLake) -> None:
    shop = opened(120, lake, design("rule"), exploration=0.0)
    segmented(lake, shop)
    report = experiment_report(lake, design("rule"), UNTIL, more=More(None, ZONE))
    assert report.by_offer is not None
    assert report.by_offer.cells == []
    assert "cannot be told apart" in str(report.by_offer.refused)
    assert "policy random" in str(report.by_offer.refused)
    # One offer a variant is told apart by the plan itself.
    single = [Variant("none", 0.5, policy="none"), Variant("some", 0.5, offers=["a"])]
    one = experiment_report(lake, design(variants=single), UNTIL, more=More(None, ZONE))
    assert one.by_offer is None


@pytest.mark.slow
def test_effects_are_told_by_the_uplift_predicted_before_the_start(
    lake: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    place = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts"
    models = UpliftModels(MlflowLife(*place), MlflowUplift(*place))
    settings = Settings(home=tmp_path, database_url=None, mlflow_tracking_uri=None, time_zone=ZONE)
    opened(900, lake, design(), seed=3)
    train_uplift(lake, models.models, stored(design()), settings, silent)
    (version,) = models.life.versions("uplift")
    later = max(version.trained_at, START + 20 * DAY) + timedelta(hours=1)
    # Before it was trained nothing was predicted; its own experiment's answer is no prediction.
    early = uplift_bins(lake, models, design(), START + DAY)
    assert early.rows.empty
    assert "no uplift model had been trained" in str(early.refused)

    plan: Experiment = design(key="next", method="sequential", segments=[SEGMENTATION])
    shop = opened(400, lake, plan, seed=9, start=later)
    people = [record.customer_id for record in shop.records[:-1]]
    lines = [
        {
            "line_id": f"before-{who}-{turn}", "customer_id": who, "order_id": f"b-{who}-{turn}",
            "product_id": "p", "at": later - (5 + 9 * turn) * DAY, "channel": "till",
            "local_day": 20_577 - 9 * turn, "local_hour": 8, "quantity": 1.0, "amount": 400,
            "discount": 0, "offer_discount": 0, "margin": 100,
        }
        for n, who in enumerate(people)
        for turn in range(1 + n // 2 % 4)
    ]  # fmt: skip
    with lake.write() as write:
        write.merge("purchases", TABLES["purchases"].from_rows(lines))
    bins = uplift_bins(lake, models, plan, later)
    assert bins.refused is None
    inside = pd.Series(bins.rows.set_index("customer_id")["segment"])
    assert 2 <= inside.nunique() <= BINS
    report = experiment_report(lake, plan, later + 9 * DAY, more=More(models, ZONE))
    assert report.who_gained is not None
    found = [row for row in report.who_gained.rows if row.segmentation == SEGMENTATION]
    assert {row.segment for row in found} == set(inside.reindex(people).dropna())
    assert sum(sum(row.units.values()) for row in found) == 400
