"""Policies, as marketers' programs read and write them."""

from typing import Any

import msgspec

from adapters.postgres_admin import PostgresAdmin
from foundation.decision import DEFAULT_POLICY, POLICY_WORDS, Policy
from foundation.replay import digest
from regulars.jobs.ranking_models import without_model
from regulars.office.changes import changed, check_seen
from regulars.office.room import Room
from serving.errors import InvalidField
from serving.office.asking import Asked, Told
from serving.office.policy_messages import (
    NewPolicy,
    PolicyList,
    PolicyName,
    PolicyPart,
    PolicyTerms,
    RemovedPolicy,
    ShownPolicy,
)
from serving.problems import Problem


class Policies:
    """The operations of /v1/policies: the default one, and those that variants may name."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def page(self, asked: Asked[None]) -> Told:
        """Return some policies, the default one among them."""
        found = {DEFAULT_POLICY: None, **self._room.admin.policies.all()}
        names, after = asked.page.of(found)
        return Told(PolicyList([self._shown(name, found[name]) for name in names], after))

    def one(self, asked: Asked[None]) -> Told:
        """Return a policy."""
        shown = self._required(self._room.admin, asked.subject)
        return Told(self._noted(self._room.admin, shown), shown.version)

    def add(self, asked: Asked[NewPolicy]) -> Told:
        """Keep a policy under a name that is free."""
        name = asked.body.name

        def change(admin: PostgresAdmin) -> Told:
            if name == DEFAULT_POLICY or admin.policies.one(name) is not None:
                raise Problem(
                    409,
                    "policy_exists",
                    f"policy {name!r} is there already; change it with PUT /v1/policies/{name}, "
                    "or choose another name",
                    "name",
                )
            return self._kept(admin, name, asked.body, 201)

        return changed(self._room.admin, asked, change)

    def put(self, asked: Asked[PolicyTerms]) -> Told:
        """Keep a policy under a name, in the place of what there is."""
        name = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            stored = admin.policies.one(name)
            there = stored is not None or name == DEFAULT_POLICY
            seen = self._shown(name, stored).version if there else None
            check_seen(asked, seen, f"policy {name!r}")
            return self._kept(admin, name, asked.body, 200)

        return changed(self._room.admin, asked, change)

    def remove(self, asked: Asked[None]) -> Told:
        """Forget a policy; the default is that of the settings again."""
        name = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            shown = self._required(admin, name)
            check_seen(asked, shown.version, f"policy {name!r}")
            if not shown.stored:
                raise Problem(
                    409,
                    "policy_of_settings",
                    f"policy {name!r} is that of the settings (REGULARS_POLICY, "
                    "REGULARS_EXPLORATION); change it there, or write another one with PUT",
                    "name",
                )
            for key, plan in admin.drafts.all().items():
                if any(variant.get("policy") == name for variant in plan["variants"]):
                    raise Problem(
                        409,
                        "policy_in_use",
                        f"policy {name!r} is named by the draft of experiment {key!r}; change "
                        "that first",
                        "name",
                    )
            admin.policies.remove(name, self._room.clock.now())
            return Told(RemovedPolicy(name))

        return changed(self._room.admin, asked, change)

    def _kept(self, admin: PostgresAdmin, name: str, terms: PolicyPart, status: int) -> Told:
        policy = _policy(name, terms)
        document = msgspec.to_builtins(policy)
        if admin.policies.one(name) != document:
            admin.policies.put(name, document, self._room.clock.now())
        shown = self._noted(admin, self._shown(name, document))
        without = without_model(self._room.house, policy) if name == DEFAULT_POLICY else None
        if without is not None:
            shown = msgspec.structs.replace(shown, notes=[*shown.notes, without])
        return Told(shown, shown.version, status)

    def _required(self, admin: PostgresAdmin, name: str) -> ShownPolicy:
        stored = admin.policies.one(name)
        if stored is None and name != DEFAULT_POLICY:
            detail = f"policy {name!r} is not kept; GET /v1/policies lists those that are"
            raise Problem(404, "unknown_policy", detail, "name")
        return self._shown(name, stored)

    def _shown(self, name: str, stored: Any | None) -> ShownPolicy:
        written = msgspec.to_builtins(self._room.house.policy()) if stored is None else stored
        version = digest([written, stored is None]).hex()
        return ShownPolicy(name, version, _terms(written), stored is not None)

    def _noted(self, admin: PostgresAdmin, shown: ShownPolicy) -> ShownPolicy:
        """Return a policy with the experiments whose variants decide by it."""
        if shown.name != DEFAULT_POLICY:
            return shown
        notes = [
            f"variants of experiment {one.design.key!r}, which runs, decide by this policy or its "
            "exploration: a change of it is one of theirs"
            for one in admin.experiments()
            if one.stopped_at is None
            and any(not isinstance(v.policy, Policy) for v in one.design.variants)
        ]
        return msgspec.structs.replace(shown, notes=notes)


def _policy(name: str, terms: PolicyPart) -> Policy:
    """Return terms as a policy that can be served under a name."""
    try:
        msgspec.convert(name, PolicyName)
    except msgspec.ValidationError as error:
        line = f"policy {name!r}: {error}; write it like winter-rules"
        raise InvalidField(line, "name") from error
    if name in POLICY_WORDS:
        line = f"policy {name!r} is a word of its own; choose another name"
        raise InvalidField(line, "name")
    document = msgspec.to_builtins(terms)
    try:
        policy = msgspec.convert({k: v for k, v in document.items() if k != "name"}, Policy)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".") or "kind"
        raise InvalidField(f"policy {name!r}: {said}", field) from error
    if name == DEFAULT_POLICY and policy.exploration == 0:
        raise InvalidField(
            "policy 'default': exploration 0 would leave nothing to learn from, here and in the "
            "variants that name a policy by its word; give it a share above 0, such as 0.1",
            "exploration",
        )
    return policy


def _terms(document: dict[str, Any]) -> PolicyTerms:
    return msgspec.convert(document, PolicyTerms)
