"""Why a request that could be read is refused."""

from foundation.errors import RegularsError, StoreUnavailable


class InvalidField(RegularsError):
    """A value of a request breaks a rule; `field` is its place in the body."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class Overloaded(RegularsError):
    """More is asked at once than can be answered soon; the same request may come again."""


class TooLate(StoreUnavailable):
    """A store did not do in time what was asked; it may have done it all the same."""


class UnknownCustomer(RegularsError):
    """Nothing is known of a customer."""
