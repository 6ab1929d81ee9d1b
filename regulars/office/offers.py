"""Offers, as marketers' programs read and write them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapters.postgres_admin import PostgresAdmin
from foundation.contracts.tables import OFFERS
from foundation.lake import Lake
from foundation.money import MINOR_PER_MAJOR, InvalidAmount, to_minor
from foundation.replay import digest
from foundation.rules import InvalidRule
from regulars.jobs.offers import put_offer, rule_waits, withdraw_offer
from regulars.jobs.rule_names import strangers, unknown
from regulars.office.changes import changed, check_seen
from regulars.office.room import Room
from segmentation.living import InvalidSegment
from serving.errors import InvalidField
from serving.office.asking import Asked, Told
from serving.office.offer_messages import (
    NewOffer,
    OfferList,
    OfferTerms,
    ShownOffer,
    WithdrawnOffer,
    WrittenOffer,
)
from serving.problems import Problem

MONEY = tuple(column.name for column in OFFERS.columns if column.kind == "money")
# Of these kinds the reward is money too.
MONEY_REWARDS = ("amount", "fixed_price")
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# A mistake of a whole import is told by its first few.
MOST_WARNINGS = 20


class Offers:
    """The operations of /v1/offers."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def page(self, asked: Asked[None]) -> Told:
        """Return some of the live catalogue's offers."""
        limit = asked.page.limit
        found = self._room.admin.offers.page(asked.page.after, limit + 1)
        shown = [_shown(one) for one in found[:limit]]
        return Told(OfferList(shown, shown[-1].offer_id if len(found) > limit else None))

    def one(self, asked: Asked[None]) -> Told:
        """Return an offer of the live catalogue."""
        shown = _shown(_required(self._room.admin, asked.subject))
        return Told(shown, shown.version)

    def add(self, asked: Asked[NewOffer]) -> Told:
        """Write an offer that there is not yet."""
        offer_id = asked.body.offer_id
        row = _row(offer_id, asked.body)

        def change(admin: PostgresAdmin) -> Told:
            if admin.offers.one(offer_id) is not None:
                raise Problem(
                    409,
                    "offer_exists",
                    f"offer {offer_id!r} is there already; change it with PUT "
                    f"/v1/offers/{offer_id}, or choose another id",
                    "offer_id",
                )
            return self._written(admin, row, 201)

        return changed(self._room.admin, asked, change)

    def put(self, asked: Asked[OfferTerms]) -> Told:
        """Write an offer whole."""
        row = _row(asked.subject, asked.body)

        def change(admin: PostgresAdmin) -> Told:
            check_seen(asked, _version(admin, asked.subject), f"offer {asked.subject!r}")
            return self._written(admin, row, 200)

        return changed(self._room.admin, asked, change)

    def withdraw(self, asked: Asked[None]) -> Told:
        """Take an offer out of the catalogue."""
        offer_id = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            _required(admin, offer_id)
            check_seen(asked, _version(admin, offer_id), f"offer {offer_id!r}")
            for one in admin.experiments():
                named = {name for v in one.design.variants for name in v.offers or ()}
                if one.stopped_at is None and offer_id in named:
                    raise Problem(
                        409,
                        "offer_in_experiment",
                        f"offer {offer_id!r} is shown by experiment {one.design.key!r}, which "
                        "runs; stop that first",
                        "offer_id",
                    )
            lake = self._room.lake()
            reserved = withdraw_offer(lake, admin.offers, offer_id, self._room.clock.now())
            return Told(WithdrawnOffer(offer_id, reserved))

        return changed(self._room.admin, asked, change)

    def _written(self, admin: PostgresAdmin, row: dict[str, Any], status: int) -> Told:
        lake, rule = self._room.lake(), row["eligibility"]
        waits = None
        if rule is not None:
            try:
                waits = rule_waits(rule, lake, self._room.vocabulary())
            except (InvalidRule, InvalidSegment) as error:
                raise _of_rule(row["offer_id"], error) from error
        found = put_offer(lake, admin.offers, row, self._room.clock.now())
        written = WrittenOffer(
            offer_id=row["offer_id"],
            version=digest(found).hex(),
            terms=_terms(found),
            waits=waits,
            warnings=list(_warnings(lake, row))[:MOST_WARNINGS],
        )
        return Told(written, written.version, status)


def _required(admin: PostgresAdmin, offer_id: str) -> dict[str, Any]:
    found = admin.offers.one(offer_id)
    if found is None:
        detail = f"offer {offer_id!r} is not in the catalogue; GET /v1/offers lists what is"
        raise Problem(404, "unknown_offer", detail, "offer_id")
    return found


def _version(admin: PostgresAdmin, offer_id: str) -> str | None:
    found = admin.offers.one(offer_id)
    return None if found is None else digest(found).hex()


def _shown(document: dict[str, Any]) -> ShownOffer:
    return ShownOffer(
        offer_id=document["offer_id"], version=digest(document).hex(), terms=_terms(document)
    )


def _row(offer_id: str, terms: OfferTerms) -> dict[str, Any]:
    """Return terms as a row of the offers contract, money in minor units."""
    row: dict[str, Any] = {**msgspec.structs.asdict(terms), "offer_id": offer_id}
    money = [*MONEY, "reward"] if terms.kind in MONEY_REWARDS else MONEY
    for name in money:
        if row[name] is not None:
            try:
                row[name] = to_minor(row[name])
            except InvalidAmount as error:
                raise InvalidField(f"offer {offer_id!r}: {name}: {error}", name) from error
    row["reward"] = float(row["reward"])
    for name in ("valid_from", "valid_to"):
        if not EARLIEST <= row[name] < LATEST:
            raise InvalidField(
                f"offer {offer_id!r}: {name} {row[name].isoformat()} does not lie between 1970 "
                "and 2200; check its year",
                name,
            )
        row[name] = row[name].astimezone(UTC)
    if row["valid_from"] >= row["valid_to"]:
        raise InvalidField(
            f"offer {offer_id!r}: valid_to {terms.valid_to.isoformat()} is not after valid_from "
            f"{terms.valid_from.isoformat()}; it is the first instant at which the offer is over",
            "valid_to",
        )
    return row


def _terms(document: dict[str, Any]) -> OfferTerms:
    """Return an offer of the catalogue as terms that can be sent back."""
    told: dict[str, Any] = {name: document.get(name) for name in OfferTerms.__struct_fields__}
    money = [*MONEY, "reward"] if told["kind"] in MONEY_REWARDS else MONEY
    for name in money:
        if told[name] is not None:
            told[name] = told[name] / MINOR_PER_MAJOR
    for name in ("valid_from", "valid_to"):
        told[name] = datetime.fromisoformat(document[name])
    return OfferTerms(**told)


def _of_rule(offer_id: str, error: Exception) -> InvalidField:
    """Return what is wrong with a rule under the name that it has in an offer."""
    said = str(error)
    path = said.partition(": ")[0] if isinstance(error, InvalidRule) else "rule"
    field = "eligibility" + path.removeprefix("rule")
    return InvalidField(f"offer {offer_id!r}: eligibility: {said}", field)


def _warnings(lake: Lake, row: dict[str, Any]) -> Iterable[str]:
    for field, name in (("product", "scope"), ("store", "stores")):
        yield from unknown(lake, field, row[name])
    if row["eligibility"] is not None:
        yield from strangers(lake, row["eligibility"])
