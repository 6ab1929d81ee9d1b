"""`regulars experiment power`: how long must an experiment run, and what could it see?"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from foundation.errors import RegularsError
from regulars.commands.house import open_house, real_shoppers
from regulars.commands.options import Json, shares
from regulars.commands.telling import out, print_json, say

if TYPE_CHECKING:
    from experiments.duration import Foresight
    from foundation.lake import Lake

PICTURES = (".png", ".svg", ".pdf")


def experiment_power(
    metric: Annotated[
        str,
        typer.Option("--metric", help="As a plan names it: margin, basket, spend:winsorised99."),
    ] = "margin",
    denominator: Annotated[
        str | None, typer.Option("--denominator", help="Column that a ratio divides by.")
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option("--effect", help="Change a unit, like 0.25; money as decimals."),
    ] = None,
    relative: Annotated[
        float | None, typer.Option("--relative", help="The same as a share, like 0.05.")
    ] = None,
    weeks: Annotated[int, typer.Option("--weeks", min=1, help="Longest duration.")] = 8,
    audience: Annotated[
        str | None, typer.Option("--audience", help="Living segment, or YAML file of a rule.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="welch, sequential, obrien-fleming or pocock.")
    ] = "welch",
    looks: Annotated[int, typer.Option("--looks", min=1, help="Of obrien-fleming and pocock.")] = 4,
    weights: Annotated[
        str, typer.Option("--weights", help="Planned shares, the control first.")
    ] = "control=.5,treatment=.5",
    unit: Annotated[
        str, typer.Option("--unit", help="What is assigned: customer, household or store.")
    ] = "customer",
    power: Annotated[float, typer.Option("--power", help="Wanted chance to see it.")] = 0.8,
    picture: Annotated[
        Path | None, typer.Option("--out", help="Draw it into FILE.png, .svg or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say from the lake's own history which effect an experiment of so many weeks could see."""
    import msgspec

    from experiments.design import Unit
    from experiments.duration import Arms, foresight_sentence
    from experiments.metric_titles import titled
    from experiments.plan import METHODS, Method
    from foundation.money import MINOR_PER_MAJOR
    from regulars.assumptions import statements
    from regulars.jobs.membership import held_by
    from regulars.jobs.power import Wanted, experiment_power, history_window

    if picture is not None and picture.suffix not in PICTURES:
        raise RegularsError(f"--out {picture}: a picture ends in {', '.join(PICTURES)}")
    house = open_house()
    lake, now = real_shoppers(house), house.clock.now()
    in_money = titled(metric.partition(":")[0]).money
    wanted = Wanted(
        metric=metric,
        denominator=denominator,
        effect=effect * MINOR_PER_MAJOR if effect is not None and in_money else effect,
        relative=relative,
        weeks=weeks,
        method=msgspec.convert(_one_of("--method", method, METHODS), Method),
        looks=looks,
        unit=msgspec.convert(_one_of("--unit", unit, get_args(Unit)), Unit),
        arms=Arms(shares(weights)),
        power=power,
    )
    members = None
    if audience is not None:
        rule = _rule(lake, audience)
        starts, _ = history_window(lake, weeks, now)
        members = held_by(lake, house.settings, rule, starts)
    found = experiment_power(lake, wanted, now, members)
    show = house.settings.currency.show if in_money else _number
    if picture is not None:
        from experiments.pictures import foresight_picture

        foresight_picture(found, show).savefig(picture)
    if as_json:
        answer = {**msgspec.to_builtins(found), "sentence": foresight_sentence(found, show)}
        print_json({**answer, "assumptions": statements(lake)})
        return
    _tell(found, show)
    for statement in statements(lake):
        say(f"assumed: {statement}")


def _one_of(option: str, word: str, words: Sequence[str]) -> str:
    if word not in words:
        raise RegularsError(f"{option} {word!r} is unknown; choose {', '.join(words)}")
    return word


def _rule(lake: "Lake", audience: str) -> Any:
    """Return the rule that a living segment's name or a YAML file stands for."""
    from adapters.source_files import read_yaml
    from regulars.jobs.living_segments import active

    living = active(lake)
    if audience in living:
        return {"segment": audience}
    if not Path(audience).suffix:
        known = ", ".join(sorted(living)) or "none yet"
        raise RegularsError(
            f"--audience {audience!r} is no living segment (active are: {known}) and no YAML file; "
            "name one of either"
        )
    document = read_yaml(Path(audience), "audience")
    # A saved segment's file holds its rule beside its name.
    return document.get("rule", document) if isinstance(document, dict) else document


def _tell(found: "Foresight", show: Callable[[float], str]) -> None:
    from rich.table import Table

    from experiments.duration import foresight_sentence

    asked = found.effect is not None or found.relative is not None
    heads = ["weeks", f"{found.unit}s", found.metric, "CUPED r", "smallest seen", "relative"]
    table = Table(*heads, *(["power"] if asked else []))
    for one in found.durations:
        cells = [str(one.weeks), f"{one.units:,}", show(one.mean), f"{one.correlation:.2f}"]
        least, share = one.minimum_effect, one.minimum_relative
        cells += ["-", "-"] if least is None or share is None else [show(least), f"{share:.1%}"]
        if asked:
            cells.append("-" if one.power is None else f"{one.power:.0%}")
        table.add_row(*cells)
    out.print(table)
    sentence = foresight_sentence(found, show)
    say(f"{sentence[:1].upper()}{sentence[1:]}.")
    if found.method == "sequential":
        longest = found.durations[-1]
        say(f"Tune the plan for it: stop: {{days: {longest.weeks * 7}, units: {longest.units}}}.")
    if found.alike is not None and found.members is not None:
        say(
            f"Customers of a {found.unit} are alike (intraclass correlation {found.alike:.2f}, "
            f"{found.members:.1f} customers each); the figures count it."
        )


def _number(amount: float) -> str:
    return f"{amount:,.4g}"
