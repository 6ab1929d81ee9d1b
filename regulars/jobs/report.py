"""Report: what an experiment earned, by intention to treat, from the lake alone.

Every customer (household, store) that was assigned counts in its variant from the minute of the
first decision on, whatever she did, and whether or not the audience still holds her. Her margin is
what all her purchases earned since, over all products, less the cost of what she redeemed. A
household's or store's is that of all its customers, asked for or not.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import pandas as pd

from experiments.analysis import Always, AtLook, Plan, UnitFrame
from experiments.contamination import contamination_faults
from experiments.design import Experiment
from experiments.first_crossing import Judged, first_crossing
from experiments.health import SAMPLE_RATIO_ALARM, split_places, where_it_sits
from experiments.looks import Look, newest_look, planned_end, reached_looks
from experiments.metric_catalogue import SELECTED, USUAL, Measured, measured
from experiments.metric_titles import titled
from experiments.metrics import Metric, columns
from experiments.novelty import novelty
from experiments.offer_table import OfferTable, offer_table
from experiments.over_time import over_time
from experiments.report import (
    Report,
    analyse,
    capped,
    minimum_effect,
    planned_looks,
    sequence_units,
)
from experiments.sample_ratio_sequence import SampleRatioSequence, sample_ratio_sequence
from experiments.unit_checks import check_assigned
from experiments.verdict import verdict
from experiments.who_gained import WhoGained, who_gained
from foundation.errors import NothingToDo
from foundation.lake import Lake
from regulars.jobs.assigned import assigned_decisions, assigned_units
from regulars.jobs.earned import daily_changes, margin_by, unit_columns
from regulars.jobs.exposed import event_faults, exposures
from regulars.jobs.lake_units import LakeUnits
from regulars.jobs.metric_data import missing_data
from regulars.jobs.offers_by_chance import offers_by_chance
from regulars.jobs.segments_before import SegmentsBefore, segments_before
from regulars.jobs.strata import STRATUM, strata_of
from regulars.jobs.uplift_bins import UpliftModels, uplift_bins

# The segmentation of the table of offers, unless the plan names another one.
USUAL_SEGMENTATION = "lifecycle"
# Of a broken split these are shown.
MOST_PLACES = 10
# By week and by offer the margin is told: it is what offers are for.
TOLD = "margin"


class More(NamedTuple):
    """What a report needs to say more: uplift models, where any were trained, and the zone of who
    has none."""

    uplift: UpliftModels | None
    time_zone: str


class _Window(NamedTuple):
    """Until when a report knows what happened, where each row of the units ends, how many are
    left out because theirs is not over, and what a contact costs by channel."""

    until: datetime
    ends: datetime | pd.Series
    waiting: int
    contact_costs: Mapping[str, float]


def experiment_report(
    lake: Lake,
    design: Experiment,
    until: datetime,
    stopped: bool = False,
    contact_costs: Mapping[str, float] | None = None,
    more: More | None = None,
) -> Report:
    """Analyse an experiment on everything the lake knows up to an instant.

    What is judged once is judged on what was known at the plan's end, and what is judged at looks
    on what was known at the newest, however much later one reads it.

    Args:
        design: The plan as locked.
        until: Now, or when it was stopped.
        stopped: Whether it was.
        contact_costs: What a message that was sent costs by channel, in minor units.
        more: Also tells single offers apart, and effects by predicted uplift: it reads every
            decision's record.

    Raises:
        NothingToDo: Nobody was assigned yet, or nobody's follow-up days are over.
        RegularsError: An offer was redeemed that the lake does not know.
    """
    decisions = assigned_decisions(lake, design)
    units = assigned_units(lake, design, decisions)
    if units.empty:
        raise NothingToDo(
            f"experiment {design.key!r} has assigned nobody yet: no decision in it is in the lake; "
            "ask the service for some. A report by the command line or the API brings them in, the "
            "console shows them after 'regulars ingest'"
        )
    units["since"] = pd.to_datetime(units["since"], utc=True)
    keys = ["unit_id", "variant"]
    first = units.groupby(keys)["since"].transform("min")
    # A unit with a window comes in when it is over, for the plan's end and its looks as well.
    follow_up = pd.Timedelta(days=design.window_days or 0)
    each = first[~units.duplicated(keys)] + follow_up
    people = _Assigned(units, decisions, first, follow_up)
    contacts = contact_costs or {}
    looks = reached_looks(design, each, until)
    if looks:
        return _first_decided(lake, design, people, looks, stopped, contacts, more)
    look, end = newest_look(design, each, until), planned_end(design, each, until)
    judged = look is not None or (end is not None and design.method == "welch")
    if look is not None:
        until = look.at
    elif end is not None and design.method == "welch":
        until = end
    known = _as_of(lake, design, people, until, look, end is not None, judged, contacts)
    report = known.report
    return msgspec.structs.replace(
        _told(lake, design, known, more),
        verdict=verdict(
            design,
            report.metrics.get(design.primary_metric, {}),
            report.guardrails,
            _fault(report),
            minimum_effect(design, report.money),
            ended=end is not None and look is None,
            stopped=stopped,
            confidence=report.confidence,
        ),
    )


def _first_decided(
    lake: Lake,
    design: Experiment,
    people: "_Assigned",
    looks: Sequence[Look],
    stopped: bool,
    contact_costs: Mapping[str, float],
    more: More | None,
) -> Report:
    """Walk the looks in their order; the first that decides is the report, however late one reads.

    A boundary that was crossed stays crossed, whatever a later look sees.
    """
    walked: list[Judged] = []
    for look in looks:
        final = look.number == look.of
        known = _as_of(lake, design, people, look.at, look, final, True, contact_costs)
        report = known.report
        effects = report.metrics.get(design.primary_metric, {})
        walked.append(Judged(look, effects, report.guardrails, _fault(report)))
        last = look is looks[-1]
        minimum = minimum_effect(design, report.money)
        decided = first_crossing(design, walked, minimum, stopped and last, report.confidence)
        if last or decided.verdict.action != "continue":
            # What is only told, not judged, is worked out for the look that is shown alone.
            whole = _told(lake, design, known, more)
            return msgspec.structs.replace(whole, verdict=decided.verdict, crossed=decided.crossed)
    raise ValueError("no look was reached")


def _fault(report: Report) -> str | None:
    return None if report.healthy else report.reason


class _Assigned(NamedTuple):
    """All who were assigned: their rows, their decisions, when each row's unit was assigned first,
    and how long each counts."""

    units: pd.DataFrame
    decisions: pd.DataFrame
    first: "pd.Series[pd.Timestamp]"
    follow_up: pd.Timedelta


class _Known(NamedTuple):
    """What is judged as of an instant, and what the rest of a report is told from."""

    report: Report
    units: pd.DataFrame
    rows: LakeUnits
    decisions: pd.DataFrame
    window: _Window
    looks: Plan


def _as_of(
    lake: Lake,
    design: Experiment,
    people: _Assigned,
    until: datetime,
    look: Look | None,
    ended: bool,
    judged: bool,
    contact_costs: Mapping[str, float],
) -> _Known:
    """Return what was known at an instant, without a verdict."""
    units, first, follow_up = people.units, people.first, people.follow_up
    # Without a judgement whoever was assigned is in, at whatever instant.
    inside = first < until if judged else first.notna()
    if design.window_days is not None:
        inside = first + follow_up <= until
    if not inside.any():
        raise NothingToDo(
            f"experiment {design.key!r} counts {design.window_days} days of each "
            f"{design.unit}, and nobody's are over; report again on "
            f"{(first + follow_up).min():%Y-%m-%d}"
        )
    waiting = int((~inside[~units.duplicated(["unit_id", "variant"])]).sum())
    window = _Window(
        until,
        until if design.window_days is None else (first + follow_up)[inside],
        0 if judged else waiting,
        contact_costs,
    )
    return _judged(lake, design, units[inside], people.decisions, window, look, ended)


def _judged(
    lake: Lake,
    design: Experiment,
    units: pd.DataFrame,
    decisions: pd.DataFrame,
    window: _Window,
    look: Look | None,
    ended: bool,
) -> _Known:
    until = window.until
    firsts = units.groupby(["unit_id", "variant"], as_index=False).agg(since=("since", "min"))
    check_assigned(design, firsts)
    asked = planned_metrics(design)
    metrics = {name: one.metric for name, one in asked.items()}
    needed = dict.fromkeys(column.name for one in metrics.values() for column in columns(one))
    strata = strata_of(lake, design, firsts)
    table = unit_columns(lake, units, window.ends, needed, window.contact_costs, until)
    rows = LakeUnits(lake, strata.joined(lake, table))
    exposed = exposures(lake, design, units, until)
    events = event_faults(lake, units, decisions, until)
    faults, warnings = contamination_faults(design, exposed)
    planned = {one.name: one.weight for one in design.variants}
    sequence = sample_ratio_sequence(firsts, planned, SAMPLE_RATIO_ALARM)
    report = analyse(
        design,
        rows,
        metrics,
        look=look,
        ended=ended,
        money=[name for name in metrics if titled(name).money],
        faults=[*_alarm(sequence), *faults],
        warnings=[
            *_counted(design, window),
            *_unjudged(design, firsts, ended),
            *strata.told,
            *_selected(metrics),
            *warnings,
            *events.warnings(),
        ],
        caps={name: one.cap for name, one in asked.items() if one.cap is not None},
        missing=missing_data(lake, metrics),
        stratum=None if strata.rows is None else STRATUM,
    )
    report = msgspec.structs.replace(
        report, sequence=sequence, contamination=exposed, event_faults=events
    )
    if not report.sample_ratio.holds or sequence.alarm_unit is not None:
        report = _located(lake, design, report, decisions, until)
    looks = planned_looks(design, look, ended)
    return _Known(report, units, rows, decisions, window, looks)


def planned_metrics(design: Experiment) -> dict[str, Measured]:
    """Return the metrics of a plan by name, the one that decides first, and the usual ones.

    Raises:
        InvalidMetric: The plan names one that nobody knows.
    """
    return {name: measured(name, design.unit) for name in (*design.planned_metrics, *USUAL)}


def _selected(metrics: Mapping[str, Metric]) -> list[str]:
    """Say which metrics compare customers that the variants may have chosen."""
    return [
        f"{name} is of {SELECTED[name]}, which a variant may change as well: it tells no cause by "
        "itself"
        for name in metrics
        if name in SELECTED
    ]


def _counted(design: Experiment, window: _Window) -> list[str]:
    """Say over which days each unit counts, where the plan says so."""
    if design.window_days is None:
        return []
    told = f"each {design.unit} counts for {design.window_days} days from its first decision"
    if window.waiting:
        told += f"; {window.waiting:,} {design.unit}s whose days are not over are left out"
    return [told]


def _unjudged(design: Experiment, firsts: pd.DataFrame, ended: bool) -> list[str]:
    """Say when a plan that judges once will."""
    if ended or design.method != "welch":
        return []
    stop, rest = design.stop, "until then intervals stay right at every look, and there is no p"
    if stop is None:
        return [f"the plan judges once and names no end, so nothing is judged: {rest}"]
    ends: list[str] = []
    if stop.days is not None:
        days = stop.days + (design.window_days or 0)
        ends.append(f"on {firsts['since'].min() + pd.Timedelta(days=days):%Y-%m-%d}")
    if stop.units is not None:
        ends.append(f"at {stop.units:,} {design.unit}s")
    return [f"it is judged {' or '.join(ends)}: {rest}"]


def _alarm(sequence: SampleRatioSequence) -> list[str]:
    if sequence.alarm_unit is None or sequence.alarm_at is None:
        return []
    return [
        f"sample ratio broken since unit {sequence.alarm_unit:,} on {sequence.alarm_at:%Y-%m-%d} "
        f"(p {sequence.p:.2g} over all looks)"
    ]


def _located(
    lake: Lake, design: Experiment, report: Report, decisions: pd.DataFrame, until: datetime
) -> Report:
    """Say where a broken split sits, by channel, store and day of each unit's first decision."""
    seen = decisions[pd.to_datetime(decisions["at"], utc=True) < until].sort_values("at")
    places = seen.drop_duplicates(["unit_id", "variant"])
    places = places.assign(
        day=pd.to_datetime(places["at"], utc=True).dt.strftime("%Y-%m-%d"),
        store=places["decision_id"].map(_stores(lake, design)),
    )
    asked = (("channel", "store", "day"), report.sample_ratio.planned)
    found = msgspec.structs.replace(report, places=split_places(places, *asked)[:MOST_PLACES])
    sits = where_it_sits(places, *asked)
    if sits is None:
        return found
    return msgspec.structs.replace(found, reason=f"{report.reason}; {sits}")


