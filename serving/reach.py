"""Reach: may this customer be shown anything through this channel now? Else one code for all."""

from datetime import datetime
from zoneinfo import ZoneInfo

from foundation.contact_policy import Barred, ContactPolicy, barred
from foundation.profile import LiveState, Profile


def unreachable(
    policy: ContactPolicy,
    channel: str,
    state: LiveState,
    zone: ZoneInfo,
    at: datetime,
) -> Barred | None:
    """Return why she may not be reached through a channel, None when she may.

    Args:
        zone: As from `zone_of`.
    """
    return barred(policy, channel, state.consents, state.contacts, zone, at)


def zone_of(profile: Profile | None, otherwise: str) -> ZoneInfo:
    """Return her own time zone; the chain's where hers is unknown, or no zone at all."""
    if profile is not None and profile.time_zone is not None:
        try:
            return ZoneInfo(profile.time_zone)
        except (KeyError, ValueError, OSError):
            # One customer's misspelt zone must not cost her the answer.
            pass
    return ZoneInfo(otherwise)
