"""The verdict: ship, stop or continue, as the locked plan says and nothing else.

Who has the plan and the report comes to the same verdict; nobody's hopes enter it.
"""

from typing import Literal

import msgspec

Action = Literal["ship", "stop", "continue"]


class Verdict(msgspec.Struct, frozen=True):
    """What to do, which variant to ship (None unless `action` is ship), and the sentence why.

    `ended` says whether the plan's end was reached; `variants` is what each one's figures call for.
    """

    action: Action
    why: str
    variant: str | None = None
    ended: bool = False
    variants: dict[str, str] = msgspec.field(default_factory=dict[str, str])
