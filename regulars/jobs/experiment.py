"""Start an experiment: checked against what the service can do before anyone is assigned."""

from datetime import datetime

from adapters.postgres_admin import PostgresAdmin, StoredExperiment
from experiments.design import Experiment, check
from foundation.decision import POLICY_WORDS
from foundation.errors import RegularsError
from regulars.jobs.report import METRICS


def start_experiment(admin: PostgresAdmin, design: Experiment, now: datetime) -> StoredExperiment:
    """Start an experiment; from now on its design cannot change.

    Raises:
        RegularsError: The design is broken, names a policy, metric or offer that does not exist,
            or another experiment runs.
    """
    check(design)
    if design.primary_metric not in METRICS:
        raise RegularsError(
            f"experiment {design.key!r}: primary_metric {design.primary_metric!r} is none of "
            f"{', '.join(METRICS)}"
        )
    offers = admin.offer_ids()
    for variant in design.variants:
        if variant.policy is not None and variant.policy not in POLICY_WORDS:
            raise RegularsError(
                f"experiment {design.key!r}: policy {variant.policy!r} of variant "
                f"{variant.name!r} is none of {', '.join(POLICY_WORDS)}"
            )
        unknown = sorted(set(variant.offers or ()) - offers)
        if unknown:
            raise RegularsError(
                f"experiment {design.key!r}: offer {unknown[0]!r} of variant {variant.name!r} is "
                "not in the catalogue; load it and run 'regulars segment' first"
            )
    return admin.start_experiment(design, now)
