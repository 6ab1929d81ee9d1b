"""Dossier: what is known of one customer, her consents, and how she is forgotten."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from foundation.consent import ConsentAnswer
from foundation.money import MINOR_PER_MAJOR
from foundation.profile import Profile, SnapshotFacts
from foundation.replay import Replay
from serving.ahead import Ahead
from serving.customer_messages import (
    ConsentRequest,
    ConsentsAnswer,
    CustomerAnswer,
    CustomerExport,
    ErasedAnswer,
    JourneyStep,
    KnownConsent,
)
from serving.errors import UnknownCustomer
from serving.forgotten import WithoutForgotten
from serving.parts import Parts
from serving.snapshot_export import features_of, snapshot_export

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

# A journey is told from its newest end; the export has all of it.
LONGEST_JOURNEY = 200
# The channel of what a damaged row tells.
UNREADABLE = "unknown"
PENDING = (
    "snapshot: hidden at once, gone with the next 'regulars segment'",
    "lake: rewritten by the next 'regulars segment'",
)


class Dossiers:
    """Reads and changes what is known of one customer."""

    def __init__(self, parts: Parts, profiles: WithoutForgotten, ahead: Ahead) -> None:
        self._parts = parts
        self._ahead = ahead
        self._profiles = profiles

    async def read_forgotten(self) -> None:
        """Take over who is to be unknown from now on."""
        self._profiles.forgotten = await self._parts.customers.erased()

    async def consent(
        self, customer_id: str, asked: ConsentRequest, who: str, replay: Replay | None = None
    ) -> ConsentsAnswer:
        """Keep her answers; every decision that is asked for from now on heeds them.

        Args:
            replay: Names the request; the same one gets the same answer again.

        Raises:
            KeyReused: The name belongs to another request.
        """
        answers = [
            ConsentAnswer(customer_id, channel, granted, None, who, asked.source)
            for channel, granted in asked.consents.items()
        ]
        consents = await self._parts.customers.consent(customer_id, answers, replay)
        return ConsentsAnswer(customer_id, consents)

    async def customer(self, customer_id: str) -> CustomerAnswer:
        """Return what is known of her.

        Raises:
            UnknownCustomer: Nothing is.
        """
        told, lake, found = await self._known(customer_id)
        live = self._profiles.facts()
        profile = None if found is None else found[0]
        return CustomerAnswer(
            customer_id=customer_id,
            snapshot=None if live is None else live.version,
            household_id=None if profile is None else profile.household_id,
            time_zone=None if profile is None else profile.time_zone,
            segments={} if profile is None else profile.segments,
            features={} if found is None else features_of(*found),
            attributes={} if profile is None else dict(profile.attributes),
            consents=[
                KnownConsent(
                    row["channel"],
                    row["granted"],
                    datetime.fromisoformat(row["at"]),
                    row["who"],
                    row["source"],
                )
                for row in told.get("consent_history", ())
            ],
            journey=journey(told, lake)[:LONGEST_JOURNEY],
        )

    async def export(self, customer_id: str) -> CustomerExport:
        """Return all that is known of her, as it is kept.

        Raises:
            UnknownCustomer: Nothing is.
        """
        told, lake, found = await self._known(customer_id)
        return CustomerExport(
            customer_id,
            {table: [dict(row) for row in rows] for table, rows in told.items()},
            {table: [dict(row) for row in rows] for table, rows in lake.items()},
            None if found is None else snapshot_export(*found),
        )

    async def erase(self, customer_id: str, who: str, replay: Replay | None = None) -> ErasedAnswer:
        """Forget her here and now; snapshot and lake follow with the next run. Twice is as once.

        Args:
            who: Who did it, for the audit log.
            replay, Raises: As for `consent`.
        """
        await self._ahead.settle()
        rows = await self._parts.customers.erase(customer_id, who, replay)
        await self.read_forgotten()
        return ErasedAnswer(customer_id, rows, list(PENDING))

    async def _known(
        self, customer_id: str
    ) -> tuple[Rows, Rows, tuple[Profile, SnapshotFacts] | None]:
        # What this worker answered just now belongs to it, too.
        await self._ahead.settle()
        told = await self._parts.customers.known(customer_id)
        # The lake still holds her until the next run.
        await self.read_forgotten()
        found, lake = None, dict[str, list[dict[str, Any]]]()
        if customer_id not in self._profiles.forgotten:
            # No await between these two: they are of one snapshot.
            facts, profile = self._profiles.facts(), self._profiles.get(customer_id)
            if facts is not None and profile is not None:
                found = profile, facts
            lake = await asyncio.to_thread(self._parts.lake_rows, customer_id)
        if not told and not lake and found is None:
            raise UnknownCustomer(
                f"nothing is known of customer {customer_id!r}; is the id written as it was loaded?"
            )
        return told, lake, found


def journey(told: Rows, lake: Rows) -> list[JourneyStep]:
    """Return what happened with a customer, the newest first.

    Args:
        told: Rows of the database by table.
        lake: Rows of the lake by table; what both tell is one step.
    """
    steps: dict[tuple[str, str], JourneyStep] = {}
    for row in lake.get("interactions", ()):
        steps["event", row["event_id"]] = JourneyStep(
            row["at"], row["kind"], row["channel"], row["offer_id"], row["order_id"]
        )
    for row in told.get("outcomes", ()):
        event = row["event"]
        lines = event.get("lines") or ()
        steps["event", row["event_id"]] = JourneyStep(
            datetime.fromisoformat(row["at"]),
            row["kind"],
            event.get("channel", UNREADABLE),
            event.get("offer_id"),
            event.get("order_id") or (row["event_id"] if lines else None),
            sum(line["amount"] for line in lines) if lines else None,
        )
    receipts = {(one.order_id, one.at) for one in steps.values() if one.amount is not None}
    for (order_id, at), lines in _receipts(lake.get("purchases", ())).items():
        if (order_id, at) not in receipts:
            amount = sum(line["amount"] for line in lines) / MINOR_PER_MAJOR
            kind = "return" if amount < 0 else "purchase"
            steps["receipt", f"{order_id} {at}"] = JourneyStep(
                at, kind, lines[0]["channel"], None, order_id, amount
            )
    for row in lake.get("surveys", ()):
        steps["survey", row["response_id"]] = JourneyStep(
            row["at"], row["instrument"], row["touchpoint"] or "unknown"
        )
    for row in lake.get("decisions", ()):
        steps["decision", row["decision_id"]] = JourneyStep(row["at"], "decision", row["channel"])
    for row in told.get("decisions", ()):
        steps["decision", row["decision_id"]] = JourneyStep(
            datetime.fromisoformat(row["at"]),
            "decision",
            row["record"].get("channel", UNREADABLE),
        )
    return sorted(steps.values(), key=lambda one: one.at, reverse=True)


def _receipts(
    lines: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, datetime], list[Mapping[str, Any]]]:
    found: dict[tuple[str, datetime], list[Mapping[str, Any]]] = {}
    for line in lines:
        found.setdefault((line["order_id"], line["at"]), []).append(line)
    return found
