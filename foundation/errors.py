"""What went wrong, in one line a person can act on.

A message names the subject, the value, the rule and the way out, for example
`model 'response@7' was trained on features 3f2a, this snapshot has 91bc; run 'regulars train'`.
The command line prints it and exits with 2; the API answers it as problem+json.
"""


class RegularsError(Exception):
    """Bad input or a refused step: the message is for the person who asked."""


class JobRunning(RegularsError):
    """The same job already runs in another process."""


class NothingToDo(RegularsError):
    """A job was asked for before what it needs exists (no data, no model, no snapshot)."""


class TooLittleData(RegularsError):
    """A figure was asked for that this little data cannot carry: a refusal, not a fault."""


class StoreUnavailable(RegularsError):
    """A database or store does not answer now; the same request may succeed later."""


class EventChanged(RegularsError):
    """An event came again under the same id with other content."""


class UnreadableRecord(RegularsError):
    """A stored decision cannot be read: another version wrote it, or it is damaged."""

    def __init__(self, decision_id: str, reason: object) -> None:
        super().__init__(
            f"the record of decision {decision_id!r} cannot be read ({reason}); another version of "
            "Regulars wrote it, which can, or it is damaged"
        )


class EventRefused(Exception):
    """The database takes an event never, however often it is told: a fault of ours, no outage."""


class KeyReused(RegularsError):
    """An Idempotency-Key came back with another request."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another request; send a new one")


class SpoolUnavailable(StoreUnavailable):
    """This machine's disk takes nothing that could wait for the database there."""
