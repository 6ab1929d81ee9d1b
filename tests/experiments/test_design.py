import copy
import hashlib

import msgspec
import pytest

from experiments.design import (
    Experiment,
    InvalidDesign,
    Variant,
    check,
    content_hash,
    read_design,
)
from foundation.errors import RegularsError

DOCUMENT = {
    "key": "winter-latte",
    "control": "control",
    "variants": [
        {"name": "control", "weight": 0.5},
        {"name": "treatment", "weight": 0.5, "policy": "response", "offers": ["o-1", "o-2"]},
    ],
}


def design(**changes):
    return read_design(copy.deepcopy(DOCUMENT) | changes)


def two(first, second):
    return [{"name": "control", "weight": first}, {"name": "treatment", "weight": second}]


def test_a_short_document_gets_the_defaults_and_the_key_as_salt():
    assert design() == Experiment(
        key="winter-latte",
        salt="winter-latte",
        variants=[
            Variant("control", 0.5),
            Variant("treatment", 0.5, policy="response", offers=["o-1", "o-2"]),
        ],
        control="control",
        unit="customer",
        primary_metric="margin",
        hypothesis="",
        channels=[],
    )


def test_a_design_survives_the_way_through_json():
    experiment = design(salt="again", unit="household", channels=["app", "till"])
    assert msgspec.json.decode(msgspec.json.encode(experiment), type=Experiment) == experiment


def test_reading_leaves_the_document_as_it_was():
    document = copy.deepcopy(DOCUMENT)
    read_design(document)
    assert document == DOCUMENT


def test_no_offers_at_all_is_another_design_than_the_default_offers():
    none_shown = design(variants=[{**two(0.5, 0.5)[0], "offers": []}, two(0.5, 0.5)[1]])
    default = design(variants=two(0.5, 0.5))
    assert none_shown.variants[0].offers == []
    assert content_hash(none_shown) != content_hash(default)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "Winter Latte"}, ["'Winter Latte'", "lower-case"]),
        ({"key": ""}, ["key ''", "lower-case"]),
        ({"key": "latte\n"}, ["lower-case"]),
        ({"salt": ""}, ["salt is empty"]),
        ({"control": "placebo"}, ["'placebo'", "control, treatment"]),
        ({"variants": two(1.0, 0.5)[:1]}, ["it has 1 variant(s)", "at least 2"]),
        ({"variants": two(0.5, 0.5)[:1] * 2}, ["'control' is used twice"]),
        ({"variants": two(0.5, 0.6)}, ["sum to 1.1"]),
        ({"variants": two(0.5, 0.499999)}, ["sum to 0.999999"]),
        ({"variants": two(1.0, 0.0)}, ["weight 0.0 of variant 'treatment'"]),
        ({"variants": two(1.5, -0.5)}, ["weight -0.5 of variant 'treatment'"]),
        ({"variants": two(0.5, float("nan"))}, ["weight nan"]),
        ({"variants": two(0.5, float("inf"))}, ["weight inf"]),
        ({"channels": ["carrier-pigeon"]}, ["'carrier-pigeon'", "email"]),
        ({"unit": "shop"}, ["unit: ", "'shop'", "choose customer, household or store"]),
        ({"varaints": []}, ["varaints", "its fields are key, salt, variants"]),
        ({"key": 2024}, ["key: expected str, got int"]),
        ({"variants": two("half", 0.5)}, ["variants[0].weight: expected float, got str"]),
        ({"variants": [{"name": "control"}]}, ["weight", "its fields are name, weight, policy"]),
        ({"variants": None}, ["variants: expected array, got null"]),
    ],
)
def test_a_broken_rule_gives_one_line_that_names_it(changes, words):
    with pytest.raises(InvalidDesign) as caught:
        design(**changes)
    message = str(caught.value)
    assert message.startswith("experiment ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_no_variants_at_all_break_two_rules():
    with pytest.raises(InvalidDesign, match=r"it has 0 variant\(s\)(.|\n)*not a variant"):
        design(variants=[])


@pytest.mark.parametrize("field", ["key", "variants", "control"])
def test_a_missing_field_is_named(field):
    document = {name: value for name, value in DOCUMENT.items() if name != field}
    with pytest.raises(InvalidDesign, match=f"missing required field {field}"):
        read_design(document)


@pytest.mark.parametrize("document", [None, [], "winter-latte", 3])
def test_a_document_that_is_no_mapping_is_refused(document):
    with pytest.raises(InvalidDesign, match=type(document).__name__):
        read_design(document)


def test_every_broken_rule_has_its_own_line():
    broken = Experiment(key="A B", salt="", variants=[Variant("x", 0.5)], control="y")
    with pytest.raises(RegularsError) as caught:
        check(broken)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5  # key, salt, number of variants, control, sum of weights
    assert all(line.startswith("experiment 'A B': ") for line in lines)


def test_thirds_sum_to_one_within_rounding():
    third = 1 / 3
    check(Experiment("k", "k", [Variant(name, third) for name in "abc"], "a"))
    check(Experiment("k", "k", [Variant(str(place), 0.1) for place in range(10)], "0"))


def test_the_hash_is_equal_for_equal_designs_and_moves_with_every_field():
    base = design()
    assert content_hash(base) == content_hash(design(salt="winter-latte"))
    others = [
        design(salt="other"),
        design(key="other"),
        design(control="treatment"),
        design(unit="household"),
        design(primary_metric="visits"),
        design(hypothesis="they come back"),
        design(channels=["app"]),
        design(variants=two(0.5, 0.5)),
        design(variants=two(0.4, 0.6)),
        design(variants=list(reversed(DOCUMENT["variants"]))),
    ]
    hashes = {content_hash(experiment) for experiment in [base, *others]}
    assert len(hashes) == 11


def test_the_hash_is_blake2b_over_sorted_json():
    # Source: coreutils, `printf '%s' "$JSON" | b2sum -l 128` over the text below.
    experiment = Experiment("k", "s", [Variant("a", 0.25), Variant("b", 0.75)], "a")
    canonical = (
        '{"channels":[],"control":"a","hypothesis":"","key":"k","primary_metric":"margin",'
        '"salt":"s","unit":"customer","variants":[{"name":"a","offers":null,"policy":null,'
        '"weight":0.25},{"name":"b","offers":null,"policy":null,"weight":0.75}]}'
    )
    assert hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest() == content_hash(
        experiment
    )
    assert content_hash(experiment) == "1aa0a52006926864670b65b2d5fcf713"
    followed = msgspec.structs.replace(experiment, follow_up_days=56)
    assert content_hash(followed) != content_hash(experiment)


def test_a_window_of_negative_days_is_refused():
    with pytest.raises(InvalidDesign, match="follow_up_days -1 must be at least 0"):
        check(design(follow_up_days=-1))
