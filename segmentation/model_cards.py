"""Model cards of the customer models, in Markdown: what for, how good, for whom, where not.

Source: Mitchell et al. 2019 (model cards).
"""

from collections.abc import Mapping

from foundation.scores import Interval
from segmentation.churn_report import ChurnReport
from segmentation.value_model import ValueReport


def churn_card(report: ChurnReport, feature_hash: str, data_digest: str) -> str:
    """Return the card of a churn model."""
    model, found = report.model, report.pooled
    return _card(
        "Churn model",
        f"How likely is an active customer (bought in the last {model.active} days) to buy nothing "
        f"in the next {model.days} days?",
        "Lists of customers to win back, and value at risk. Not for decisions against a customer.",
        [
            f"Trained on {report.rows_trained:,} rows of active customers as of earlier dates.",
            f"Data digest `{data_digest}`, features `{feature_hash}`.",
        ],
        f"{found.n:,} forecasts for {found.customers:,} customers at {len(report.by_origin)} past "
        "dates, by models fitted the same way on what was known then",
        {
            "AUC": found.auc,
            "AUC of recency alone": found.baseline_auc,
            "Brier skill": found.brier_skill,
            "calibration error": found.ece,
            "calibration slope": found.slope,
            "observed/expected": found.observed_expected,
        },
        report.verdict(),
        [
            "It says nothing of customers who are not active.",
            "Silence is no farewell: many who stay away come back later.",
            "It forecasts; it does not say whom an offer would keep.",
        ],
    )


def value_card(report: ValueReport, data_digest: str) -> str:
    """Return the card of a model of customer value."""
    found, money = report.judged, report.money.error
    rivals = found.rivals
    return _card(
        f"Model of customer value ({report.model.kind})",
        "How often will a customer buy within the horizon, and what will she bring?",
        "Comparing customers and groups by what they are expected to bring. Not for prices or "
        "credit.",
        [f"Data digest `{data_digest}`; purchases alone, nothing else about a customer."],
        f"the last {report.weeks_held_out:.0f} weeks, by models fitted before them",
        {
            "MAE, purchases a customer": found.ours.mae,
            f"MAE of '{rivals['mae']}'": found.plain[rivals["mae"]].mae,
            "MAE below it by": found.gains["mae"],
            "RMSE, purchases a customer": found.ours.rmse,
            f"RMSE of '{rivals['rmse']}'": found.plain[rivals["rmse"]].rmse,
            "RMSE below it by": found.gains["rmse"],
            "bias of all purchases": found.ours.bias,
            **({"bias of net sales": money.bias} if money else {}),
            "coverage of 80 % intervals": report.coverage,
        },
        report.verdict(),
        [
            "The first purchase loaded counts as the first there was.",
            "It knows no season and no campaign; a year that differs from the last it cannot see.",
            "Net sales, not margin.",
            f"Judged in money: {report.money.told()}.",
            f"Bounds of groups are widened by a factor of {report.model.widening:.2f}, which held "
            f"80 % of groups inside the history, and {report.groups_held[0]} of "
            f"{report.groups_held[1]} in the held-out weeks; another period may be further off.",
        ],
    )


def _card(
    title: str,
    question: str,
    use: str,
    data: list[str],
    judged_on: str,
    figures: Mapping[str, Interval],
    verdict: str,
    limits: list[str],
) -> str:
    rows = (
        f"| {name} | {f.value:.3f} [{f.low:.3f}, {f.high:.3f}] |" for name, f in figures.items()
    )
    return "\n".join(
        [
            *(f"# {title}", "", question, "", "## Intended use", "", use, "", "## Data", ""),
            *(f"- {line}" for line in data),
            *("", "## Evaluated on", "", f"{judged_on}. Intervals are of 95 %.", ""),
            *("| figure | value |", "| --- | --- |"),
            *rows,
            *("", f"{verdict}.", "", "## Known limits", ""),
            *(f"- {line}" for line in limits),
            "",
        ]
    )
