"""Ids of what the service writes itself about a use: no caller's id can be one of them."""

from hashlib import blake2b

# An outcome whose id begins so is refused.
OWN = "regulars:"


def own_id(what: str, of: str) -> str:
    """Return the id of what follows from a use or an event, of one length however long that is."""
    return f"{OWN}{what}:{blake2b(of.encode(), digest_size=16).hexdigest()}"