def _stores(lake: Lake, design: Experiment) -> dict[str, str]:
    """Return in which store each decision was asked for, of those that were asked for in one."""
    decisions = lake.table("decisions")
    named = decisions.filter(decisions.experiments.contains(json.dumps(design.key)))
    rows = lake.fetch(named.select("decision_id", "record")).to_pylist()
    context = {row["decision_id"]: json.loads(row["record"]).get("context") for row in rows}
    return {
        decision_id: told["store_id"]
        for decision_id, told in context.items()
        if told and told.get("store_id")
    }


def _told(lake: Lake, design: Experiment, known: _Known, more: More | None) -> Report:
    """Return the report with the effects over time, by week and by segment, if it is healthy."""
    report, units, rows, decisions, window, looks = known
    if not report.healthy:
        return report
    keys = ["unit_id", "variant"]
    table = rows.frame
    firsts = units.groupby(keys, as_index=False).agg(since=("since", "min"))
    firsts = firsts.merge(table, on=keys)
    decides = measured(design.primary_metric, design.unit)
    primary = decides.metric
    cap = design.outlier_cap if decides.cap is None else decides.cap
    treatments = [one.name for one in design.variants if one.name != design.control]
    until, costs = window.until, window.contact_costs
    moving = [column.name for column in columns(primary)]
    daily = daily_changes(lake, units, window.ends, moving, costs, until)
    # Weeks beyond a window still say whether the effect lasts.
    weekly = margin_by(lake, units, until, "week", costs)
    entered = firsts["since"] + pd.Timedelta(days=design.window_days or 0)
    entering = firsts.assign(since=entered)
    before = _segments(lake, design, units)
    groups = before if more is None else _with_bins(lake, design, units, before, more)
    return msgspec.structs.replace(
        report,
        over_time=over_time(
            design.primary_metric,
            primary,
            entering,
            daily,
            until,
            design.control,
            treatments,
            sequence_units(design),
            cap,
            report.confidence,
            STRATUM if STRATUM in table.columns else None,
        ),
        novelty=novelty(
            TOLD,
            firsts,
            weekly,
            until,
            design.control,
            treatments,
            report.confidence,
            Always(sequence_units(design)) if isinstance(looks, AtLook) else looks,
        ),
        who_gained=_gained(design, report, table, groups, treatments, looks),
        offer_table=_offers(design, report, table, before, decisions, looks),
        by_offer=None
        if more is None
        else offers_by_chance(
            lake,
            design,
            TOLD,
            *_told_segments(design, before),
            decisions,
            looks,
            pd.Timestamp(until),
            more.time_zone,
            report.confidence,
        ),
    )


