"""Train a model."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from foundation.errors import RegularsError
from regulars.commands.house import administered, open_house, progress_shown, real_shoppers
from regulars.commands.options import Json, known
from regulars.commands.telling import print_json, say


def train(
    model: Annotated[
        str, typer.Argument(help="Which model: response, uplift, clv, churn or complements.")
    ] = "response",
    test_from: Annotated[
        datetime | None, typer.Option(help="First day held out; the latest quarter by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model beside its baseline, evaluate both on later days, register the better one."""
    known(model, "response", "uplift", "clv", "churn", "complements")
    if test_from is not None and model != "response":
        raise RegularsError(f"--test-from is for the response model; train {model} without it")
    if model == "clv":
        _train_clv(as_json)
    elif model == "churn":
        _train_churn(as_json)
    elif model == "uplift":
        _train_uplift(as_json)
    elif model == "complements":
        _train_complements(as_json)
    else:
        _train_response(test_from, as_json)


def _train_response(test_from: datetime | None, as_json: bool) -> None:
    from regulars.jobs.train import train as job
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    split = None if test_from is None else test_from.replace(tzinfo=house.settings.zone)
    with only_one(house.settings.lock_folder, "train"):
        trained = job(real_shoppers(house), house.models, house.settings, progress, split)
    if trained.alias == "champion":
        with administered(house) as admin:
            admin.touch_catalogue()
    report = trained.report
    version = trained.versions[report.champion]
    if as_json:
        print_json(
            {
                "model": f"response@{version}",
                "alias": trained.alias,
                "kind": report.champion,
                "auc": {k: asdict(v) for k, v in report.comparison.auc.items()},
                "gain_over_baseline": {k: asdict(v) for k, v in report.comparison.gain.items()},
                "calibration_error": {k: h.calibration_error for k, h in report.held_out.items()},
                "test_from": report.test_from,
                "rows_trained": report.rows_trained,
                "rows_held_out": report.rows_held_out,
                "rows_straddling": report.rows_straddling,
                "rows_censored": report.rows_censored,
                "rows_unanswerable": report.rows_unanswerable,
                "rows_recorded": report.recorded,
                "rows_outdated": report.outdated,
                "groups": {name: asdict(group) for name, group in report.groups.items()},
            }
        )
        return
    say(f"trained on {report.rows_trained:,} exposures, {report.responses_trained:,} responses")
    say(f"held out from {report.test_from:%Y-%m-%d}: {report.rows_held_out:,} exposures")
    say(f"{report.sources()}; {report.rows_straddling:,} straddle the split")
    for kind, held_out in report.held_out.items():
        area = report.comparison.auc[kind]
        say(
            f"  {kind:<9} AUC {area.value:.3f} [{area.low:.3f}, {area.high:.3f}], "
            f"calibration error {held_out.calibration_error:.3f}"
        )
    for name, group in report.groups.items():
        areas = (f"{k} {a.value:.3f} [{a.low:.3f}, {a.high:.3f}]" for k, a in group.auc.items())
        told = group.refused or f"AUC {', '.join(areas)}"
        say(f"  {name}: {group.rows:,} exposures, {group.responses:,} responses: {told}")
    say(report.verdict())
    say(f"registered: response@{version} is the {trained.alias}")


def _train_uplift(as_json: bool) -> None:
    from regulars.jobs.train_uplift import train_uplift
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    with administered(house) as admin:
        with only_one(house.settings.lock_folder, "train"):
            trained = train_uplift(
                real_shoppers(house), house.uplift, admin.experiments(), house.settings, progress
            )
        if trained.alias == "champion":
            admin.touch_catalogue()
    report, found = trained.report, trained.report.evaluation
    if as_json:
        print_json(
            {
                "model": trained.name,
                "alias": trained.alias,
                "chosen": found.choice.chosen,
                "verdict": report.verdict(),
                "values": asdict(found.values),
                "drawn": {"by": report.drawn_by, **asdict(report.drawn)},
                "best_single_offer": report.best_single,
                "rate_p": found.rate_p,
                "learner": report.model.model.best,
                "rows": report.rows,
                "customers": report.customers,
                "response_rates": report.response_rates,
                "days": report.model.days,
                "decided_again": report.again,
                "left_out": report.left_out,
                "assumptions": trained.assumptions,
            }
        )
        return
    for line in trained.told(house.settings.currency):
        say(line)


