"""The response benchmark reads Starbucks' files with nothing of what came after an offer."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.ope import DATA as OPEN_BANDIT
from benchmarks.readers.starbucks_responses import read_responses, response_frame
from benchmarks.response import STARBUCKS, bars
from foundation.errors import RegularsError

FIGURES = {
    "gain_over_rate_low": 0.05,
    "gain_over_logistic_low": -0.004,
    "basket_gain_low": 0.003,
    "starbucks_completed_auc": 0.9,
    "starbucks_influenced_auc": 0.8,
    "starbucks_data": "data/starbucks",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    offers = [
        {"id": "ten", "reward": 10, "channels": ["web", "email"], "difficulty": 10,
         "duration": 7, "offer_type": "bogo"},
        {"id": "news", "reward": 0, "channels": ["email"], "difficulty": 0, "duration": 3,
         "offer_type": "informational"},
    ]  # fmt: skip
    people = [
        {"id": who, "gender": None, "age": 118, "income": None, "became_member_on": day}
        for who, day in (("ana", 20170101), ("bea", 20170111))
    ]
    events = [
        ("ana", "transaction", 100, None, 4.0),
        ("ana", "offer received", 168, "ten", None),
        ("bea", "offer received", 168, "ten", None),
        ("bea", "offer received", 168, "news", None),
        # At the wave's own hour and after it: no longer before.
        ("ana", "transaction", 168, None, 50.0),
        ("ana", "offer viewed", 174, "ten", None),
        ("ana", "offer completed", 180, "ten", None),
        ("bea", "offer completed", 336, "ten", None),
        ("bea", "offer viewed", 340, "ten", None),
        ("ana", "offer received", 504, "ten", None),
        ("ana", "offer completed", 700, "ten", None),
    ]
    columns = ["person", "event", "time", "offer_id", "amount"]
    pd.DataFrame(events, columns=columns).to_parquet(tmp_path / "transcript.parquet")
    for name, rows in (("portfolio", offers), ("profile", people)):
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / f"{name}.json").write_text(lines)
    return tmp_path


def test_outcomes_are_attributed_by_window_and_inputs_lie_before_the_offer(folder: Path) -> None:
    rows = read_responses(folder).sort_values(["time", "customer_id"])

    assert rows["customer_id"].tolist() == ["ana", "bea", "ana"]
    assert rows["completed"].tolist() == [True, True, False]
    # Bea viewed after she had completed; at hour 700 the last window is over.
    assert rows["influenced"].tolist() == [True, False, False]
    assert rows["spend"].tolist() == [4.0, 0.0, 54.0]
    assert rows["offers_completed"].tolist() == [0, 0, 1]
    assert rows["member_days"].tolist() == [10, 0, 10]
    assert not {"age", "gender", "income"} & set(rows.columns)


def test_the_stated_split_is_by_the_window_and_the_wave(folder: Path) -> None:
    frame = response_frame(read_responses(folder), "influenced")

    assert len(frame.rows) == 3
    assert frame.outcome.tolist() == [1, 0, 0]
    assert frame.matrix.shape == (3, len(frame.names))
    assert not {"completed", "influenced", "ends", "time"} & set(frame.names)


def test_the_folder_is_found_from_any_working_directory() -> None:
    assert STARBUCKS.is_absolute()
    assert OPEN_BANDIT.parent / "starbucks_rewards" == STARBUCKS


def test_another_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RegularsError, match="give the folder with transcript"):
        read_responses(tmp_path)


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, []),
        ({"gain_over_rate_low": 0.0}, ["gain_over_rate_low"]),
        ({"gain_over_logistic_low": -0.011}, ["gain_over_logistic_low"]),
        ({"starbucks_completed_auc": 0.877}, ["starbucks_completed_auc"]),
        ({"starbucks_influenced_auc": 0.79}, ["starbucks_influenced_auc"]),
        # What was not measured holds no bar.
        (
            {"starbucks_completed_auc": None, "starbucks_influenced_auc": None},
            ["starbucks_completed_auc", "starbucks_influenced_auc"],
        ),
    ],
)
def test_every_figure_is_held_to_its_bar(change: dict[str, float | None], fails: list[str]) -> None:
    held = bars(FIGURES | change)
    assert [bar.name for bar in held if not bar.holds] == fails
    # What was not measured has no value either.
    unmeasured = [name for name, value in change.items() if value is None]
    assert [bar.name for bar in held if bar.value is None] == unmeasured
