"""Purchase models and spend: published figures, numerical integration, simulated populations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import integrate, optimize, special, stats

from foundation.errors import TooLittleData
from segmentation import likelihood, purchase_models
from segmentation.purchase_models import (
    NAMES,
    Name,
    _purchases_while_alive,  # pyright: ignore[reportPrivateUsage]
    alive_probability,
    expected_purchases,
    fit,
    log_likelihood,
)
from segmentation.purchase_summary import (
    group_histories,
    kept_days,
    purchases_after,
    summarise_days,
)
from segmentation.spend_model import fit_spend

# Maximum likelihood on the CDNOW 1/10 sample: Fader, Hardie and Lee 2005; Fader and Hardie 2005.
BG = (0.2426, 4.4135, 0.7929, 2.4258)
PARETO = (0.5533, 10.578, 0.6062, 11.668)


def one(*history: float) -> list[np.ndarray]:
    return [np.array([value]) for value in history]


def test_bg_nbd_expects_what_its_authors_print() -> None:
    # Fader, Hardie and Lee 2005: x 2, t_x 30.43, T 38.86, the next 39 weeks.
    assert expected_purchases("bg_nbd", BG, *one(2, 30.43, 38.86), 39) == pytest.approx(
        1.2259, abs=5e-5
    )


def test_pareto_nbd_expects_what_its_authors_print() -> None:
    # Fader and Hardie: x 26, t_x 30.86, T 31.00, the next 52 weeks.
    history = one(26, 30.86, 31)
    assert expected_purchases("pareto_nbd", PARETO, *history, 52) == pytest.approx(25.46, abs=5e-3)
    assert alive_probability("pareto_nbd", PARETO, *history) == pytest.approx(0.9979, abs=5e-5)


def test_bg_nbd_holds_for_extreme_histories() -> None:
    # Independent implementation in log space: r .25, alpha 4, a .8, b 2.5, T 40.
    parameters = np.array([0.25, 4.0, 0.8, 2.5])
    found = log_likelihood(
        "bg_nbd", parameters, np.array([0.0, 200.0]), np.array([0.0, 38.0]), np.array([40.0, 40.0])
    )
    assert found == pytest.approx([-0.599474, 100.7957], abs=5e-5)


def test_bg_nbd_calls_every_one_time_buyer_alive_and_the_others_do_not() -> None:
    history = one(0, 0, 38.86)
    assert alive_probability("bg_nbd", BG, *history) == 1
    assert alive_probability("mbg_nbd", BG, *history) < 1
    assert alive_probability("pareto_nbd", PARETO, *history) < 1


@given(
    r=some.floats(0.05, 20),
    alpha=some.floats(0.05, 200),
    s=some.floats(0.05, 20),
    beta=some.floats(0.05, 200),
    x=some.integers(0, 60),
    share=some.floats(0.0, 0.999),
    T=some.floats(1, 150),
)
def test_pareto_nbd_equals_integration_over_the_moment_of_stopping(
    r: float, alpha: float, s: float, beta: float, x: int, share: float, T: float
) -> None:
    t_x = 0.0 if x == 0 else share * T
    parameters = np.array([r, alpha, s, beta])
    together = log_likelihood("pareto_nbd", parameters, *one(x, t_x, T))[0]
    alive = alive_probability("pareto_nbd", (r, alpha, s, beta), *one(x, t_x, T))[0]

    # The two parts of the likelihood, by adaptive quadrature, over their common factor.
    def stopping_at(u: float) -> float:
        power = -(r + x) * np.log((alpha + u) / (alpha + t_x))
        return float(s * np.exp(power - (s + 1) * np.log((beta + u) / (beta + t_x))))

    stopped = integrate.quad(stopping_at, t_x, T, limit=400, epsabs=0, epsrel=1e-10)[0]
    stopped /= beta + t_x
    still = np.exp(
        -(r + x) * np.log((alpha + T) / (alpha + t_x)) - s * np.log((beta + T) / (beta + t_x))
    )
    assert alive == pytest.approx(still / (still + stopped), rel=1e-6, abs=1e-12)
    assert np.isfinite(together)


@pytest.mark.parametrize("a", [0.3, 0.999999, 2.5, 60.0, 2_000.0])
@pytest.mark.parametrize("x", [0.0, 3.0, 400.0])
def test_mbg_nbd_expects_what_integration_over_its_customers_gives(a: float, x: float) -> None:
    r, alpha, b, weeks = 0.5, 6.0, 1.6, 39.0
    history = one(x, 0.0 if x == 0 else 30.0, 38.0)
    found = expected_purchases("mbg_nbd", (r, alpha, a, b), *history, weeks)[0]
    alive = alive_probability("mbg_nbd", (r, alpha, a, b), *history)[0]
    # A customer of rate l who stops with chance p makes (1 - exp(-l p weeks)) / p more purchases:
    # the mean over 400 x 400 quantiles of her gamma rate and beta chance.
    middle = (np.arange(400) + 0.5) / 400
    rate = stats.gamma.ppf(middle, r + x, scale=1 / (alpha + 38.0))[:, None]
    chance = np.maximum(stats.beta.ppf(middle, a, b + x + 1), 1e-12)[None, :]
    mean = float((-np.expm1(-rate * chance * weeks) / chance).mean())
    assert found == pytest.approx(alive * mean, rel=0.01, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_silence_makes_a_customer_less_alive(name: Name) -> None:
    parameters = PARETO if name == "pareto_nbd" else BG
    t_x = np.array([35.0, 20.0, 5.0])
    alive = alive_probability(name, parameters, np.full(3, 4.0), t_x, np.full(3, 38.0))
    assert np.all(np.diff(alive) < 0)


def pareto_population(n: int, weeks: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    r, alpha, s, beta = 0.8, 8.0, 0.7, 12.0
    rate = draw.gamma(r, 1 / alpha, n)
    until = np.minimum(draw.exponential(1 / draw.gamma(s, 1 / beta, n)), weeks)
    x = draw.poisson(rate * until)
    # Given their number, purchases of a Poisson process lie uniformly: the last is a maximum.
    last = np.where(x > 0, until * draw.random(n) ** (1 / np.maximum(x, 1)), 0.0)
    return x.astype(float), last, np.full(n, weeks)


def test_a_planted_population_is_recovered_within_its_own_errors() -> None:
    model = fit("pareto_nbd", group_histories(*pareto_population(6_000, 60.0, 3)))
    errors = np.sqrt(np.diag(model.covariance))
    planted = np.log([0.8, 8.0, 0.7, 12.0])
    # Four standard errors: one parameter in some thousand populations would fail.
    assert np.all(np.abs(np.log(model.parameters) - planted) < 4 * errors)


@pytest.mark.parametrize("name", NAMES)
def test_many_histories_are_fitted_by_all_of_them_and_not_by_a_part(
    name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, t_x, T = pareto_population(42_000, 60.0, 8)
    # Everybody is seen from a moment of her own on, so that no two histories are one.
    many = group_histories(x, t_x, T + np.random.default_rng(1).random(len(T)))
    assert len(many.x) > likelihood.CLIMBED_ROWS
    found = fit(name, many)

    monkeypatch.setattr(purchase_models, "CLIMBED_ROWS", len(many.x))
    whole = fit(name, many)

    # The bars that CDNOW is held to; a tenth of the customers would be .1 and 1 off.
    assert found.parameters == pytest.approx(whole.parameters, abs=0.005)
    assert found.log_likelihood == pytest.approx(whole.log_likelihood, abs=0.01)
    # As sure as all of them make it.
    assert np.diag(found.covariance) == pytest.approx(np.diag(whole.covariance), rel=0.05)


def test_many_spends_are_fitted_by_all_of_them_and_not_by_a_part() -> None:
    draw = np.random.default_rng(9)
    x = draw.integers(1, 8, 42_000).astype(float)
    spend = draw.gamma(6.0 * x, 1 / draw.gamma(4.0, 1 / 150.0, 42_000) / x)
    p, q, v = fit_spend(x, spend).parameters

    def density(parameters: np.ndarray) -> float:
        # The marginal of Fader and Hardie 2013, equation (1a), of every customer.
        p, q, v = parameters
        return float(
            (
                -special.betaln(p * x, q)
                + q * np.log(v)
                + (p * x - 1) * np.log(spend)
                + p * x * np.log(x)
                - (p * x + q) * np.log(v + x * spend)
            ).sum()
        )

    own = optimize.minimize(
        lambda logs: -density(np.exp(logs)) / len(x),
        np.log([p, q, v]) + 0.05,
        method="BFGS",
        options={"gtol": 1e-9},
    )
    assert fit_spend(x, spend).log_likelihood == pytest.approx(density(np.exp(own.x)), abs=0.01)
    assert (p, q) == pytest.approx(np.exp(own.x)[:2], abs=0.005)
    assert v == pytest.approx(np.exp(own.x)[2], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_those_of_the_likelihood_also_far_out(name: Name) -> None:
    x, t_x, T = pareto_population(300, 60.0, 2)
    for parameters in ((0.8, 8.0, 0.7, 12.0), (0.01, 300.0, 40.0, 0.05), (30.0, 0.1, 500.0, 900.0)):
        logs = np.log(parameters)
        _, slopes = purchase_models._with_slopes(name, np.array(parameters), x, t_x, T)
        for place, step in enumerate(np.eye(4) * 1e-5):
            above, below = (
                log_likelihood(name, np.exp(logs + side * step), x, t_x, T) for side in (1, -1)
            )
            assert slopes[place] * parameters[place] == pytest.approx(
                (above - below) / 2e-5, rel=1e-4, abs=1e-3
            )


def test_customers_who_all_stop_alike_are_fitted_by_the_limit_model() -> None:
    # Lifetimes of one rate for all are outside Pareto/NBD: s and beta run away, s / beta is the
    # rate. Refusing them would leave a young shop without a model.
    draw = np.random.default_rng(6)
    rate = draw.gamma(0.8, 1 / 8.0, 6_000)
    until = np.minimum(draw.exponential(20.0, 6_000), 60.0)
    x = draw.poisson(rate * until)
    last = np.where(x > 0, until * draw.random(6_000) ** (1 / np.maximum(x, 1)), 0.0)
    model = fit("pareto_nbd", group_histories(x.astype(float), last, np.full(6_000, 60.0)))
    _, _, s, beta = model.parameters
    assert beta > 500
    assert s / beta == pytest.approx(1 / 20, rel=0.1)
    assert np.isfinite(model.covariance).all()


@pytest.mark.parametrize("name", NAMES)
def test_customers_of_whom_nobody_came_back_are_expected_to_stay_away(name: Name) -> None:
    nobody = group_histories(np.zeros(500), np.zeros(500), np.arange(500) / 7)
    model = fit(name, nobody)
    assert model.expected(nobody.x, nobody.t_x, nobody.T, 52.0).max() < 0.1


def test_grouping_identical_histories_changes_nothing() -> None:
    x, t_x, T = (v.round() for v in pareto_population(500, 30.0, 5))
    summary = group_histories(x, t_x, T)
    assert summary.count.sum() == 500
    assert np.array_equal(summary.x[summary.group], x)
    whole = log_likelihood("pareto_nbd", np.array(PARETO), x, t_x, T).sum()
    grouped = log_likelihood("pareto_nbd", np.array(PARETO), summary.x, summary.t_x, summary.T)
    assert (summary.count * grouped).sum() == pytest.approx(whole)


def test_purchases_of_one_day_count_once_and_the_first_is_no_repeat() -> None:
    purchases = pd.DataFrame(
        {
            "customer_id": ["a", "a", "a", "a", "b"],
            "day": [0, 7, 7, 21, 14],
            "amount": [10.0, 5.0, 7.0, 20.0, 3.0],
        }
    )
    found = summarise_days(purchases, end_day=28)
    assert found.loc["a"].tolist() == [2.0, 3.0, 4.0, 16.0]
    assert found.loc["b", ["x", "t_x", "T"]].tolist() == [0.0, 0.0, 2.0]
    assert np.isnan(found.loc["b", "spend"])


def test_a_return_is_no_purchase_and_lowers_the_spend() -> None:
    purchases = pd.DataFrame(
        {
            "customer_id": ["a"] * 4 + ["b"],
            "day": [0, 7, 14, 21, 3],
            "amount": [10.0, 30.0, -12.0, 20.0, -5.0],
        }
    )
    found = summarise_days(purchases, end_day=28)
    # Two repeat days that brought 30 - 12 + 20; b only ever gave something back.
    assert found.index.tolist() == ["a"]
    assert found.loc["a"].tolist() == [2.0, 3.0, 4.0, 19.0]
    assert purchases_after(purchases, 7, found.index).tolist() == [1.0]


def told(*rows: tuple[str, int, float, float | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["customer_id", "day", "amount", "undoes"])


def test_a_return_lowers_the_day_it_names_the_first_one_too() -> None:
    purchases = told(
        ("a", 0, 10.0, None), ("a", 7, 30.0, None), ("a", 14, 20.0, None),
        # Of the first day a part came back, of the second all.
        ("a", 21, -4.0, 0), ("a", 21, -30.0, 7),
    )  # fmt: skip
    found = summarise_days(purchases, 28)
    assert found.loc["a"].tolist() == [1.0, 2.0, 4.0, 20.0]
    # The day before they came back nobody knew.
    assert summarise_days(purchases, 20).loc["a"].tolist() == [2.0, 2.0, 20 / 7, 25.0]
    assert purchases_after(purchases, 3, found.index).tolist() == [1.0]


def test_who_gave_everything_back_is_no_buyer_and_who_kept_it_is() -> None:
    purchases = told(
        ("kept", 0, 100.0, None),
        ("named", 0, 100.0, None), ("named", 5, -100.0, 0),
        ("nameless", 0, 100.0, None), ("nameless", 5, -100.0, None),
        ("same day", 0, 100.0, None), ("same day", 0, -100.0, None),
        ("before", 3, -100.0, None), ("before", 5, 100.0, None),
    )  # fmt: skip
    found = summarise_days(purchases, 28)
    # What came back before she bought was bought before the history.
    assert found.index.tolist() == ["before", "kept"]
    assert summarise_days(purchases.drop(columns="undoes"), 28).equals(found)


def test_a_return_without_a_name_undoes_the_latest_days_before_it() -> None:
    purchases = told(
        ("a", 0, 10.0, None), ("a", 7, 30.0, None), ("a", 14, 20.0, None), ("a", 21, 50.0, None),
        ("a", 15, -40.0, None), ("b", 0, 10.0, None), ("b", 9, 0.1, None), ("b", 9, 0.2, None),
        ("b", 10, -0.3, None),
    )  # fmt: skip
    found = kept_days(purchases)
    assert found.to_numpy().tolist() == [
        ["a", 0, 10.0],
        ["a", 7, 10.0],
        ["a", 21, 50.0],
        ["b", 0, 10.0],
    ]


def test_returns_before_anything_was_bought_leave_no_days_and_are_refused_by_what_needs_them() -> (
    None
):
    only_returns = told(("Ana", 10, -5.0, None), ("Eva", 12, -7.0, None), ("Eva", 400, 9.0, None))

    known = summarise_days(only_returns, end_day=20)

    assert known.empty
    assert list(known) == ["x", "t_x", "T", "spend"]
    assert purchases_after(only_returns, 20, pd.Index(["Ana", "Eva"])).tolist() == [0.0, 1.0]
    with pytest.raises(TooLittleData, match="no customer has bought anything"):
        group_histories(*(known[name].to_numpy() for name in ("x", "t_x", "T")))


def test_a_purchase_of_nothing_paid_is_one_unless_a_return_made_it_so() -> None:
    purchases = told(
        ("points", 0, 10.0, None), ("points", 7, 0.0, None), ("points", 9, -10.0, None),
        ("undone", 0, 10.0, None), ("undone", 7, 0.0, None), ("undone", 9, 0.0, 7),
    )  # fmt: skip
    assert kept_days(purchases)[["customer_id", "day"]].to_numpy().tolist() == [
        ["points", 7],
        ["undone", 0],
    ]


def test_spend_of_a_planted_population_is_recovered() -> None:
    draw = np.random.default_rng(4)
    p, q, v, n = 6.0, 4.0, 15.0, 8_000
    x = draw.integers(1, 8, n).astype(float)
    scale = 1 / draw.gamma(q, 1 / v, n)
    spend = draw.gamma(p * x, scale / x)
    model = fit_spend(x, spend)
    # The population's mean purchase is p v / (q - 1) = 30.
    none = model.expected_spend(np.zeros(1), np.full(1, np.nan))[0]
    assert none == pytest.approx(30.0, rel=0.03)
    # Many purchases speak for themselves.
    assert model.expected_spend(np.array([500.0]), np.array([80.0]))[0] == pytest.approx(
        80, rel=0.01
    )


def test_too_few_repeat_buyers_are_refused() -> None:
    with pytest.raises(TooLittleData, match="spend of 3 repeat buyers: at least 10"):
        fit_spend(np.ones(3), np.ones(3))
    with pytest.raises(TooLittleData, match="no customer has bought"):
        group_histories(*[np.empty(0)] * 3)


def test_in_a_shop_of_one_price_a_purchase_brings_that_price() -> None:
    x = np.array([0.0, 1.0, 2.0, 9.0] * 10)
    spend = np.where(x > 0, 350.0, np.nan)
    model = fit_spend(x, spend)
    assert model.expected_spend(x, spend) == pytest.approx(np.full(40, 350.0), rel=1e-3)


@pytest.mark.parametrize("name", ["bg_nbd", "mbg_nbd"])
def test_a_customer_of_today_is_expected_to_buy_a_number_where_both_series_overflow(
    name: Name,
) -> None:
    parameters = (30.0, 0.01, 200.0, 300.0)
    *_, a, b = parameters
    never = np.zeros(1)
    found = expected_purchases(name, parameters, never, never, never, 39.0)
    # So fast a buyer makes all purchases she will ever make: (a + b - 1) / (a - 1) for whoever
    # stops with a chance ~ Beta(a, b) after each, one purchase more having been survived in
    # MBG/NBD, which only b of a + b do at the first.
    alive = b / (a + b) if name == "mbg_nbd" else 1.0
    chances = b + (name == "mbg_nbd")
    assert found == pytest.approx(alive * (a + chances - 1) / (a - 1), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    logs=some.tuples(*[some.floats(-6, 6)] * 4),
    x=some.integers(0, 50),
    T=some.sampled_from([0.0, 1 / 7, 10.0, 100.0]),
    weeks=some.sampled_from([1 / 7, 39.0, 520.0]),
)
def test_expected_purchases_are_a_number_that_grows_with_time(
    logs: tuple[float, ...], x: int, T: float, weeks: float
) -> None:
    parameters = tuple(np.exp(logs))
    history = np.array([float(x) if T else 0.0]), np.array([T / 2 if x else 0.0]), np.array([T])
    for name in NAMES:
        sooner, later = (
            expected_purchases(name, parameters, *history, ahead)[0] for ahead in (weeks, 2 * weeks)
        )
        assert 0 <= sooner <= later * (1 + 1e-4) < np.inf


@pytest.mark.parametrize("a", [0.05, 0.8, 3.0, 20.0])
@pytest.mark.parametrize(
    ("chances", "shape", "odds"), [(2.0, 0.5, 4.0), (30.0, 3.0, 50.0), (0.5, 5.0, 0.3)]
)
def test_the_sum_over_the_logit_agrees_with_the_closed_form(
    a: float, chances: float, shape: float, odds: float
) -> None:
    # Fader, Hardie and Lee 2005, equation 10, by scipy's hypergeometric function.
    total = a + chances - 1
    series = special.hyp2f1(shape, chances, total, odds / (1 + odds))
    theirs = total / (a - 1) * (1 - (1 + odds) ** -shape * series)
    ours = _purchases_while_alive(np.array([shape]), np.array([odds]), a, np.array([chances]))
    assert ours[0] == pytest.approx(theirs, rel=1e-6)
