"""The benchmark of uplift reads any randomised file, or says in one line what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.readers.randomised import Columns, codes, numbers, read_table, treatments
from benchmarks.readers.starbucks import randomised_table, read_rewards
from benchmarks.run import run
from benchmarks.uplift import bars
from foundation.errors import RegularsError, TooLittleData
from recommender import uplift_evaluation
from recommender.uplift_curve import UpliftScores, uplift_scores


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
    other = table(800, 3)
    other.assign(card=other["card"] + 5000).to_parquet(test)
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


def rich_and_poor(seed: int, gain: float = 0.0) -> pd.DataFrame:
    """The rich, of whom nothing is known, are offered something with .8, others with .2."""
    draw = np.random.default_rng(seed)
    rich = draw.random(2000) < 0.5
    chance = np.where(rich, 0.8, 0.2)
    given = draw.random(2000) < chance
    return pd.DataFrame(
        {
            "arm": np.where(given, "Offer", "None"),
            "spend": 5.0 * rich + gain * given + draw.normal(size=2000),
            "chance": np.where(given, chance, 1 - chance),
            "card": np.arange(2000) + 10_000 * seed,
            "x": draw.normal(size=2000),
        }
    )


def test_logged_propensities_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = tmp_path / "rows.csv", tmp_path / "test.csv"
    rich_and_poor(0).to_csv(path, index=False)
    rich_and_poor(1).to_csv(other, index=False)
    test = ["--test", str(other)]
    naive = figures_of(capsys, asked(path, *test, "--leave-out", "chance", control="none"))
    right = figures_of(capsys, asked(path, *test, "--propensity", "chance", control="none"))
    # Truth: the offer does nothing; without propensities it seems to bring 5 (.8 - .2) = 3.
    assert naive["best_over_none"]["low"] > 2
    assert right["best_over_none"]["low"] < 0 < right["best_over_none"]["high"]
    rich_and_poor(1).drop(columns="chance").to_csv(other, index=False)
    with pytest.raises(RegularsError, match="no column is called 'chance', and probabilities"):
        run("uplift", asked(path, *test, "--propensity", "chance", control="none"))


def test_a_column_of_lists_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.parquet"
    rows = table()
    lists = [[n % 5, 1] if n % 7 else None for n in range(len(rows))]
    rows.assign(bought=lists, where=[{"x": n % 3} for n in range(len(rows))]).to_parquet(path)

    left_out = figures_of(capsys, asked(path))["left_out"]

    why = "holds lists or records, no single value a row"
    assert (left_out["bought"], left_out["where"]) == (why, why)


def test_lists_that_name_what_was_drawn_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = table()
    homes = np.arange(len(rows)) // 3
    by_home = rows.assign(arm=rows["arm"].to_numpy()[homes], home=[[one] for one in homes])
    by_home.to_parquet(path)
    with pytest.raises(RegularsError, match="column 'home': rows of the same value got the same"):
        run("uplift", asked(path))


def test_treatments_of_different_texts_are_never_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    names = ["1000", "1000001", "1000002", "007", "7", "1e3"]
    draw = np.random.default_rng(0)
    rows = table(1200).assign(arm=draw.choice(names, 1200))
    rows.to_csv(path, index=False)
    figures = figures_of(capsys, asked(path, control="1e3"))
    assert set(figures["learners"]["same"]["by_treatment"]) == set(names) - {"1e3"}


def test_a_test_file_of_another_type_has_the_same_treatments(tmp_path: Path) -> None:
    columns = Columns("arm", "spend", "1")
    names = treatments(pd.DataFrame({"arm": ["1", "1000001", "007"]}), columns)
    assert names == ["1", "007", "1000001"]
    typed = pd.DataFrame({"arm": [1.0, 7.0, 1000001.0]})
    assert codes(typed, columns, names).tolist() == [0, 1, 2]
    with pytest.raises(RegularsError, match="'1000002' of the test file does not occur"):
        codes(pd.DataFrame({"arm": ["1", "1000002"]}), columns, names)
    with pytest.raises(RegularsError, match=r"several treatments of the test file may be '007'"):
        codes(pd.DataFrame({"arm": ["007", "7"]}), columns, names)


def test_who_is_one_draw_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A household's taste is in all its rows, and no treatment does anything.
    draw = np.random.default_rng(3)
    house = np.repeat(np.arange(300), draw.integers(2, 6, 300))
    n = len(house)
    rows = pd.DataFrame(
        {
            "household": house,
            "arm": draw.integers(0, 2, 300)[house],
            "spend": 5 * draw.normal(size=300)[house] + draw.normal(size=n),
            "age": draw.integers(18, 80, n),
        }
    )
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    plain = ["--data", str(path), "--treatment", "arm", "--control", "0", "--outcome", "spend"]
    with pytest.raises(RegularsError, match=r"'household': rows of the same.*--unit household"):
        run("uplift", plain)
    figures = figures_of(capsys, [*plain, "--unit", "household"])
    assert figures["chosen"] == "none"
    assert figures["units"] == 300
    # Its income names a household as well.
    rows.assign(income=draw.normal(size=300)[house]).drop(columns="household").to_csv(
        path, index=False
    )
    with pytest.raises(RegularsError, match="'income': rows of the same value"):
        run("uplift", plain)
    # And so do several columns together, none of which does so alone.
    several = rows.assign(age=(house // 25) % 12, zone=house % 25).drop(columns="household")
    several.to_csv(path, index=False)
    with pytest.raises(RegularsError, match=r"rows with the same features.*--unit"):
        run("uplift", plain)


def test_what_became_known_after_the_treatment_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(4)
    n = 2000
    mailed = draw.integers(0, 2, n)
    pages = draw.poisson(1 + mailed)
    rows = pd.DataFrame(
        {
            "card": np.arange(n),
            "arm": np.where(mailed, "mail", "none"),
            "age": draw.integers(18, 80, n),
            "pages": pages,
            "spend": (draw.random(n) < 0.1 + 0.1 * np.minimum(pages, 3)) * 1,
        }
    )
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    assert run("uplift", [*asked(path, control="none"), "--json"]) == 0
    told = capsys.readouterr()
    figures = json.loads(told.out)["figures"]
    assert figures["features"] == ["age"]
    assert "differs between treatments" in figures["left_out"]["pages"]
    assert "left out 'pages'" in told.err
    # Truth: a mail brings about .1 of a page's .1; with pages known, nothing seemed left of it.
    assert figures["best_over_none"]["low"] > 0.03


def test_models_whose_mean_is_not_that_of_the_rows_are_refused(tmp_path: Path) -> None:
    # Balanced to learn from; in the rows judged, x is high where the treatment was given.
    learned, judged = rich_and_poor(0), rich_and_poor(1)
    for rows, shift in ((learned, 0.0), (judged, 1.0)):
        rows["x"] += shift * (rows["arm"] == "Offer")
        rows["spend"] = rows["x"] + 0.1 * rows["spend"]
    path, other = tmp_path / "rows.csv", tmp_path / "test.csv"
    learned.assign(chance=0.5).to_csv(path, index=False)
    judged.assign(chance=0.5).to_csv(other, index=False)
    more = ["--propensity", "chance", "--test", str(other)]
    with pytest.raises(RegularsError, match=r"the model expects .* known only after the treatment"):
        run("uplift", asked(path, *more, control="none"))


def test_rows_learned_from_do_not_judge(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    table().to_csv(path, index=False)
    with pytest.raises(RegularsError, match=r"900 of 900 units of the test file \('card'\)"):
        run("uplift", asked(path, "--test", str(path)))
    plain = ["--data", str(path), "--treatment", "arm", "--control", "0", "--outcome", "spend"]
    with pytest.raises(RegularsError, match="900 of 900 rows of the test file"):
        run("uplift", [*plain, "--test", str(path)])


def test_a_test_file_is_judged_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, test = tmp_path / "rows.csv", tmp_path / "test.csv"
    table(1500).to_csv(path, index=False)
    other = table(360, 3).assign(card=np.arange(360) + 9000)
    other.to_csv(test, index=False)
    small = figures_of(capsys, asked(path, "--test", str(test)))
    # 120 of each, whose design is known: 1 in 3.
    assert small["policy_over_best"]["low"] > 0
    other[other["arm"] < 2].to_csv(test, index=False)
    with pytest.raises(RegularsError, match=r"treatment '0' was given 1.* times as often"):
        run("uplift", asked(path, "--test", str(test)))
    other.assign(chance=0.5)[other["arm"] < 2].to_csv(test, index=False)
    table(1500).assign(chance=1 / 3).to_csv(path, index=False)
    part = figures_of(capsys, asked(path, "--test", str(test), "--propensity", "chance"))
    told = "treatment '2' was given in none of"
    assert part["policy"]["value"] is None
    assert part["policy"]["refused"].startswith(told)
    assert part["learners"]["dr"]["by_treatment"]["1"]["qini"] is not None
    assert part["learners"]["dr"]["by_treatment"]["2"]["qini"] is None
    assert part["learners"]["dr"]["by_treatment"]["2"]["refused"].startswith(told)
    assert "whether targeting pays cannot be told" in part["because"]


def test_rare_outcomes_are_refused_and_no_value_is_below_what_can_be(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    draw = np.random.default_rng(0)
    rare = (draw.random(3000) < 0.0015) * 1
    table(3000).assign(spend=rare).to_csv(path, index=False)
    with pytest.raises(RegularsError, match=r"has \d\.0 effective successes.*30 are needed"):
        run("uplift", asked(path))


@pytest.mark.parametrize(
    ("figures", "fails"),
    [
        ({"chosen": "policy", "policy_over_best": (-3, -1)}, "chosen over best single"),
        ({"chosen": "policy", "policy_over_none": (-3, -1)}, "chosen over none"),
        ({"chosen": "best_single", "best_over_none": (-2, -1)}, "chosen over none"),
        ({"chosen": "none", "best_over_none": (1, 2)}, "chosen over best single"),
        ({"chosen": "policy"}, None),
        ({"chosen": "best_single"}, None),
        ({"chosen": "none", "best_over_none": (-1, 2)}, None),
        ({"chosen": "none", "best_over_none": (None, None)}, None),
    ],
)
def test_a_choice_that_surely_loses_fails_its_bar(
    figures: dict[str, Any], fails: str | None
) -> None:
    sure = dict.fromkeys(("policy_over_best", "policy_over_none", "best_over_none"), (1, 2))
    told = {
        name: one if name == "chosen" else {"low": one[0], "high": one[1]}
        for name, one in {**sure, **figures}.items()
    }
    failing = [bar.name for bar in bars(told) if not bar.holds]
    assert failing == ([] if fails is None else [f"{fails}, upper bound"])


def test_one_undefined_qini_leaves_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(outcome: np.ndarray, score: np.ndarray, *more: Any) -> UpliftScores:
        if len(outcome) < 590:
            raise TooLittleData("Qini of few rows is undefined; wait for more rows")
        return uplift_scores(outcome, score, *more)

    monkeypatch.setattr(uplift_evaluation, "uplift_scores", broken)
    path = tmp_path / "rows.csv"
    table(900).assign(arm=np.repeat([0, 1, 2], [300, 400, 200])).to_csv(path, index=False)
    figures = figures_of(capsys, asked(path))
    by = figures["learners"]["dr"]["by_treatment"]
    assert by["1"]["qini"] is not None
    assert (by["2"]["qini"], by["2"]["qini_low"]) == (None, None)
    assert "undefined" in by["2"]["refused"]
    assert figures["chosen"] in ("policy", "best_single", "none")


def test_files_as_other_programs_write_them_are_read(tmp_path: Path) -> None:
    columns = Columns("arm", "spend", "no")
    path = tmp_path / "rows.csv"
    text = " spend;arm;straße;note\n14,05;no;1,5;a,b\n3,5;yes;2,25;\n"
    path.write_text(text, encoding="cp1252")
    found = read_table(path, columns)
    assert found.columns.tolist() == ["spend", "arm", "straße", "note"]
    assert found["spend"].tolist() == [14.05, 3.5]
    path.write_text("spend\tarm\n14.05\tno\n1,234\tyes\n")
    with pytest.raises(RegularsError, match="column 'spend' has '1,234', which is no number"):
        numbers(read_table(path, columns), "spend")
    for head in (" x,x,spend,arm", "x,x,spend,arm", '"x", x,spend,arm'):
        path.write_text(f"{head}\n1,2,3,no\n")
        with pytest.raises(RegularsError, match="2 columns are called 'x'") as refused:
            read_table(path, columns)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pair", [("Yes", "No"), ("TRUE", "false"), ("y", "n"), (True, False)])
def test_an_outcome_of_a_known_pair_is_1_and_0(pair: tuple[Any, Any]) -> None:
    told = pd.DataFrame({"y": [pair[0], pair[1], pair[0]]}).astype("object")
    assert numbers(told, "y").tolist() == [1, 0, 1]
    with pytest.raises(RegularsError, match=r"'Yes', which is no number; write 1 and 0 .or a pair"):
        numbers(pd.DataFrame({"y": ["Yes", "f"]}), "y")


@pytest.mark.parametrize("unit", ["ns", "us", "s"])
def test_dates_are_no_amounts(unit: str) -> None:
    days = pd.to_datetime(["2026-01-01", "2026-01-02"]).as_unit(unit)  # pyright: ignore
    for dates in (days, days.tz_localize("UTC"), days - days[0]):
        with pytest.raises(RegularsError, match="column 'y' holds dates or times"):
            numbers(pd.DataFrame({"y": dates}), "y")
    objects = pd.DataFrame({"y": pd.Series([one.date() for one in days], dtype="object")})
    with pytest.raises(RegularsError, match="which is no number"):
        numbers(objects, "y")


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


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere/x.png", "there is no folder .*nowhere"), ("x.html", "ends with .png")],
)
def test_a_picture_that_could_not_be_written_is_refused_before_the_work(
    name: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(RegularsError, match=says):
        run(
            "uplift", asked(tmp_path / "not-even-looked-for.csv", "--picture", str(tmp_path / name))
        )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_named_so(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(("\ufeff" + table(60).to_csv(index=False)).encode(encoding))
    with pytest.raises(RegularsError, match=r"is written in UTF-16.* save it as UTF-8"):
        run("uplift", asked(path))


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
