"""Promote and roll back: which version of a model serves from now on."""

from dataclasses import dataclass

from foundation.errors import RegularsError
from foundation.model_life import Judgement, Version, line_of_champions
from regulars.jobs.model_kinds import kind_of
from regulars.jobs.promotion_value import judge_value
from regulars.progress import Progress
from regulars.wiring import House

GATE_RECORD = "gate.json"


class PromotionRefused(RegularsError):
    """A challenger did not pass its gate."""


@dataclass(frozen=True)
class Promotion:
    """Who is the champion now, what the gate found, and what was overridden."""

    champion: Version
    judgement: Judgement
    overridden: tuple[str, ...]


def promote(house: House, model: str, progress: Progress, *, force: bool = False) -> Promotion:
    """Make the challenger the champion, if it passes its model's gate.

    Beside the gate stands what a policy would have earned by it; only a sure loss is a fault. What
    was found is kept beside the challenger, whether it passed or not.

    Args:
        force: Promote also one that does not pass; what was overridden is logged with its reign.

    Raises:
        PromotionRefused: It does not pass; every fault is named with its figure.
        RegularsError: There is no such model, or it has no challenger.
    """
    kind = kind_of(model)
    challenger = house.life.named(model, "challenger")
    if challenger is None:
        raise RegularsError(f"model {model!r} has no challenger; run 'regulars train {model}'")
    found = kind.gate(house, challenger, progress).beside(judge_value(house, challenger, progress))
    record = {"faults": list(found.faults), "forced": force and bool(found.faults)}
    house.life.keep(challenger, GATE_RECORD, record | dict(found.record))
    if found.faults and not force:
        raise PromotionRefused(
            f"model {challenger.name!r} is not promoted: {'; '.join(found.faults)}; keep the "
            "champion, or promote with --force"
        )
    overridden = found.faults
    house.life.crown(challenger, "forced" if overridden else "promoted", overridden)
    return Promotion(challenger, found, overridden)


def rollback(house: House, model: str) -> tuple[Version, Version]:
    """Bring the champion before this one back.

    Again it goes back one more, to the champion before that.

    Returns:
        The champion now, and the one that was taken back.

    Raises:
        RegularsError: There is no such model or champion, none before it, or that one could not
            serve today.
    """
    kind, life = kind_of(model), house.life
    champion = life.named(model, "champion")
    if champion is None:
        raise RegularsError(f"model {model!r} has no champion; run 'regulars train {model}'")
    line = line_of_champions(life.reigns(model))
    if len(line) < 2:
        raise RegularsError(
            f"model {champion.name!r} has no champion before it to go back to; run 'regulars train "
            f"{model}' for a new one"
        )
    before = life.version(model, line[-2])
    if before is None:
        raise RegularsError(
            f"model '{model}@{line[-2]}', the champion before, is no longer registered; run "
            f"'regulars train {model}' for a new one"
        )
    if kind.definitions is not None:
        today, theirs = kind.definitions(house.lake), before.tags["feature_hash"]
        if theirs != today:
            raise RegularsError(
                f"model {before.name!r}, the champion before, was trained on features {theirs}, "
                f"today's are {today}: it could not serve; go back to the release it was trained "
                f"with, or run 'regulars train {model}'"
            )
    life.crown(before, "rolled back")
    return before, champion
