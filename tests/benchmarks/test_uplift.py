"""The benchmark of uplift reads any randomised file, or says in one line what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.readers.starbucks import randomised_table, read_rewards
from benchmarks.run import run
from foundation.errors import RegularsError


def table(n: int = 900, seed: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    zone = draw.choice(["town", "country"], n)
    arm = draw.integers(0, 3, n)
    helped = (arm == 1) & (zone == "town") | (arm == 2) & (zone == "country")
    spend = draw.normal(5, 1, n) + 3.0 * helped
    age = np.where(draw.random(n) < 0.1, np.nan, draw.integers(18, 80, n))
    return pd.DataFrame(
        {"card": np.arange(n) + 7, "arm": arm, "zone": zone, "age": age, "same": 1, "spend": spend}
    )


def asked(path: Path, *more: str, control: str = "0", outcome: str = "spend") -> list[str]:
    plain = ["--data", str(path), "--treatment", "arm", "--control", control]
    return [*plain, "--outcome", outcome, "--unit", "card", *more]


def figures_of(
    capsys: pytest.CaptureFixture[str], options: list[str], code: int = 0
) -> dict[str, Any]:
    assert run("uplift", [*options, "--json"]) == code
    return json.loads(capsys.readouterr().out)["figures"]


def test_a_file_is_learned_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, test = tmp_path / "rows.csv", tmp_path / "test.parquet"
    table().to_csv(path, index=False, sep=";")
    table(800, 3).to_parquet(test)
    picture = tmp_path / "tenths.png"
    more = ["--test", str(test), "--margin", "2", "--cost", "1", "--picture", str(picture)]
    figures = figures_of(capsys, asked(path, *more, control="0.0"))
    assert set(figures["learners"]) == {"same", "t", "dr"}
    for learner in figures["learners"].values():
        assert learner["qini_low"] <= learner["qini"] <= learner["qini_high"]
        assert set(learner["by_treatment"]) == {"1", "2"}
        assert "uplift_at_30" in learner
    assert figures["rate_p"] < 0.01
    assert figures["chosen"] == "policy"
    # Truth: nobody treated earns 2 x 5; the right treatment for each adds 2 x 3 - 1.
    assert figures["none"]["low"] < 10 < figures["none"]["high"]
    assert figures["policy"]["low"] < 15 < figures["policy"]["high"]
    assert figures["best_single"]["value"] == pytest.approx(12, abs=0.6)
    assert figures["left_out"] == {"same": "constant"}
    assert figures["features"][1:] == ["age"]
    assert picture.stat().st_size > 10_000


def test_logged_propensities_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    rich = draw.random(2000) < 0.5
    chance = np.where(rich, 0.8, 0.2)
    given = draw.random(2000) < chance
    rows = pd.DataFrame(
        {
            "arm": np.where(given, "Offer", "None"),
            "spend": 5.0 * rich + draw.normal(size=2000),
            "chance": np.where(given, chance, 1 - chance),
            "card": np.arange(2000),
            "x": draw.normal(size=2000),
        }
    )
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    test = ["--test", str(path)]
    naive = figures_of(capsys, asked(path, *test, "--leave-out", "chance", control="none"))
    right = figures_of(capsys, asked(path, *test, "--propensity", "chance", control="none"))
    # Truth: the offer does nothing; without propensities it seems to bring 5 (.8 - .2) = 3.
    assert naive["best_over_none"]["low"] > 2
    assert right["best_over_none"]["low"] < 0 < right["best_over_none"]["high"]


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        ({}, {"control": "9"}, "control '9' does not occur in column 'arm'; there are 0, 1, 2"),
        ({}, {"outcome": "zone"}, "column 'zone' has '(town|country)', which is no number"),
        ({}, {"outcome": "wage"}, "no column is called 'wage'; there are card, arm"),
        ({}, {"outcome": "arm"}, "one column cannot be two things"),
        ({"spend": [np.nan, *range(899)]}, {}, "column 'spend' is missing in 1 of 900 rows"),
        ({"arm": [np.nan] * 5 + [0, 1] * 447 + [1]}, {}, "treatment 'arm' is missing in 5 of 900"),
        ({"arm": [0] * 450 + [1] * 430 + [2] * 20}, {}, "treatment '2' was given to 20 units"),
        ({"arm": 0}, {}, "has the control '0' alone"),
        ({"arm": range(900)}, {}, "has 900 distinct values"),
        ({"spend": 3}, {}, "the outcome is 3 in all 900 rows"),
        ({"zone": "town", "age": 3}, {}, "no feature is left"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    change: dict[str, Any], more: dict[str, str], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    table().assign(**change).to_csv(path, index=False)
    with pytest.raises(RegularsError, match=says) as refused:
        run("uplift", asked(path, **more))
    assert "\n" not in str(refused.value)


def test_no_file_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(RegularsError, match=r"no-such\.csv"):
        run("uplift", asked(tmp_path / "no-such.csv"))
    with pytest.raises(RegularsError, match="--data is missing"):
        run("uplift", [])


def test_waves_are_read_strictly_from_what_was_before_them(tmp_path: Path) -> None:
    (tmp_path / "portfolio.json").write_text(
        '{"reward": 2, "channels": ["web"], "difficulty": 10, "duration": 10.0, '
        '"offer_type": "discount", "id": "o"}\n'
    )
    (tmp_path / "profile.json").write_text(
        "".join(
            f'{{"gender": "F", "age": {age}, "id": "{person}", "became_member_on": "{day}", '
            '"income": 50000}\n'
            for person, age, day in (("a", 40, "20180101"), ("b", 118, "20180111"))
        )
    )
    events = [
        ("a", "offer received", 0, "o", None, None),
        ("a", "transaction", 0, None, 20.0, None),
        ("a", "offer completed", 0, "o", None, 2.0),
        ("b", "transaction", 167, None, 10.0, None),
        ("b", "offer received", 168, "o", None, None),
        ("b", "transaction", 168, None, 30.0, None),
        ("b", "transaction", 336, None, 90.0, None),
    ]
    names = ["person", "event", "time", "offer_id", "amount", "reward"]
    pd.DataFrame(events, columns=names).to_parquet(tmp_path / "transcript.parquet")
    found = randomised_table(read_rewards(tmp_path), (0, 168), 168, 0.3)
    assert found["person"].tolist() == ["a", "b", "a", "b"]
    assert found["offer"].tolist() == ["discount 10/2 10 d", "none", "none", "discount 10/2 10 d"]
    # .3 x 20 - 2; .3 x 10; nothing; .3 x 30, what falls on hour 336 is the next wave's.
    assert found["money"].tolist() == pytest.approx([4.0, 3.0, 0.0, 9.0])
    assert found["spend"].tolist() == [0, 0, 20, 10]
    assert found["propensity"].tolist() == [0.075, 0.25, 0.25, 0.075]
    assert found["offer_hours_left"].tolist()[2] == 72
    assert found["member_days"].tolist() == [10, 0, 10, 0]
    assert np.isnan(found["age"].iloc[1])
    with pytest.raises(RegularsError, match="give the folder with transcript"):
        read_rewards(tmp_path / "elsewhere")
