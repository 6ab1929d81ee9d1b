"""What the service counts, for Prometheus."""

from collections import Counter as Tally
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from foundation.decision import DecisionRecord

DECISIONS = Counter("regulars_decisions_total", "Decisions answered", ["channel", "policy"])
FALLBACKS = Counter("regulars_fallbacks_total", "Placements filled by fallback")
REFUSALS = Counter("regulars_refusals_total", "Offers refused", ["reason"])
MODELS_REFUSED = Counter(
    "regulars_models_refused_total", "Models that failed their self-check at load", ["model"]
)
SHADOW = Counter(
    "regulars_shadow_decisions_total",
    "Decisions a shadow scored, failed on, or never saw for being behind",
    ["model", "result"],
)
SHADOW_TOP = Counter(
    "regulars_shadow_top_total",
    "Decisions by whether the shadow puts the same offer first",
    ["model", "champion", "offer"],
)
SHADOW_SECONDS = Histogram(
    "regulars_shadow_seconds",
    "Time a shadow takes for a decision",
    ["model"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
)
DEGRADED = Counter("regulars_degraded_total", "Decisions answered degraded", ["cause"])
SPOOLED = Counter("regulars_spooled_total", "Decisions and tellings kept on disk", ["kind"])
PASSED_ON = Counter(
    "regulars_spool_passed_on_total", "Decisions and outcomes that came from disk", ["kind"]
)
REJECTED = Counter("regulars_spool_rejected_total", "Spooled outcomes that can never be told")
# From the start on: who watches for them sees nothing as 0.
for _kind in ("decision", "outcome"):
    SPOOLED.labels(_kind)
    PASSED_ON.labels(_kind)
WAITS = Gauge(
    "regulars_spool_waits_seconds",
    "How long the oldest of what is kept on disk has waited",
    multiprocess_mode="livemax",
)
BREAKER = Gauge(
    "regulars_breaker_open",
    "1 while a store is left alone",
    ["guards"],
    multiprocess_mode="livemax",
)
OUTCOMES = Counter("regulars_outcomes_total", "Outcomes told for the first time")
USES = Counter(
    "regulars_uses_total",
    "Claims on offers answered: activation or redemption, granted or the reason why not; and "
    "reservations cancelled, redemptions reversed",
    ["kind", "result"],
)
HELD = Gauge(
    "regulars_uses_held",
    "Uses of an offer that are reserved or redeemed, on all nodes",
    ["offer_id"],
    # All processes read the one counter: their figures are the same, not parts of a sum.
    multiprocess_mode="mostrecent",
)
BATCH = Histogram(
    "regulars_commit_size", "Decisions in one commit", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
SECONDS = Histogram(
    "regulars_request_seconds",
    "Time to answer",
    ["path", "status"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)


@cache
def _seconds(path: str, status: int) -> Histogram:
    return SECONDS.labels(path, str(status))


def count_request(path: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    _seconds(path, status).observe(seconds)


@cache
def _decisions(channel: str, policy: str) -> Counter:
    return DECISIONS.labels(channel, policy)


@cache
def _refusals(reason: str) -> Counter:
    return REFUSALS.labels(reason)


def count_decision(record: DecisionRecord) -> None:
    """Count one answered decision."""
    _decisions(record.channel, record.policy.kind).inc()
    fallbacks = sum([slate.fallback for slate in record.slates])
    if fallbacks:
        FALLBACKS.inc(fallbacks)
    for reason, times in Tally(record.refusals.values()).items():
        _refusals(reason).inc(times)
