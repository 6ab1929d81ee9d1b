"""May we contact this customer through this channel now? If not, one code says why.

A contact is one message that goes out to her through an outbound channel: a decision for such a
channel that shows an offer, asked online or in a batch, or a `sent` outcome of no such decision,
an invitation to a survey, say. In other channels she comes to us, and nothing is a contact.

Consent: her newest answer for a channel holds. Where she never gave one, an outbound channel is
closed and any other is open: who asks for offers herself need not opt in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from foundation.decision import DecisionRecord
from foundation.replay import Answered

Barred = Literal["no_consent", "quiet_hours", "contact_cap_day", "contact_cap_week"]

# We go to her; in the others she comes to us.
OUTBOUND = frozenset({"email", "push", "mail", "call"})
# A letter wakes nobody.
SILENT = frozenset({"mail"})
WEEK = timedelta(days=7)
# Contacts older than this bar nobody: a week of local days, in whatever zone.
REMEMBERED = WEEK + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Contact:
    """One message that went out to a customer."""

    channel: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Caps:
    """The most contacts on one local day, and on any seven in a row; None for no cap."""

    day: int | None = None
    week: int | None = None


@dataclass(frozen=True, slots=True)
class ContactPolicy:
    """How often a customer is contacted, and when not.

    `in_all` caps all outbound channels together, `by_channel` one of them on top. Quiet hours are
    local hours from `quiet_from` until before `quiet_to`, perhaps over midnight; there are none
    where both are the same.
    """

    outbound: frozenset[str] = OUTBOUND
    in_all: Caps = Caps(day=1, week=3)
    by_channel: Mapping[str, Caps] = field(default_factory=dict[str, Caps])
    quiet_from: int = 21
    quiet_to: int = 8


DEFAULT_CONTACT_POLICY = ContactPolicy()


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision to be written, and the time zone in which its customer's days are counted.

    `answered` is what was asked for under a name, and is answered with it.
    """

    record: DecisionRecord
    zone: ZoneInfo
    answered: Answered | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a decision: kept, or not since she may not be contacted by now.

    `stands` is the answer that its name got, perhaps before; None without a name, and where the
    name was used for another request.
    """

    kept: bool
    stands: str | None = None


def is_contact(policy: ContactPolicy, record: DecisionRecord) -> bool:
    """Return whether a decision is a contact once it is answered."""
    return record.channel in policy.outbound and any(slate.offers for slate in record.slates)


def consented(policy: ContactPolicy, channel: str, consents: Mapping[str, bool]) -> bool:
    """Return whether a channel is open to us.

    Args:
        consents: Her newest answer by channel.
    """
    return consents.get(channel, channel not in policy.outbound)


def barred(
    policy: ContactPolicy,
    channel: str,
    consents: Mapping[str, bool],
    contacts: Iterable[Contact],
    zone: ZoneInfo,
    at: datetime,
) -> Barred | None:
    """Return why a customer may not be contacted through a channel, None when she may.

    Args:
        consents: Her newest answer by channel.
        contacts: Hers of at least the last `REMEMBERED`; later ones than `at` count, too.
        zone: Her own time zone: days and quiet hours are hers.
        at: Aware instant of the contact.
    """
    if not consented(policy, channel, consents):
        return "no_consent"
    if channel not in policy.outbound:
        return None
    local = at.astimezone(zone)
    if channel not in SILENT and _quiet(policy, local.hour):
        return "quiet_hours"
    days = [
        (one.channel, one.at.astimezone(zone).date())
        for one in contacts
        if one.channel in policy.outbound
    ]
    today, before = local.date(), local.date() - WEEK
    hers = [(policy.in_all, [day for _, day in days])]
    if channel in policy.by_channel:
        hers.append((policy.by_channel[channel], [day for name, day in days if name == channel]))
    if any(caps.day is not None and on.count(today) >= caps.day for caps, on in hers):
        return "contact_cap_day"
    for caps, on in hers:
        if caps.week is not None and sum(day > before for day in on) >= caps.week:
            return "contact_cap_week"
    return None


def _quiet(policy: ContactPolicy, hour: int) -> bool:
    if policy.quiet_from <= policy.quiet_to:
        return policy.quiet_from <= hour < policy.quiet_to
    return hour >= policy.quiet_from or hour < policy.quiet_to
