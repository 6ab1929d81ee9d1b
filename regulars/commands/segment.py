"""The night's run: features, segments, values, forecasts and a new snapshot."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from regulars.commands.house import open_house, progress_shown, real_shoppers
from regulars.commands.options import Json, past
from regulars.commands.telling import out, print_json, say, show_sizes


def segment(
    as_of: Annotated[
        datetime | None, typer.Option(help="Knowledge up to this local time; now by default.")
    ] = None,
    refit_clusters: Annotated[
        bool, typer.Option("--refit-clusters", help="Fit clusters anew, before it is due.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute features and segments, and publish the snapshot that the service reads."""
    from regulars.jobs.consents import loaded_consents
    from regulars.jobs.forget import forgetting
    from regulars.jobs.segment import Champions
    from regulars.jobs.segment import segment as job
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    made_at = house.clock.now()
    instant = past(house, as_of, made_at)
    with (
        only_one(house.settings.lock_folder, "segment"),
        house.database() as url,
        house.admin(url) as admin,
        forgetting(house.lake, house.erasures(url)),
    ):
        house.keep_consents(url, loaded_consents(house.lake, made_at))
        report = job(
            real_shoppers(house),
            house.publish_snapshot,
            admin,
            house.settings,
            instant,
            progress,
            Champions(house.value_models, house.churn, house.models)
            if house.has_trained
            else Champions(),
            made_at,
            refit_clusters=refit_clusters,
        )
    if as_json:
        print_json(asdict(report))
        return
    show_sizes("Recency, frequency and money", report.rfm)
    show_sizes("Lifecycle", report.lifecycle)
    if report.without_season:
        say(report.without_season)
    if report.transitions:
        _show_transitions(report.transitions)
    show_sizes("Behaviour", report.cluster)
    for name, size in report.living.items():
        say(f"segment {name}: {size:,} customers")
    for name, reason in report.refused.items():
        say(f"segment {name} was not refreshed: {reason}")
    if report.unclustered:
        say(report.unclustered)
    say(f"{report.complements:,} pairs of products are bought together more often than by chance")
    refused = (report.unvalued, report.unforecast, report.without_next_products, report.unexplained)
    for reason in refused:
        if reason:
            say(reason)
    if report.value:
        _show_value(report.value, house.settings.currency.show)
    if report.churn:
        _show_churn(report.churn, house.settings.currency)
    if report.clusters:
        why = f", anew: {report.refitted}" if report.refitted else ""
        say(f"clusters fitted {report.clusters.fitted_at:%Y-%m-%d}{why}")
        for line in report.clusters.model.told():
            say(line)
    say(f"snapshot {report.snapshot.version} is live with {report.customers:,} customers")
    if as_of is not None:
        say(f"the service now knows nothing after {as_of:%Y-%m-%d %H:%M}; run it again without it")


def _show_value(value: dict[str, Any], show: Any) -> None:
    title = f"Value: {value['assumption']}"
    table = Table("segment", "group", "customers", "value", "80 % interval", title=title)
    for segmentation, name, group in _told_groups(value["groups"]):
        told = "unknown" if group["value"] is None else show(group["value"])
        table.add_row(
            segmentation,
            name,
            f"{group['customers']:,}",
            told,
            f"{show(group['low'])} to {show(group['high'])}",
        )
    out.print(table)
    say(f"valued by {value['model']} ({value['kind']}), {error_told(value['errors'])}")
    say(groups_told(value["errors"]))


def error_told(errors: dict[str, float]) -> str:
    """Say how far off net sales were, and over which time: value may look further ahead."""
    if "money_bias" not in errors:
        return "whose net sales could not be judged on days it never saw"
    # Registered before the horizon was kept.
    weeks = errors.get("weeks_held_out")
    horizon = f"the {weeks:.0f} weeks" if weeks else "days"
    left_out = errors.get("money_unjudged", 0)
    without = f"; {left_out:,.0f} customers could not be judged" if left_out else ""
    return (
        f"whose net sales of {horizon} that it never saw were off by {errors['money_bias']:+.1%} "
        f"[{errors['money_bias_low']:+.1%}, {errors['money_bias_high']:+.1%}]{without}"
    )


def groups_told(errors: dict[str, float]) -> str:
    """Say whether the model's own error is in the bounds of groups, and how many those held."""
    by, held = errors.get("groups_widened_by"), errors.get("groups_held")
    if by is None:
        return "the model's own error is not in the intervals of groups; run 'regulars train clv'"
    told = f", and held {held:.0%} of groups of those weeks" if held is not None else ""
    return (
        f"intervals of groups are widened by a factor of {by:.2f} for the model's own error{told}"
    )


def _show_churn(churn: Any, currency: Any) -> None:
    say(
        f"{churn.model}: {churn.expected:,.0f} of {churn.customers:,} active customers are "
        f"expected not to buy within {churn.days} days"
    )
    bounds = "95 %, value as given"
    table = Table("segment", "group", "customers", "at risk", bounds, title="Value at risk")
    for segmentation, name, row in _told_groups(churn.at_risk):
        bounds = f"{currency.show(round(row['low']))} to {currency.show(round(row['high']))}"
        at_risk = currency.show(round(row["at_risk"]))
        table.add_row(segmentation, name, f"{row['customers']:,.0f}", at_risk, bounds)
    out.print(table)
    say(f"assumed: {churn.assumed}")


def _told_groups(
    found: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, str, Any]]:
    from segmentation.living import NOT_MEMBER

    for segmentation, groups in found.items():
        for name, group in groups.items():
            if name != NOT_MEMBER:
                yield segmentation, name, group


def _show_transitions(transitions: Any) -> None:
    title = f"Lifecycle since run {transitions.before}"
    table = Table("from", "to", "customers", "share", "95 %", title=title, title_justify="left")
    for flow in transitions.flows:
        bounds = f"{flow.low:.1%} to {flow.high:.1%}"
        table.add_row(flow.before, flow.now, f"{flow.customers:,}", f"{flow.share:.1%}", bounds)
    out.print(table)
