from typing import Any

import pytest

from foundation.rules import MEMBER, Not, Rule, SegmentIn, Vocabulary, read_rule
from segmentation.living import InvalidSegment, check_groups, circles, in_order, read_draft


def asking(*segments: str) -> Rule:
    document = {"any": [{"segment": name} for name in segments]}
    return read_rule(document, Vocabulary((), segments))


def test_a_segment_comes_after_those_it_asks_for() -> None:
    order = in_order({"a": asking("b", "c"), "b": asking("c"), "c": asking("lifecycle")})

    assert order == ["c", "b", "a"]


def test_a_circle_of_segments_is_refused_and_written_out() -> None:
    circle = {"a": asking("b"), "b": asking("c"), "c": asking("a"), "d": asking("a")}

    with pytest.raises(InvalidSegment) as refused:
        in_order(circle)
    line = str(refused.value)
    # Each arrow is one that is asked for, wherever the circle is entered.
    assert any(
        path in line
        for path in (
            "a asks for b asks for c asks for a",
            "b asks for c asks for a asks for b",
            "c asks for a asks for b asks for c",
        )
    )
    with pytest.raises(InvalidSegment, match="a asks for a"):
        in_order({"a": asking("a")})


GOOD = {"id": "coffee", "name": "Coffee", "rule": {}, "author": "ana"}


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "segment: []"),
        ({**GOOD, "owner": "ana"}, "key 'owner' is unknown; allowed are id, name"),
        ({**GOOD, "id": "Coffee Lovers"}, "write it like coffee-lovers"),
        ({**GOOD, "id": None}, "segment.id: None is no text"),
        ({**GOOD, "author": ""}, "segment.author: '' is no text"),
        ({k: v for k, v in GOOD.items() if k != "rule"}, "segment.rule: is missing"),
        ({**GOOD, "note": 3}, "segment.note: 3 is no text"),
        ({**GOOD, "author": "a\x00"}, "segment.author: 'a\\x00' holds a null character"),
        ({**GOOD, "note": "\udc00"}, "segment.note: '\\udc00' holds a null character"),
        ({**GOOD, "status": "paused"}, "'paused' is none of active, archived"),
    ],
)
def test_a_bad_segment_file_is_refused_with_its_fault(document: Any, fault: str) -> None:
    with pytest.raises(InvalidSegment) as refused:
        read_draft(document)

    assert fault in str(refused.value)


def test_circles_are_named_and_the_sound_segments_stay() -> None:
    def asks(*names: str) -> Any:
        return {"all": [{"segment": name} for name in names]}

    known = Vocabulary([], ["a", "b", "c", "d", "e", "rfm"])
    documents = {
        "a": asks("b"),
        "b": asks("a"),
        "c": asks("c", "d"),
        "d": {"segment": "rfm", "in": ["New"]},
        "e": asks("d"),
    }
    rules = {name: read_rule(document, known) for name, document in documents.items()}

    found = circles(rules)

    assert set(found) == {"a", "b", "c"}
    assert "b asks for a" in found["a"]
    assert in_order({n: r for n, r in rules.items() if n not in found}) == ["d", "e"]


@pytest.mark.parametrize(
    ("segmentation", "group", "told"),
    [
        ("lifecycle", "losst", "did you mean 'lost'? there are: new, "),
        ("rfm", "champions", "did you mean 'Champions'? there are: Champions, "),
        ("coffee-lovers", "gold", "has no group 'gold'; there are: member"),
        ("rfm", "xyz", "has no group 'xyz'; there are: Champions, "),
    ],
)
def test_a_group_that_nobody_can_be_in_is_refused(segmentation: str, group: str, told: str) -> None:
    with pytest.raises(InvalidSegment) as refusal:
        check_groups(Not(SegmentIn(segmentation, (group,))))
    assert told in str(refusal.value)
    check_groups(SegmentIn("lifecycle", ("lost", "new")))
    check_groups(SegmentIn("coffee-lovers", (MEMBER,)))
    check_groups(SegmentIn("cluster", ("infrequent, daytime",)))
