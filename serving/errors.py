"""Why a request that could be read is refused."""

from foundation.errors import RegularsError


class KeyReused(RegularsError):
    """An Idempotency-Key came back with another request."""


class InvalidField(RegularsError):
    """A value of a request breaks a rule; `field` is its place in the body."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field
