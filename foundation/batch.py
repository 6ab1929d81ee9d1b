"""A batch: decisions for many customers at once, each of them decided for once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch; `resumed` says that it had been begun before and is not finished."""

    batch_id: str
    resumed: bool
