"""The model card of a response model, in Markdown: what it is for, how good, for whom, where not.

Source: Mitchell et al. 2019 (model cards).
"""

from foundation.scores import Interval
from recommender.response import Group, ResponseReport
from recommender.response_model import BASELINE, Kind


def response_card(report: ResponseReport, kind: Kind, data_digest: str) -> str:
    """Return the card of one of a report's models.

    Args:
        data_digest: Of the tables it was trained on.
    """
    model, held_out, area = report.models[kind], report.held_out[kind], report.comparison.auc[kind]
    lines = [
        f"# Response model ({kind})",
        "",
        "How likely is this customer to redeem this offer, shown here and now?",
        "",
        "## Intended use",
        "",
        "Ranking a shop's own offers for its own loyalty customers, and forecasts of redemptions.",
        "Not for prices, credit, or any decision on a person beyond which offer she sees.",
        "",
        "## Data",
        "",
        f"- {report.sources()}.",
        f"- Trained on {report.rows_trained:,} exposures ({report.responses_trained:,} answered) "
        f"whose windows closed before {report.test_from:%Y-%m-%d}.",
        f"- Data digest `{data_digest}`, features `{model.feature_hash}`, "
        f"{len(model.names)} inputs.",
        "",
        "## Evaluated on",
        "",
        f"{report.rows_held_out:,} later exposures ({report.responses_held_out:,} answered), from "
        f"{report.test_from:%Y-%m-%d} on. Intervals are of 95 %, customers redrawn.",
        "",
        "| figure | value |",
        "| --- | --- |",
        f"| AUC | {_told(area)} |",
        *(
            f"| AUC of {'the baseline, ' if other == BASELINE else ''}{other} | {_told(found)} |"
            for other, found in report.comparison.auc.items()
            if other != kind
        ),
        f"| log loss | {held_out.log_loss:.4f} |",
        f"| calibration error | {held_out.calibration_error:.4f} |",
        f"| mean probability (the service holds a new model to it) | {held_out.mean_score:.4f} |",
    ]
    for name, word in (("slope", "calibration slope"), ("observed_expected", "observed/expected")):
        if name in held_out.calibration:
            bounds = (held_out.calibration[name + end] for end in ("", "_low", "_high"))
            lines.append(f"| {word} | {_told(Interval(*bounds))} |")
    lines += ["", f"Verdict: {report.verdict()}.", "", "## Groups it may know least of", ""]
    lines += ["| group | exposures | answered | AUC |", "| --- | --- | --- | --- |"]
    lines += [_group(name, group, kind) for name, group in report.groups.items()]
    line = model.line
    lines += [
        "",
        "## Known limits",
        "",
        "- It tells who answers, not who answers because of the offer; for that ask for uplift.",
        "- It learned from customers who were chosen by an earlier rule; it is surest for their "
        "like.",
        "- Redemption only: what an offer moves without being redeemed is not seen.",
        "- MLflow's own `predict` tells probabilities before calibration. What is served is "
        f"expit({line.intercept:.4g} + {line.slope:.4g} logit(p)).",
        "",
    ]
    return "\n".join(lines)


def _group(name: str, group: Group, kind: Kind) -> str:
    area = _told(group.auc[kind]) if kind in group.auc else f"not told: {group.refused}"
    return f"| {name} | {group.rows:,} | {group.responses:,} | {area} |"


def _told(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