def _segments(lake: Lake, design: Experiment, units: pd.DataFrame) -> SegmentsBefore:
    if design.unit != "customer":
        return SegmentsBefore(
            rows=pd.DataFrame(columns=["customer_id", "segmentation", "segment"]),
            as_of=None,
            refused=f"segments are of customers, and this experiment assigns {design.unit}s",
        )
    return segments_before(lake, design.segments, units["since"].min())


def _capped(design: Experiment, table: pd.DataFrame, name: str) -> Metric:
    """Return a metric capped as everywhere in the report."""
    asked = measured(name, design.unit)
    level = design.outlier_cap if asked.cap is None else asked.cap
    return capped(level, UnitFrame(table), asked.metric)


def _gained(
    design: Experiment,
    report: Report,
    table: pd.DataFrame,
    before: SegmentsBefore,
    treatments: list[str],
    looks: Plan,
) -> WhoGained:
    primary = design.primary_metric
    return who_gained(
        primary,
        _capped(design, table, primary),
        table,
        before.rows.rename(columns={"customer_id": "unit_id"}),
        design.segments,
        design.control,
        treatments,
        looks,
        report.confidence,
        before.as_of,
        before.refused,
    )


def _told_segments(design: Experiment, before: SegmentsBefore) -> tuple[str, pd.DataFrame]:
    """Return the segmentation of the tables of offers, and its rows."""
    planned = [one for one in design.segments if one in set(before.rows["segmentation"])]
    segmentation = next(iter(planned), USUAL_SEGMENTATION)
    return segmentation, before.rows[before.rows["segmentation"] == segmentation]


