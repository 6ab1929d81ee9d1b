import pytest
from msgspec.structs import replace

from experiments.design import Experiment, Variant
from experiments.layers import Layer, LayerTaken, check_room


def design(key, layer=None, **changes):
    variants = [Variant("off", 0.5, policy="none"), Variant("on", 0.5, policy="response")]
    return replace(Experiment(key, key, variants, "off", layer=layer), **changes)


FIRST = design("first", Layer("checkout", 0.0, 0.6))


@pytest.mark.parametrize(
    "new",
    [
        design("second", Layer("checkout", 0.6, 1.0)),
        # The same customers may be in two layers that decide different things.
        design("second", Layer("price", 0.0, 1.0), variants=[Variant("a", 0.5), Variant("b", 0.5)]),
        design(
            "second", Layer("price"), variants=[Variant("a", 0.5, offers=[]), Variant("b", 0.5)]
        ),
    ],
)
def test_experiments_that_do_not_disturb_each_other_run_side_by_side(new):
    check_room(new, [FIRST])


def test_other_channels_never_meet():
    email = replace(FIRST, channels=["email"])
    check_room(design("second", Layer("price"), channels=["app"]), [email])
    with pytest.raises(LayerTaken, match="decides on policy"):
        check_room(design("second", Layer("price"), channels=["app", "email"]), [email])
    with pytest.raises(LayerTaken, match="decides on policy"):
        check_room(design("second", Layer("price")), [email])


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (design("second"), ["'second' has no layer", "regulars experiment stop first"]),
        (
            design("second", Layer("checkout", 0.5, 1.0)),
            ["0.5 to 1 of layer 'checkout'", "together take 110%", "free is 0.6 to 1"],
        ),
        (
            design("second", Layer("checkout", 0.5, 0.8)),
            ["holds 0 to 0.6", "free in layer 'checkout': 0.6 to 1"],
        ),
        (
            design("second", Layer("checkout", 0.6, 1.0), unit="household"),
            ["assigns households, 'first'", "customers", "same unit"],
        ),
        (design("second", Layer("price")), ["decides on policy, as 'first'", "'checkout'"]),
        (
            design("second", Layer("price"), salt="first", variants=[Variant("a", 1.0)]),
            ["salt 'first'", "same customers"],
        ),
    ],
)
def test_what_would_disturb_a_running_one_is_refused_with_the_way_out(new, words):
    with pytest.raises(LayerTaken) as refusal:
        check_room(new, [FIRST])
    for word in words:
        assert word in str(refusal.value)


def test_beside_one_without_a_layer_nothing_starts():
    with pytest.raises(LayerTaken, match="'first' has no layer"):
        check_room(design("second", Layer("checkout")), [design("first")])


def test_a_layer_that_is_full_says_so():
    full = [FIRST, design("other", Layer("checkout", 0.6, 1.0))]
    with pytest.raises(LayerTaken, match="free is nothing"):
        check_room(design("second", Layer("checkout", 0.2, 0.4)), full)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Layer("l", 0.5, 0.5), "no range"),
        (Layer("l", 0.6, 0.5), "no range"),
        (Layer("l", -0.1, 0.5), "no range"),
        (Layer("l", 0.5, 1.1), "no range"),
        (Layer("l", float("nan"), 0.5), "no range"),
        (Layer("", 0.0, 0.5), "no name"),
    ],
)
def test_a_range_that_is_none_is_one_fault(layer, words):
    assert [words in line for line in layer.faults()] == [True]
