"""The model card of an uplift model, in Markdown: what it is for, how good, for whom, where not.

Source: Mitchell et al. 2019 (model cards).
"""

from foundation.scores import Interval
from recommender.uplift_curve import CONVENTION
from recommender.uplift_evaluation import FOLDS, LearnerFigures
from recommender.uplift_registry import UpliftReport

_RULES = {
    "policy": "each what the model advises",
    "best_single": "the best single offer for everyone",
    "none": "no offer",
    "policy_over_best": "the model over the best single offer",
    "policy_over_none": "the model over none",
    "best_over_none": "the best single offer over none",
}

_NOT_TOLD = "cannot be judged"


def uplift_card(report: UpliftReport, data_digest: str) -> str:
    """Return the card of a report's model.

    Args:
        data_digest: Of the tables it was trained on.
    """
    model, found = report.model, report.evaluation
    told, refused = found.values.figures(), found.values.refused
    lines = [
        f"# Uplift model ({model.model.best})",
        "",
        "What does showing this customer this offer, here and now, earn that would not have come "
        "anyway?",
        "",
        "## Intended use",
        "",
        "Choosing which of a shop's own offers a loyalty customer sees, or none.",
        "Not for prices, credit, or any decision on a person beyond which offer she sees.",
        "",
        "## Data",
        "",
        f"- {report.rows:,} decisions drawn by chance (policy {', '.join(report.drawn_by)}), one a "
        f"customer and experiment, told until {report.told_until:%Y-%m-%d %H:%M} UTC.",
        *(f"- {n:,} decisions left out: {why}." for why, n in report.left_out.items()),
        f"- Outcome: money of the {model.days} days after, net of what redeemed offers cost. "
        "Effects are before any contact's cost, values below after it.",
        f"- Data digest `{data_digest}`, features `{model.feature_hash}`, "
        f"{len(model.names)} inputs.",
        "",
        "| got | customers | redeemed |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {n:,} | {report.response_rates.get(name, 0.0):.1%} |"
            for name, n in report.customers.items()
        ),
        "",
        "## Evaluated on",
        "",
        f"The same decisions by cross-fitting ({FOLDS} parts by customer): each was judged by "
        "models that had not seen it. Intervals are of 95 %, money in minor units a decision.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(
            f"| {word} | {_told(told[name]) if name in told else refused.get(name, _NOT_TOLD)} |"
            for name, word in _RULES.items()
        ),
        f"| as the decisions were drawn | {_told(report.drawn)} |",
    ]
    if found.rate_p is not None:
        lines.append(f"| chance of its ranking if targeting helps nobody | {found.rate_p:.3g} |")
    lines += [
        "",
        f"| learner | Qini ({CONVENTION}) | value |",
        "| --- | --- | --- |",
        *(_learner(name, one) for name, one in found.learners.items()),
        "",
        f"Verdict: {report.verdict()}.",
        "",
        "## Known limits",
        "",
        "- It knows the offers it was taught; any other counts as earning nothing, less the "
        "contact's cost.",
        "- Effects are of the first offer of a slate of one, over the days above; later ones, and "
        "those of several offers together, are not known.",
        "- It does not see what is in the basket, only how much.",
        "- Effects of seasons and campaigns that it did not meet are not in it; let a part of all "
        "decisions stay random and train again.",
        "",
    ]
    return "\n".join(lines)


def _learner(name: str, found: LearnerFigures) -> str:
    qini = found.refused.get("advised", _NOT_TOLD)
    if found.advised is not None:
        qini = _told(found.advised.qini)
    value = found.refused.get("value", _NOT_TOLD)
    if found.value is not None:
        value = _told(found.value)
    return f"| {name} | {qini} | {value} |"


def _told(figure: Interval) -> str:
    return f"{figure.value:.4g} [{figure.low:.4g}, {figure.high:.4g}]"
