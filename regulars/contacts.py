"""What contacts cost here and how many there may be, as this deployment declares it."""

from foundation.contact_policy import Caps, ContactPolicy
from foundation.money import MINOR_PER_MAJOR
from foundation.settings import Settings
from recommender.value import Contact, Contacts


def contacts_of(settings: Settings) -> Contacts:
    """Return what contacts cost, in minor units."""
    return Contacts(
        {
            channel: Contact(terms.cost * MINOR_PER_MAJOR, terms.opt_out)
            for channel, terms in (settings.contacts or {}).items()
        },
        settings.remaining_value * MINOR_PER_MAJOR,
    )


def contact_costs(settings: Settings) -> dict[str, float]:
    """Return what one contact costs by channel, in minor units; others cost nothing."""
    return {channel: one.cost for channel, one in contacts_of(settings).by_channel.items()}


def contact_statement(settings: Settings, channel: str, unvalued: int) -> str:
    """Return what is assumed of a contact through a channel.

    Args:
        unvalued: Customers whose remaining value no model tells.
    """
    terms = (settings.contacts or {}).get(channel)
    if terms is None:
        return (
            f"a contact by {channel} costs nothing and nobody opts out because of it; declare "
            "REGULARS_CONTACTS where that is not so"
        )
    told = (
        f"a contact by {channel} costs {terms.cost:g} {settings.currency_code} and, with a chance "
        f"of {terms.opt_out:g}, all margin that the customer is to bring yet"
    )
    if terms.opt_out and unvalued:
        stands_in = settings.currency.show(settings.remaining_value * MINOR_PER_MAJOR)
        told += f", {stands_in} for {unvalued:,} customers whose value no model tells"
    return told


def contact_policy(settings: Settings) -> ContactPolicy:
    """Return how often a customer is contacted here, and when not."""
    rules = settings.contact_policy
    return ContactPolicy(
        frozenset(rules.outbound),
        Caps(rules.day, rules.week),
        {channel: Caps(caps.day, caps.week) for channel, caps in rules.channels.items()},
        rules.quiet_from,
        rules.quiet_to,
    )