def _train_churn(as_json: bool) -> None:
    from regulars.jobs.train_churn import train_churn
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    with only_one(house.settings.lock_folder, "train"):
        trained = train_churn(real_shoppers(house), house.churn, house.clock.now(), progress)
    report, name = trained.report, f"churn@{trained.version}"
    if as_json:
        print_json(
            {
                "model": name,
                "alias": "champion" if trained.champion else None,
                "verdict": report.verdict(),
                "rows_trained": report.rows_trained,
                "held_out": report.pooled.figures(),
                "by_origin": {f"{at:%Y-%m-%d}": c.figures() for at, c in report.by_origin.items()},
            }
        )
        return
    say(f"trained on {report.rows_trained:,} rows of active customers as of earlier origins")
    for told, held_out in (
        *((f"{at:%Y-%m-%d}", c) for at, c in report.by_origin.items()),
        ("together", report.pooled),
    ):
        figures = (
            f"{word} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
            for word, figure in (
                ("calibration error", held_out.ece),
                ("slope", held_out.slope),
                ("Brier skill", held_out.brier_skill),
                ("AUC", held_out.auc),
            )
        )
        say(f"  {told}: {held_out.n:,} forecasts, {', '.join(figures)}")
    say(report.verdict())
    say(f"registered: {name}{' is the champion' if trained.champion else ', not the champion'}")


def _train_complements(as_json: bool) -> None:
    from regulars.jobs.next_products import train_next_products
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    with only_one(house.settings.lock_folder, "train"):
        trained = train_next_products(real_shoppers(house), house.clock.now(), progress)
    judged = trained.guesses
    if as_json:
        print_json({**asdict(trained), "verdict": judged.verdict()})
        return
    for name, rate in trained.hit_rates.items():
        say(f"  from {trained.chosen_from:%Y-%m-%d} {name:<16} hit rate {rate:.3f}")
    say(f"chosen: {trained.setting.kind} x {trained.setting.weight:g}")
    say(f"held out from {trained.test_from:%Y-%m-%d}: {judged.baskets:,} baskets, one product hid")
    for name, rate in judged.hit_rate.items():
        rank = judged.mrr[name]
        say(
            f"  {name:<13} among the first ten {rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}], "
            f"MRR {rank.value:.3f} [{rank.low:.3f}, {rank.high:.3f}]"
        )
    say(judged.verdict())
    say("the next 'regulars segment' ranks by it")


def _train_clv(as_json: bool) -> None:
    from regulars.jobs.train_clv import train_clv
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    with only_one(house.settings.lock_folder, "train"):
        trained = train_clv(real_shoppers(house), house.value_models, house.clock.now(), progress)
    champion, report = trained.champion, trained.report
    if as_json:
        print_json(
            {
                "model": champion.name if champion else None,
                "kind": champion.kind if champion else None,
                "kept_because": trained.kept_because,
                "metrics": champion.metrics if champion else None,
                "verdict": report.verdict() if report else None,
                "gain_over_plain": (
                    {e: asdict(gain) for e, gain in report.judged.gains.items()} if report else None
                ),
                "faults": report.faults if report else None,
                "money": asdict(report.money) if report else None,
                "groups_held": report.groups_held if report else None,
                "inner_scores": report.choice.scores if report else None,
                "errors": {k: asdict(e) for k, e in report.errors.items()} if report else None,
                "refused": report.refused if report else None,
            }
        )
        return
    if report is None:
        say(f"not converged: {trained.kept_because}")
        say(f"{champion.name} stays the champion" if champion else "there is no champion")
        return
    for name, error in report.errors.items():
        say(
            f"  {name:<10} inner score {report.choice.scores.get(name, float('nan')):.3f}; on the "
            f"last {report.weeks_held_out:.0f} weeks MAE {error.mae.value:.3f} "
            f"[{error.mae.low:.3f}, {error.mae.high:.3f}], RMSE {error.rmse.value:.3f} "
            f"[{error.rmse.low:.3f}, {error.rmse.high:.3f}], "
            f"bias {error.bias.value:+.1%} [{error.bias.low:+.1%}, {error.bias.high:+.1%}]"
        )
    for name, reason in report.refused.items():
        say(f"  {name:<10} refused: {reason}")
    if report.choice.before:
        say(f"  {report.choice.before}")
    for day, reason in report.choice.skipped.items():
        say(f"  cut {day} skipped: {reason}")
    say(
        f"80 % intervals held {report.coverage.value:.1%} "
        f"[{report.coverage.low:.1%}, {report.coverage.high:.1%}]; {report.money.told()}"
    )
    held, groups = report.groups_held
    say(
        f"bounds of groups, widened by a factor of {report.model.widening:.2f} for the model's own "
        f"error, held {held} of {groups} groups of customers on those days"
    )
    if trained.kept_because or champion is None:
        say(str(trained.kept_because))
    else:
        say(f"{report.verdict()}; {champion.name} is the champion")
