"""Churn of shoppers who buy at random: P(no purchase in N days) = exp(-N rate), a closed form."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from foundation.errors import RegularsError, TooLittleData
from segmentation.churn import (
    CHURN_FEATURES,
    INPUTS,
    ChurnModel,
    churn_inputs,
    fit_churn,
)
from segmentation.churn_reasons import REASONS, churn_reasons
from segmentation.churn_report import ChurnReport, evaluate_churn
from segmentation.origins import Origins, rolling_origins

DAYS, ACTIVE = 30, 90
START = datetime(2026, 1, 1, tzinfo=UTC)


def features(days: list[np.ndarray], at: float) -> pd.DataFrame:
    """CHURN_FEATURES of purchases on these days, as of day `at`."""
    rows: list[dict[str, float]] = []
    for bought in days:
        age = at - bought[bought < at]
        visits = np.unique(np.floor(bought[bought < at]))
        gaps = np.diff(visits)
        n = {w: float((age < w).sum()) for w in (7, 30, 90)}
        rows.append(
            {
                "recency_days": age.min() if len(age) else np.nan,
                "tenure_days": age.max() if len(age) else np.nan,
                "visit_days_365d": float(len(visits)),
                "gap_mean_365d": gaps.mean() if len(gaps) else np.nan,
                "gap_spread_365d": gaps.std(ddof=1) if len(gaps) > 1 else np.nan,
                **{f"orders_{w}d": count for w, count in n.items()},
                "orders_trend": 3 * n[30] / n[90] if n[90] else np.nan,
                "spend_30d": 100 * n[30],
                "spend_90d": 100 * n[90],
                "basket_mean_90d": 100.0 if n[90] else np.nan,
                "categories_90d": float(n[90] > 0),
                "products_90d": float(n[90] > 0),
            }
        )
    ids = pd.Index([f"c-{i}" for i in range(len(days))], name="customer_id")
    return pd.DataFrame(rows, index=ids, columns=list(CHURN_FEATURES))


def shop(customers: int, length: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rates a day, gamma distributed, and days of purchases."""
    draw = np.random.default_rng(seed)
    rates = draw.gamma(1.2, 0.09, customers) + 0.004
    bought = [np.sort(draw.uniform(0, length, draw.poisson(r * length))) for r in rates]
    return rates, bought


def frame_of(bought: list[np.ndarray], origins: Origins) -> pd.DataFrame:
    found: list[pd.DataFrame] = []
    for origin in origins.instants:
        at = (origin - START) / timedelta(days=1)
        inputs = churn_inputs(features(bought, at), DAYS, ACTIVE)
        silent = [not bool(((b >= at) & (b < at + DAYS)).any()) for b in bought]
        churned = pd.Series(silent, index=[f"c-{i}" for i in range(len(bought))]).astype(int)
        found.append(inputs.assign(churned=churned, as_of=origin).reset_index())
    return pd.concat(found, ignore_index=True)


LENGTH = 330
ORIGINS = rolling_origins(START, START + timedelta(days=LENGTH), DAYS, ACTIVE)


@pytest.fixture(scope="module")
def random_shop() -> tuple[np.ndarray, pd.DataFrame]:
    rates, bought = shop(700, LENGTH, seed=4)
    return rates, frame_of(bought, ORIGINS)


@pytest.fixture(scope="module")
def report(random_shop: tuple[np.ndarray, pd.DataFrame]) -> ChurnReport:
    return evaluate_churn(random_shop[1], ORIGINS, ACTIVE, seed=7)


def test_known_churn_probabilities_are_found_and_calibrated(
    random_shop: tuple[np.ndarray, pd.DataFrame], report: ChurnReport
) -> None:
    rates, frame = random_shop
    rows = frame[frame["as_of"] == ORIGINS.instants[-1]]
    # Source: a Poisson process is silent for t with probability exp(-rate t).
    truth = np.exp(-DAYS * rates[rows["customer_id"].str[2:].astype(int)])

    told = report.model.probability(rows)

    assert np.corrcoef(told, truth)[0, 1] > 0.9
    # Closed form: telling everybody the mean errs by the truth's own spread.
    assert np.mean((told - truth) ** 2) < 0.2 * truth.var()
    pooled = report.pooled
    assert pooled.slope.low <= 1.1
    assert pooled.slope.high >= 0.9
    assert pooled.observed_expected.value == pytest.approx(1, abs=0.15)
    assert pooled.auc_gain.low > 0
    assert report.fault is None
    assert "calibrated and beats recency" in report.verdict()


def test_every_test_origin_is_reported_and_together_they_are_the_pool(report: ChurnReport) -> None:
    assert tuple(report.by_origin) == ORIGINS.tests
    assert sum(c.n for c in report.by_origin.values()) == report.pooled.n


