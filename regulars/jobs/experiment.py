"""Start an experiment: checked against what the service can do before anyone is assigned."""

from datetime import datetime

from adapters.postgres_admin import PostgresAdmin, StoredExperiment
from experiments.design import Experiment, InvalidDesign, check
from experiments.holdout import HOLDOUT, holdout_design
from experiments.metric_catalogue import measured
from experiments.metrics import InvalidMetric
from foundation.decision import POLICY_WORDS, Policy
from foundation.errors import RegularsError
from foundation.rules import InvalidRule, UnknownName, Vocabulary, read_rule
from segmentation.living import InvalidSegment, check_groups

# Kinds that a variant may carry whole, since no word says their numbers.
WHOLE = ("rule", "thompson", "mixture")


def start_experiment(
    admin: PostgresAdmin,
    design: Experiment,
    now: datetime,
    vocabulary: Vocabulary | None = None,
) -> StoredExperiment:
    """Start an experiment; from now on its plan is locked.

    Args:
        vocabulary: As for `check_plan`.

    Raises:
        RegularsError: As `check_plan`; or it would disturb an experiment that runs, or differs
            from the locked plan of its key.
    """
    check_plan(admin, design, vocabulary)
    return admin.start_experiment(design, now)


def check_plan(
    admin: PostgresAdmin, design: Experiment, vocabulary: Vocabulary | None = None
) -> None:
    """Pass a plan that the service could run.

    Args:
        vocabulary: What the live snapshot lets an audience ask for; None leaves the audience to
            be judged by the service.

    Raises:
        RegularsError: The design is broken, or names a policy, metric or offer that does not exist.
    """
    check(design)
    if HOLDOUT in (design.key, design.salt):
        raise InvalidDesign(
            f"experiment {design.key!r}: key and salt {HOLDOUT!r} are the global holdout's; choose "
            f"others, or set the holdout with 'regulars experiment {HOLDOUT} SHARE'"
        )
    for name in design.planned_metrics:
        try:
            measured(name, design.unit)
        except InvalidMetric as fault:
            raise InvalidDesign(f"experiment {design.key!r}: {fault}") from fault
    offers = admin.offer_ids()
    for variant in design.variants:
        if isinstance(variant.policy, Policy):
            _check_whole(design.key, variant.name, variant.policy)
        elif variant.policy is not None and variant.policy not in POLICY_WORDS:
            raise RegularsError(
                f"experiment {design.key!r}: policy {variant.policy!r} of variant "
                f"{variant.name!r} is none of {', '.join(POLICY_WORDS)}; or write it whole"
            )
        unknown = sorted(set(variant.offers or ()) - offers)
        if unknown:
            raise RegularsError(
                f"experiment {design.key!r}: offer {unknown[0]!r} of variant {variant.name!r} is "
                "not in the catalogue; load it and run 'regulars segment' first"
            )
    if vocabulary is not None:
        waits_for(design, vocabulary)


def _check_whole(key: str, variant: str, policy: Policy) -> None:
    """Pass a policy that says more than a word.

    The words are read by what trains and reports on experiments: an uplift policy that may show
    nothing on purpose, or a variant without offers, must be known as such.
    """
    if policy.kind not in WHOLE or policy.scored == "uplift":
        raise RegularsError(
            f"experiment {key!r}: policy of kind {policy.kind} of variant {variant!r} (parts "
            f"included) is named by its word; write whole only {', '.join(WHOLE)}, without uplift"
        )


def waits_for(design: Experiment, vocabulary: Vocabulary) -> str | None:
    """Return what an audience asks for that the live snapshot lacks, None if it can be judged.

    Raises:
        InvalidDesign: The audience is no rule of the language, or asks for a name or group nobody
            knows; events that are only not counted yet are waited for.
    """
    if design.audience is None:
        return None
    try:
        check_groups(read_rule(design.audience, vocabulary))
    except UnknownName as error:
        counted = Vocabulary(vocabulary.features, vocabulary.segments, vocabulary.attributes)
        try:
            check_groups(read_rule(design.audience, counted))
        except (InvalidRule, InvalidSegment) as beyond:
            raise InvalidDesign(f"experiment {design.key!r}: audience {beyond}") from beyond
        return str(error)
    except (InvalidRule, InvalidSegment) as error:
        raise InvalidDesign(f"experiment {design.key!r}: audience {error}") from error
    return None


def set_holdout(admin: PostgresAdmin, share: float, now: datetime) -> StoredExperiment:
    """Hold a share of all customers out of every offer, for good.

    Raises:
        RegularsError: The share is not above 0 and at most a half, or was set before.
    """
    return admin.start_experiment(holdout_design(share), now)
