"""The gate on made-up exposures whose true chances are known."""

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.special import expit, logit

from foundation.errors import TooLittleData
from recommender.gate import AUC_MARGIN, SEGMENT_MARGIN, Part, Verdict, judge

SINCE = datetime(2026, 3, 1, tzinfo=UTC)
N = 4_000


class Exposures:
    """Rows of customers with four each; `chance` is each row's true one."""

    def __init__(self, seed: int = 1, n: int = N) -> None:
        self.draw = np.random.default_rng(seed)
        self.score = self.draw.normal(-1, 1.2, n)
        self.chance = expit(self.score)
        self.outcome = (self.draw.random(n) < self.chance).astype(float)
        self.customers = np.repeat(np.arange(n // 4), 4)

    def half(self) -> np.ndarray:
        return self.draw.random(len(self.score)) < 0.5

    def judge(
        self, challenger: np.ndarray, champion: np.ndarray | None = None, **segments: np.ndarray
    ) -> Verdict:
        return judge(
            self.outcome, challenger, champion, 0.3, self.customers, segments, SINCE, 7, rounds=300
        )


def parts(verdict: Verdict) -> dict[str, Part]:
    return {part.name: part for part in verdict.parts}


def test_a_challenger_that_tells_the_same_passes_with_a_gain_of_nothing() -> None:
    made = Exposures()
    found = made.judge(made.chance, made.chance, some=made.half())

    assert found.judgement().faults == ()
    gain = parts(found)["ranking"].figure
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_a_better_challenger_passes() -> None:
    made = Exposures()
    worse = expit(made.score + made.draw.normal(0, 1, N))

    assert made.judge(made.chance, worse, some=made.half()).judgement().faults == ()


def test_a_challenger_of_worse_ranking_is_refused_with_its_figure() -> None:
    made = Exposures()
    worse = expit(-1 + 0.5 * (made.score + 1 + made.draw.normal(0, 1.2, N)))

    found = made.judge(worse, made.chance)

    ranking = parts(found)["ranking"]
    assert ranking.holds is False
    assert ranking.figure is not None
    assert ranking.figure.high < -AUC_MARGIN
    (told,) = (f for f in found.judgement().faults if f.startswith("ranking"))
    assert "surely worse" in told
    assert f"{ranking.figure.value:+.3f}" in told


def test_what_cannot_be_told_is_refused_as_uncertain_and_not_as_worse() -> None:
    made = Exposures(seed=3, n=240)
    one, other = (expit(made.score + made.draw.normal(0, 1, 240)) for _ in range(2))

    told = parts(made.judge(one, other))["ranking"]

    assert told.holds is False
    assert "too uncertain to tell" in told.told


def test_the_same_ranking_told_too_extremely_fails_calibration_and_not_ranking() -> None:
    made = Exposures()
    # The slope of outcomes on logits that are 2 x the true ones is 1/2 (Cox 1958).
    found = parts(made.judge(expit(2 * logit(made.chance)), made.chance))

    assert found["ranking"].holds is True
    slope = found["calibration slope"]
    assert slope.holds is False
    assert slope.figure is not None
    assert slope.figure.low < 0.5 < slope.figure.high
    assert found["log loss"].holds is False


def test_a_rate_told_too_high_fails_observed_to_expected() -> None:
    made = Exposures()
    told = np.clip(1.6 * made.chance, 0, 0.999)
    found = parts(made.judge(told, made.chance))

    observed = found["observed/expected"]
    assert observed.holds is False
    assert observed.figure is not None
    assert observed.figure.value == pytest.approx(made.chance.sum() / told.sum(), abs=0.04)


def test_harm_to_one_segment_is_found_where_everybody_together_gains() -> None:
    made = Exposures()
    few = np.repeat(made.draw.random(N // 4) < 0.15, 4)
    champion = expit(made.score + made.draw.normal(0, 1, N))
    # Of these the challenger knows nothing but the rate; of all others the truth.
    challenger = np.where(few, made.outcome.mean(), made.chance)
    champion = np.where(few, made.chance, champion)

    found = made.judge(challenger, champion, few=few, others=~few, half=made.half())

    (fault,) = found.judgement().faults
    assert fault.startswith("few: log loss")
    few_part = parts(found)["few"].figure
    assert few_part is not None
    assert few_part.value > SEGMENT_MARGIN
    assert few_part.low > 0


def test_a_segment_too_small_is_not_judged_and_says_so() -> None:
    made = Exposures()
    few = made.customers < 8

    found = parts(made.judge(made.chance, made.chance, few=few))["few"]

    assert found.holds is None
    assert "10 are needed" in found.told


def test_rows_told_twice_are_no_more_evidence() -> None:
    made = Exposures(n=1_200)
    other = expit(made.score + made.draw.normal(0, 0.7, 1_200))
    once = parts(made.judge(made.chance, other, all=np.ones(1_200, dtype=bool)))

    made.outcome, made.customers = np.tile(made.outcome, 5), np.tile(made.customers, 5)
    again = parts(
        made.judge(np.tile(made.chance, 5), np.tile(other, 5), all=np.ones(6_000, dtype=bool))
    )

    for name in ("ranking", "log loss", "all"):
        one, five = once[name].figure, again[name].figure
        assert one is not None
        assert five is not None
        assert (five.low, five.high) == pytest.approx((one.low, one.high), abs=1e-9)


@pytest.mark.slow
def test_of_many_segments_chance_rarely_finds_one_harmed() -> None:
    # Both models are as wrong as each other, so that no segment is harmed: any of 20 may be found
    # so in 1 of 20. Bounds of one segment alone would find one in 2 of 5 (1 - .975 ** 20).
    found = 0
    for seed in range(60):
        made = Exposures(seed, n=1_200)
        one, other = (expit(made.score + made.draw.normal(0, 0.5, 1_200)) for _ in range(2))
        segments = {f"s{i}": np.repeat(made.draw.random(300) < 0.15, 4) for i in range(20)}
        judged = made.judge(one, other, **segments).parts
        found += any(
            p.figure is not None and p.figure.low > 0 for p in judged if p.name in segments
        )
    # Binomial(60, .05) exceeds 9 in 1 of 1,000.
    assert found <= 9


def test_without_a_champion_the_challenger_must_beat_guessing_and_be_calibrated() -> None:
    made = Exposures()

    assert made.judge(made.chance).judgement().faults == ()
    shuffled = made.draw.permutation(made.chance)
    faults = made.judge(shuffled).judgement().faults
    assert [fault.split(":")[0] for fault in faults][:2] == ["ranking", "skill"]


def test_too_few_customers_are_refused() -> None:
    made = Exposures(n=20)
    with pytest.raises(TooLittleData, match="needs 10 customers"):
        made.judge(made.chance, made.chance)