def _with_bins(
    lake: Lake, design: Experiment, units: pd.DataFrame, before: SegmentsBefore, more: More
) -> SegmentsBefore:
    if design.unit != "customer" or more.uplift is None:
        return before
    bins = uplift_bins(lake, more.uplift, design, units["since"].min())
    refused = "; ".join(one for one in (before.refused, bins.refused) if one)
    return SegmentsBefore(pd.concat([before.rows, bins.rows]), before.as_of, refused or None)


def _offers(
    design: Experiment,
    report: Report,
    table: pd.DataFrame,
    before: SegmentsBefore,
    decisions: pd.DataFrame,
    looks: Plan,
) -> OfferTable:
    segmentation, of = _told_segments(design, before)
    if of.empty:
        return OfferTable(TOLD, segmentation, refused=before.refused or "nobody was in a segment")
    asked = decisions.sort_values("at").drop_duplicates(["unit_id", "variant"])
    units = table.merge(asked[["unit_id", "variant", "channel"]], on=["unit_id", "variant"])
    units = units.merge(
        of[["customer_id", "segment"]], left_on="unit_id", right_on="customer_id", how="left"
    )
    return offer_table(
        TOLD,
        _capped(design, table, TOLD),
        units,
        segmentation,
        {v.name: v.offers or [] for v in design.variants if v.name != design.control},
        design.control,
        looks,
        report.confidence,
    )