def test_what_happens_after_an_origin_changes_no_forecast_made_there(
    random_shop: tuple[np.ndarray, pd.DataFrame],
) -> None:
    frame = random_shop[1]
    at = ORIGINS.tests[0]
    later = frame["as_of"] + timedelta(days=DAYS) > at
    turned = frame.assign(churned=frame["churned"].where(~later, 1 - frame["churned"]))
    known = ORIGINS.known_at(at)

    ours, theirs = (
        fit_churn(f[f["as_of"].isin(known)], DAYS, ACTIVE, 7).probability(frame)
        for f in (frame, turned)
    )

    assert later.any()
    assert (ours == theirs).all()


def test_labels_without_a_pattern_make_no_model_that_serves(
    random_shop: tuple[np.ndarray, pd.DataFrame],
) -> None:
    frame = random_shop[1]
    shuffled = frame.assign(churned=np.random.default_rng(1).permutation(frame["churned"]))

    found = evaluate_churn(shuffled, ORIGINS, ACTIVE, seed=7)

    assert found.fault is not None
    assert "not surely better" in found.verdict()


def test_a_surely_miscalibrated_model_does_not_serve(report: ChurnReport) -> None:
    steep = replace(report.pooled.slope, value=0.7, low=0.6, high=0.8)

    found = replace(report, pooled=replace(report.pooled, slope=steep))

    assert found.fault == "it is not calibrated: slope 0.70 [0.60, 0.80], 0.9 to 1.1 is asked"


def test_a_model_that_is_surely_miscalibrated_by_now_does_not_serve(report: ChurnReport) -> None:
    newest = max(report.by_origin)
    off = replace(report.pooled.observed_expected, value=1.4, low=1.3, high=1.5)
    lately = replace(report.by_origin[newest], observed_expected=off)

    found = replace(report, by_origin={**report.by_origin, newest: lately})

    assert found.pooled == report.pooled
    assert found.fault is not None
    assert found.fault.startswith(f"it is not calibrated at the newest origin, {newest:%Y-%m-%d}: ")


def test_the_same_seed_gives_the_same_model(
    random_shop: tuple[np.ndarray, pd.DataFrame], report: ChurnReport
) -> None:
    frame = random_shop[1]

    again = evaluate_churn(frame, ORIGINS, ACTIVE, seed=7)

    assert again.pooled.ece == report.pooled.ece
    assert (again.model.probability(frame) == report.model.probability(frame)).all()


def test_contributions_add_up_to_the_logit_of_the_probability(
    random_shop: tuple[np.ndarray, pd.DataFrame], report: ChurnReport
) -> None:
    frame = random_shop[1]

    total = report.model.contributions(frame).sum(axis=1)

    assert expit(total.to_numpy()) == pytest.approx(report.model.probability(frame), abs=1e-9)


def case(bought: list[float]) -> pd.DataFrame:
    return churn_inputs(features([np.array(bought)], 200.0), DAYS, ACTIVE)


def reasons(model: ChurnModel, bought: list[float]) -> list[str]:
    return churn_reasons(model, case(bought)).iloc[0]


def test_reasons_tell_the_silence_against_the_usual_gap(report: ChurnReport) -> None:
    weekly_then_silent = [float(d) for d in range(80, 150, 9)]

    told = reasons(report.model, weekly_then_silent)

    assert 1 <= len(told) <= REASONS
    assert "has not bought for 57 days, usually every 9" in told


def test_who_stays_is_told_why_she_stays(report: ChurnReport) -> None:
    daily = [float(d) for d in range(100, 200)]

    told = reasons(report.model, daily)

    assert report.model.probability(case(daily))[0] < 0.1
    assert any(
        "orders: 7 in the last 7 days" in t or t == "bought 1 days ago, usually every 1"
        for t in told
    )


def test_customers_silent_for_longer_are_not_asked_about() -> None:
    found = churn_inputs(
        features([np.array([100.0]), np.array([150.0]), np.array([])], 200.0), DAYS, ACTIVE
    )

    assert list(found.index) == ["c-1"]
    assert list(found.columns) == list(INPUTS)


def test_the_model_asks_for_nothing_about_the_person() -> None:
    person = ("age", "income", "gender", "sex", "marital", "kids", "household", "demographic")

    assert not [name for name in CHURN_FEATURES if any(word in name for word in person)]


def test_too_few_rows_are_refused_with_how_many_are_needed(
    random_shop: tuple[np.ndarray, pd.DataFrame],
) -> None:
    with pytest.raises(
        TooLittleData, match=r"999 rows of active customers.* 1,000 rows and 100 of"
    ):
        fit_churn(random_shop[1].head(999), DAYS, ACTIVE, 7)


def test_rows_without_an_input_are_refused_by_name(report: ChurnReport) -> None:
    with pytest.raises(RegularsError, match="needs input 'orders_7d'"):
        report.model.probability(case([150.0]).drop(columns="orders_7d"))


def test_rows_of_another_instant_are_refused(random_shop: tuple[np.ndarray, pd.DataFrame]) -> None:
    late = random_shop[1].assign(as_of=START)

    with pytest.raises(RegularsError, match="instants that are no origins"):
        evaluate_churn(late, ORIGINS, ACTIVE, seed=7)
