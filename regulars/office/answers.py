"""Who answers which operation of the office."""

from regulars.office.experiments import Experiments
from regulars.office.offers import Offers
from regulars.office.policies import Policies
from regulars.office.room import Room
from regulars.office.segments import Segments
from serving.office.asking import Answers


def office_answers(room: Room) -> Answers:
    """Return how each operation of serving.office.operations is answered."""
    offers, segments = Offers(room), Segments(room)
    experiments, policies = Experiments(room), Policies(room)
    return {
        ("GET", "/v1/offers"): offers.page,
        ("POST", "/v1/offers"): offers.add,
        ("GET", "/v1/offers/{offer_id}"): offers.one,
        ("PUT", "/v1/offers/{offer_id}"): offers.put,
        ("DELETE", "/v1/offers/{offer_id}"): offers.withdraw,
        ("GET", "/v1/segments"): segments.page,
        ("POST", "/v1/segments"): segments.add,
        ("POST", "/v1/segments/preview"): segments.preview,
        ("GET", "/v1/segments/{id}"): segments.one,
        ("PUT", "/v1/segments/{id}"): segments.put,
        ("DELETE", "/v1/segments/{id}"): segments.archive,
        ("GET", "/v1/experiments"): experiments.page,
        ("POST", "/v1/experiments"): experiments.add,
        ("GET", "/v1/experiments/{key}"): experiments.one,
        ("PUT", "/v1/experiments/{key}"): experiments.put,
        ("DELETE", "/v1/experiments/{key}"): experiments.remove,
        ("POST", "/v1/experiments/{key}/start"): experiments.start,
        ("POST", "/v1/experiments/{key}/stop"): experiments.stop,
        ("GET", "/v1/experiments/{key}/report"): experiments.report,
        ("GET", "/v1/policies"): policies.page,
        ("POST", "/v1/policies"): policies.add,
        ("GET", "/v1/policies/{name}"): policies.one,
        ("PUT", "/v1/policies/{name}"): policies.put,
        ("DELETE", "/v1/policies/{name}"): policies.remove,
    }
