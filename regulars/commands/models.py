"""What models are registered, which one serves, and the card of each."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from foundation.model_life import Version
from regulars.commands.house import open_house, real_shoppers
from regulars.commands.options import Json
from regulars.commands.telling import out, print_json, say


def models(
    name: Annotated[
        str | None, typer.Argument(help="One version's card, e.g. response@7; all by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List registered models with their held-out figures, or show one model's card."""
    from regulars.jobs.model_kinds import KINDS
    from regulars.jobs.shadow import shadowed

    house = open_house()
    if name is not None:
        _show_card(house, name, as_json)
        return
    found = [version for model in KINDS for version in house.life.versions(model)]
    reigns = {model: house.life.reigns(model) for model in KINDS}
    shadows = (
        shadowed(house, real_shoppers(house))
        if any("shadow" in version.aliases for version in found)
        else []
    )
    if as_json:
        listed = [
            {
                **asdict(version),
                "name": version.name,
                "held_out": _figure(version, KINDS[version.model].figure),
                "calibration": _figure(version, KINDS[version.model].calibration),
            }
            for version in found
        ]
        history = {model: [asdict(r) for r in log] for model, log in reigns.items()}
        print_json(
            {
                "models": listed,
                "champions": history,
                "shadows": [asdict(shadow) for shadow in shadows],
            }
        )
        return
    if not found:
        say("no model is registered; run 'regulars train response'")
        return
    table = Table("model", "is", "kind", "trained", "held-out figure", "calibration")
    for version in found:
        kind = KINDS[version.model]
        table.add_row(
            version.name,
            ", ".join(version.aliases),
            version.kind,
            f"{version.trained_at.astimezone(house.settings.zone):%Y-%m-%d %H:%M}",
            _told(kind.figure, _figure(version, kind.figure)),
            _told(kind.calibration, _figure(version, kind.calibration)),
        )
    out.print(table)
    for model, log in reigns.items():
        for reign in log:
            since = reign.since.astimezone(house.settings.zone)
            over = f", over: {'; '.join(reign.overridden)}" if reign.overridden else ""
            say(
                f"champion since {since:%Y-%m-%d %H:%M}: {model}@{reign.version}, {reign.way}{over}"
            )
    for shadow in shadows:
        for line in shadow.told():
            say(line)


def _show_card(house: Any, name: str, as_json: bool) -> None:
    from regulars.jobs.model_kinds import version_of

    version = version_of(house, name)
    card = house.life.card(version)
    if as_json:
        print_json({"model": version.name, "card": card})
        return
    say(card or f"{version.name} was registered without a card; train again for one")


def _figure(version: Version, name: str) -> dict[str, float | None]:
    return {
        end: version.metrics.get(name + suffix)
        for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
    }


def _told(name: str, figure: dict[str, float | None]) -> str:
    if None in figure.values():
        return "not told"
    value, low, high = figure["value"], figure["low"], figure["high"]
    return f"{name.replace('_', ' ')} {value:.3f} [{low:.3f}, {high:.3f}]"
