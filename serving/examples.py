"""Examples: each message as somebody sends it or is answered, by its name, in the documentation.

Short: what is left out has a default. All tell one story, of a café's customers before Christmas.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_VERSIONS = {
    "catalogue": 14,
    "model": "response@7",
    "snapshot": "2026-12-01.0001",
    "policy": "response",
}
_DECISION = "019ad2e4-5c00-7a11-8c1d-3f2a91bc0d42"
_ACTIVATION = "019ad2e4-9f10-7c3e-b7a1-58d0c4e1aa07"
_DECIDED = {
    "decision_id": _DECISION,
    "customer_id": "c-1017",
    "experiments": [{"key": "spring-latte", "variant": "treatment"}],
    "versions": _VERSIONS,
}
_OFFER = {
    "title": "One euro off coffee",
    "kind": "amount",
    "reward": 1.0,
    "cost": 1.0,
    "valid_from": "2026-12-01T00:00:00Z",
    "valid_to": "2026-12-24T00:00:00Z",
    "channels": ["app", "till"],
    "eligibility": {"all": [{"feature": "recency_days", "is": "<", "value": 30}]},
    "total_cap": 5000,
}
_SHOWN_OFFER = {"offer_id": "coffee-1", "version": "9d0c52ab", "terms": _OFFER}
_RULE = {
    "count": {"event": "purchase", "where": {"subcategory": ["COFFEE"]}, "days": 30},
    "is": ">=",
    "value": 3,
}
_SEGMENT = {"name": "Coffee lovers", "rule": _RULE, "note": "for the winter campaign"}
_SHOWN_SEGMENT = {
    "id": "coffee-lovers",
    "version": 2,
    **_SEGMENT,
    "author": "campaign planner",
    "status": "active",
    "at": "2026-11-30T09:12:00Z",
    "customers": 4211,
}
_EXPERIMENT = {
    "variants": [
        {"name": "control", "weight": 0.5},
        {"name": "treatment", "weight": 0.5, "policy": "uplift"},
    ],
    "control": "control",
    "hypothesis": "offers to whom they move bring more margin",
    "minimum_effect": 0.5,
    "stop": {"days": 28},
}
_SHOWN_EXPERIMENT = {
    "key": "spring-latte",
    "version": "51b3e7c8",
    "state": "running",
    "plan": {"key": "spring-latte", **_EXPERIMENT},
    "plan_hash": "8f14e45f",
    "started_at": "2026-12-01T08:00:00Z",
    "stopped_at": None,
}
_POLICY = {"kind": "rule", "order": ["coffee-1", "bakery-2"], "exploration": 0.1}
_SHOWN_POLICY = {"name": "winter-rules", "version": "c81e728d", "policy": _POLICY, "stored": True}

EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "DecisionRequest": {
            "customer_id": "c-1017",
            "channel": "app",
            "placements": [{"name": "checkout", "limit": 3}],
            "context": {
                "store_id": "s-12",
                "basket": [{"product_id": "p-9", "quantity": 1, "amount": 4.5}],
            },
        },
        "DecisionAnswer": {
            **_DECIDED,
            "degraded": False,
            "causes": [],
            "placements": [
                {
                    "name": "checkout",
                    "fallback": False,
                    "offers": [
                        {
                            "offer_id": "coffee-1",
                            "title": "One euro off coffee",
                            "rank": 1,
                            "score": 0.42,
                            "propensity": 0.91,
                            "valid_to": "2026-12-24T00:00:00Z",
                            "reasons": ["buys coffee 3 times a week"],
                        }
                    ],
                    "slate_propensity": 0.91,
                }
            ],
        },
        "ReplayAnswer": {
            **_DECIDED,
            "at": "2026-12-03T12:00:00Z",
            "same": True,
            "gone": ["catalogue 14, 15 is live"],
            "placements": [
                {
                    "name": "checkout",
                    "fallback": False,
                    "offers": [
                        {"offer_id": "coffee-1", "rank": 1, "score": 0.42, "propensity": 0.91}
                    ],
                    "slate_propensity": 0.91,
                }
            ],
        },
        "OutcomeRequest": {
            "events": [
                {
                    "event_id": "receipt-9",
                    "customer_id": "c-1017",
                    "at": "2026-12-03T12:05:00Z",
                    "channel": "till",
                    "kind": "purchase",
                    "decision_id": _DECISION,
                    "store_id": "s-12",
                    "lines": [
                        {
                            "line_id": "receipt-9-1",
                            "product_id": "p-9",
                            "quantity": 1,
                            "amount": 3.5,
                        }
                    ],
                }
            ]
        },
        "OutcomeAnswer": {"accepted": 1, "repeated": 0, "spooled": 0},
        "ActivationRequest": {
            "customer_id": "c-1017",
            "offer_id": "coffee-1",
            "channel": "app",
            "decision_id": _DECISION,
        },
        "ActivationAnswer": {
            "activation_id": _ACTIVATION,
            "expires_at": "2026-12-03T12:30:00Z",
            "refused": None,
        },
        "RedemptionRequest": {
            "customer_id": "c-1017",
            "offer_id": "coffee-1",
            "channel": "till",
            "activation_id": _ACTIVATION,
            "order_id": "receipt-9",
        },
        "RedemptionAnswer": {"redemption_id": _ACTIVATION, "refused": None},
        "EndedAnswer": {"state": "reversed", "changed": True},
        "RecommendationRequest": {"basket": ["p-9"], "limit": 1},
        "RecommendationAnswer": {
            "products": [
                {
                    "product_id": "p-23",
                    "rank": 1,
                    "score": 1.34,
                    "lift": 3.8,
                    "reason": "often bought with coffee: 3.8 times as often as by chance",
                }
            ],
            "causes": [],
            "snapshot": "2026-12-01.0001",
        },
        "ConsentRequest": {"consents": {"email": True, "push": False}, "source": "app settings"},
        "ConsentsAnswer": {"customer_id": "c-1017", "consents": {"email": True, "push": False}},
        "CustomerAnswer": {
            "customer_id": "c-1017",
            "snapshot": "2026-12-01.0001",
            "household_id": None,
            "time_zone": "Europe/Berlin",
            "segments": {"rfm": "champions", "lifecycle": "active"},
            "features": {"orders_30d": 9.0, "recency_days": 2.0},
            "attributes": {"home_store_id": "s-12"},
            "consents": [
                {
                    "channel": "email",
                    "granted": True,
                    "at": "2026-11-02T17:40:00Z",
                    "who": "key 3 (loyalty app)",
                    "source": "app settings",
                }
            ],
            "journey": [
                {
                    "at": "2026-12-03T12:05:00Z",
                    "kind": "purchase",
                    "channel": "till",
                    "offer_id": None,
                    "order_id": "receipt-9",
                    "amount": 3.5,
                }
            ],
        },
        "CustomerExport": {
            "customer_id": "c-1017",
            "database": {
                "consents": [
                    {
                        "customer_id": "c-1017",
                        "channel": "email",
                        "granted": True,
                        "at": "2026-11-02T17:40:00+00:00",
                    }
                ]
            },
            "lake": {
                "customers": [{"customer_id": "c-1017", "home_store_id": "s-12"}],
                "surveys": [{"customer_id": "c-1017", "instrument": "nps", "score": 9.0}],
            },
            "snapshot": {
                "version": "2026-12-01.0001",
                "household_id": None,
                "time_zone": "America/New_York",
                "segments": {"rfm": "champions"},
                "features": {"orders_30d": 4.0, "recency_days": 2.0},
                "attributes": {},
                "counts": {},
                "redemptions": {"coffee-1": 1},
                "remaining_value": 18400.0,
                "affinities": {
                    "coffee-1": {"affinity_share_365d": 0.12, "affinity_lines_365d": 9.0}
                },
                "reasons": {"coffee-1": ["bought 9 items of coffee in the last year"]},
            },
        },
        "ErasedAnswer": {
            "customer_id": "c-1017",
            "rows": {"consents": 1, "decisions": 12, "outcomes": 9, "uses": 1},
            "pending": [
                "snapshot: hidden at once, gone with the next 'regulars segment'",
                "lake: rewritten by the next 'regulars segment'",
            ],
        },
        "NewOffer": {"offer_id": "coffee-1", **_OFFER},
        "OfferTerms": _OFFER,
        "ShownOffer": _SHOWN_OFFER,
        "WrittenOffer": {**_SHOWN_OFFER, "waits": None, "warnings": []},
        "OfferList": {"offers": [_SHOWN_OFFER], "next": None},
        "WithdrawnOffer": {"offer_id": "coffee-1", "reserved": 3},
        "NewSegment": {"id": "coffee-lovers", **_SEGMENT},
        "SegmentTerms": _SEGMENT,
        "ShownSegment": _SHOWN_SEGMENT,
        "WrittenSegment": {**_SHOWN_SEGMENT, "warnings": []},
        "SegmentList": {"segments": [_SHOWN_SEGMENT], "next": None},
        "PreviewRequest": {"rule": _RULE},
        "PreviewAnswer": {
            "sentence": "purchases in 30 days with category COFFEE at least 3",
            "as_of": "2026-12-01T00:00:00Z",
            "customers": 4211,
            "of": 52000,
            "value": 1204500.0,
            "value_share": 0.21,
            "overlaps": [
                {
                    "id": "weekenders",
                    "customers": 9000,
                    "both": 1200,
                    "share_of_this": 0.285,
                    "share_of_other": 0.133,
                }
            ],
            "sample": ["c-1017", "c-2203"],
            "distinctions": [
                {"sentence": "orders_30d is higher: 6.2 on average against 1.9", "difference": 1.4}
            ],
            "warnings": [],
        },
        "NewExperiment": {"key": "spring-latte", **_EXPERIMENT},
        "ExperimentTerms": _EXPERIMENT,
        "ShownExperiment": _SHOWN_EXPERIMENT,
        "ExperimentList": {"experiments": [_SHOWN_EXPERIMENT], "next": None},
        "RemovedExperiment": {"key": "spring-latte"},
        "ReportAnswer": {
            "report": {
                "key": "spring-latte",
                "design": "8f14e45f",
                "unit": "customer",
                "control": "control",
                "confidence": 0.95,
                "units": {"control": 10013, "treatment": 9987},
                "sample_ratio": {
                    "p": 0.854,
                    "planned": {"control": 0.5, "treatment": 0.5},
                    "observed": {"control": 10013, "treatment": 9987},
                    "deviation": 0.0013,
                },
                "healthy": True,
                "reason": "sample ratio as planned (p 0.85, largest deviation 0.13% of a "
                "variant's plan)",
                "metrics": {
                    "margin": {
                        "treatment": {
                            "mean": 1292.0,
                            "control_mean": 1204.0,
                            "difference": 88.0,
                            "low": 35.0,
                            "high": 141.0,
                            "p": 0.0011,
                        }
                    }
                },
                "money": ["margin"],
            },
            "assumptions": [
                "no margin_rate is declared: where lines and products have no margin, net sales "
                "count whole"
            ],
        },
        "NewPolicy": {"name": "winter-rules", **_POLICY},
        "PolicyTerms": _POLICY,
        "ShownPolicy": _SHOWN_POLICY,
        "PolicyList": {"policies": [_SHOWN_POLICY], "next": None},
        "RemovedPolicy": {"name": "winter-rules"},
    }
)
