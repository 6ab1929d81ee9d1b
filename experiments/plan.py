"""What a plan promises before anyone is assigned: what may not get worse, and when it ends.

Whatever is not in the plan when the experiment starts is exploratory in its report: among many
figures looked at, some are large by chance.
"""

import math
from typing import Literal, get_args

import msgspec

from experiments.metric_titles import METRICS, Better

# How differences are judged: once at the end; always valid, at every look; or at planned looks.
Method = Literal["welch", "sequential", "obrien-fleming", "pocock"]
METHODS: tuple[Method, ...] = get_args(Method)
GROUP_SEQUENTIAL: tuple[Method, ...] = ("obrien-fleming", "pocock")


class Guardrail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that may not get worse by more than a margin (non-inferiority).

    `margin` is a difference to the control's mean per unit, in the metric's own unit (money as
    decimals): -0.2 where higher is better lets the metric fall by at most .2; .01 where lower is
    better lets it rise by at most .01. A plan that leaves `better` out takes the metric's own.
    """

    metric: str
    margin: float
    better: Better = "higher"

    def faults(self) -> list[str]:
        """Return a line for each broken rule."""
        subject = f"margin {self.margin:g} of guardrail {self.metric!r}"
        if not math.isfinite(self.margin) or self.margin == 0:
            return [f"{subject} is no margin; write the loss that is tolerated, other than 0"]
        own = METRICS.get(self.metric)
        # The other way round there are reasons: redemptions cost.
        if own is not None and (own.better, self.better) == ("lower", "higher"):
            return [f"{subject}: fewer {self.metric} are better; leave better out"]
        if (self.margin > 0) != (self.better == "lower"):
            return [
                f"{subject} asks for a gain, since {self.better} is better; write the loss that is "
                f"tolerated, {-self.margin:g}"
            ]
        return []


class StopRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it ends: after so many days, or once so many units are assigned, what comes first.

    `looks` is how many times group sequential methods judge until then, equally spaced.
    """

    days: int | None = None
    units: int | None = None
    looks: int | None = None

    def faults(self, method: Method) -> list[str]:
        """Return a line for each broken rule."""
        given = {"days": self.days, "units": self.units, "looks": self.looks}
        lines = [
            f"stop.{name} {value} must be at least 1; raise it or leave it out"
            for name, value in given.items()
            if value is not None and value < 1
        ]
        if self.days is None and self.units is None:
            lines.append("stop names no end; write days, units or both")
        if self.looks is not None and method not in GROUP_SEQUENTIAL:
            lines.append(
                f"stop.looks is for methods {' and '.join(GROUP_SEQUENTIAL)}, the method is "
                f"{method}; leave it out"
            )
        return lines
