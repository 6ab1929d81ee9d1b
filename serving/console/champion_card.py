"""Which offer for whom: the model that serves, how good it is, and beside what."""

from base64 import b64encode

from recommender.model_card import ModelCard, Scored
from recommender.response import BASELINE
from serving.console.desk import Desk
from serving.console.interval import Scale, interval
from serving.console.markup import box, text
from serving.console.wording import MODELS, day, input_name, moment

# From guessing to certainty.
AUC = Scale(0.5, 1.0)
INPUTS_SHOWN = 10


def draw_champion(found: ModelCard, desk: Desk) -> None:
    """Draw the card's body."""
    with box("p", "lead"):
        text("strong", found.version)
        text("span", f", {_kind(found.scored)}, decides who gets which offer. ")
        text("span", f"Trained {moment(found.trained_at, desk.zone)}.")
    text("p", f"{found.verdict[:1].upper()}{found.verdict[1:]}.", "verdict")
    with box("div", "thirds"):
        with box("div"):
            _quality(found, desk)
        with box("figure", "calibration"):
            text("h3", "Does it promise what happens?")
            # Inside the page: an address of its own would need a name for each version.
            picture = b64encode(found.calibration).decode()
            with box("div", "plate"):
                box(
                    "img",
                    src=f"data:image/png;base64,{picture}",
                    alt="Promised against observed response of ten groups of customers; on the "
                    "diagonal the model promises what happens",
                )
            text(
                "figcaption",
                "Promised and observed response lie "
                f"{100 * found.scored.calibration_error:.1f} points apart on average.",
                "soft",
            )
        with box("div"):
            _inputs(found)


def _quality(found: ModelCard, desk: Desk) -> None:
    text("h3", "Does it find who responds?")
    text(
        "p",
        "AUC: the chance that a customer who redeemed was scored above one who did not.",
        "soft",
    )
    _score(found.scored, champion=True)
    for rival in found.rivals:
        _score(rival, champion=False)
    with box("dl", "facts"):
        for name, value in (
            ("Learned from", f"{found.rows_trained:,} exposures"),
            ("Judged on", f"{found.rows_held_out:,} later ones"),
            ("Held out from", day(found.held_out_from, desk.zone)),
            ("Calibration error", f"{found.scored.calibration_error:.3f}"),
        ):
            with box("div"):
                text("dt", name)
                text("dd", value)


def _score(scored: Scored, *, champion: bool) -> None:
    area = scored.auc
    words = f"{area.value:.3f}"
    between = f"{area.low:.3f} to {area.high:.3f}"
    with box("div", "score", data_model=scored.kind):
        with box("div", "words"):
            with box("span"):
                text("span", _kind(scored), "name")
                if champion:
                    text("span", "champion", "tag")
                if scored.kind == BASELINE:
                    text("span", "baseline", "tag off")
            text("span", words, "figure strong")
        interval(
            AUC,
            area.value,
            area.low,
            area.high,
            said=f"AUC of {_kind(scored)} {words}, 95 % interval {between}",
            marks=((AUC.low, "0.5 guessing"), (AUC.high, "1 certain")),
            tone="" if champion else "dim",
        )
        text("p", f"95 % interval {between}", "soft small")


def _inputs(found: ModelCard) -> None:
    text("h3", "What does it look at?")
    shown = found.importance[:INPUTS_SHOWN]
    largest = max((weight for _, weight in shown), default=0) or 1
    with box("ol", "bars inputs"):
        for name, weight in shown:
            with box("li", title=name):
                text("span", input_name(name), "name")
                with box("div", "track", aria_hidden="true"):
                    box("div", "fill fill-plain").style(f"width:{100 * weight / largest:.2f}%")
    text(
        "p",
        f"The {len(shown)} weightiest of {len(found.importance)} inputs. Weight is not cause.",
        "soft small",
    )


def _kind(scored: Scored) -> str:
    return MODELS.get(scored.kind, scored.kind)
