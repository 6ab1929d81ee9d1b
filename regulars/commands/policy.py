"""What a policy would have earned on the decisions that were logged, and what they teach."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foundation.errors import RegularsError
from regulars.commands.house import open_house, real_shoppers
from regulars.commands.options import Json, known
from regulars.commands.telling import print_json, say

policy = typer.Typer(
    help="What another policy would have earned; learn one from decisions.", no_args_is_help=True
)
MODELS = ("response", "uplift")
REWARDS = ("response", "money")
OTHERS = ("popular", "rule", "random")


@policy.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """What another policy would have earned; learn one from decisions."""


@policy.command()
def value(
    kind: Annotated[
        str, typer.Option("--policy", help=f"One of {', '.join((*MODELS, *OTHERS))}.")
    ] = "response",
    placement: Annotated[
        str | None, typer.Option(help="Of this placement; of all by default.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Rank by this version, e.g. response@7; by the challenger by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell the off-policy value of a policy, by a model beside the champion's."""
    from regulars.jobs.model_kinds import version_of
    from regulars.jobs.off_policy import placements_decided, policy_value
    from regulars.jobs.promotion_value import contests, told, told_alone
    from regulars.jobs.simulated import no_decision
    from regulars.jobs.train import told_until
    from serving.decide import named_policy

    known(kind, *MODELS, *OTHERS)
    house = open_house()
    lake, currency = real_shoppers(house).pinned(), house.settings.currency
    until = told_until(lake) or house.clock.now()
    placements = placements_decided(lake) if placement is None else [placement]
    if not placements:
        raise RegularsError(no_decision(lake))
    if kind in OTHERS:
        if model is not None:
            raise RegularsError(f"policy {kind!r} ranks by no model; leave --model out")
        target = named_policy(kind, house.settings.exploration)
        values = {name: policy_value(lake, target, name, until) for name in placements}
        lines = [line for name, one in values.items() for line in told_alone(name, one)]
        answer = {"policy": kind, "values": {name: asdict(one) for name, one in values.items()}}
    else:
        champion = house.life.named(kind, "champion")
        if champion is None:
            raise RegularsError(f"model {kind!r} has no champion; run 'regulars train {kind}'")
        challenger = version_of(house, model) if model else house.life.named(kind, "challenger")
        challenger = challenger or champion
        if challenger.model != kind:
            raise RegularsError(f"policy {kind!r} cannot rank by {challenger.name!r}; name another")
        found = contests(house, lake, challenger, champion, placements)
        lines = [f"challenger {challenger.name}, champion {champion.name}"]
        lines += [line for name, one in found.items() for line in told(name, one, currency)]
        answer = {
            "policy": kind,
            "challenger": challenger.name,
            "champion": champion.name,
            "values": {name: asdict(one) for name, one in found.items()},
        }
    if as_json:
        print_json(answer)
        return
    for line in lines:
        say(line)


@policy.command()
def learn(
    out: Annotated[Path, typer.Argument(help="Document to write, e.g. policy.yaml.")],
    placement: Annotated[
        str | None, typer.Option(help="Of this placement; of the busiest by default.")
    ] = None,
    reward: Annotated[str, typer.Option(help=f"One of {', '.join(REWARDS)}.")] = "response",
    exploration: Annotated[
        float | None, typer.Option(help="Share of slates at random; REGULARS_EXPLORATION's if out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn a Thompson policy from own decisions; serve it by REGULARS_POLICY or in a variant."""
    from adapters.policy_file import write_policy
    from regulars.contacts import contacts_of
    from regulars.jobs.learn_policy import learn_policy
    from regulars.jobs.off_policy import placements_decided
    from regulars.jobs.simulated import no_decision
    from regulars.jobs.train import told_until

    if reward not in REWARDS:
        raise RegularsError(f"--reward {reward!r}: choose one of {', '.join(REWARDS)}")
    house = open_house()
    share = house.settings.exploration if exploration is None else exploration
    if not 0 <= share <= 1:
        raise RegularsError(f"--exploration {share}: give a share from 0 to 1")
    lake = real_shoppers(house).pinned()
    placements = placements_decided(lake) if placement is None else [placement]
    if not placements:
        raise RegularsError(no_decision(lake))
    learned = learn_policy(
        lake,
        placements[0],
        told_until(lake) or house.clock.now(),
        reward="money" if reward == "money" else "response",
        exploration=share,
        contacts=contacts_of(house.settings),
    )
    write_policy(learned.policy, out)
    if as_json:
        print_json({"policy": str(out), "placement": placements[0], **asdict(learned)})
        return
    counts = f"{learned.decisions} decisions, {learned.left_out} left out, {learned.censored} open"
    say(f"{out}: thompson policy of {placements[0]}, from {counts}")
    for name, one in learned.beliefs.items():
        told = one.posterior
        say(
            f"  {name}: {told.family} {told.first:.4g}, {told.second:.4g} of {one.decisions} "
            f"decisions (effective customers {one.effective:.0f})"
        )


@policy.command()
def explain(
    decision_id: Annotated[str, typer.Argument(help="A decision that policy uplift ranked.")],
    as_json: Json = False,
) -> None:
    """Tell why offers ranked as they did: response x context x value x lever."""
    from recommender.registry import RESPONSE
    from regulars.jobs.arbitration import arbitration, recorded_decision
    from regulars.jobs.recorded_scores import RecordedScores

    house = open_house()
    lake = house.lake.pinned()
    record = recorded_decision(lake, decision_id)
    described, model = house.models.described("champion"), house.models.load("champion")
    if described is None or model is None:
        raise RegularsError(
            f"model {RESPONSE!r} has no champion, so that nobody knows how probable a response "
            f"was; run 'regulars train {RESPONSE}'"
        )
    name = described.name
    found = arbitration(record, RecordedScores(lake, house.settings).response(name, model))
    if as_json:
        factors = {offer_id: one.record() for offer_id, one in found.items()}
        print_json({"decision_id": decision_id, "response": name, "offers": factors})
        return
    say(f"{record.versions.model} at {record.at:%Y-%m-%d %H:%M} UTC; responses by {name}")
    for offer_id, one in found.items():
        say(f"  {offer_id}: {one.line(house.settings.currency)}")
