import pytest

from experiments.metric_words import read_metrics
from experiments.metrics import Column, InvalidMetric, Mean, Proportion, Quantile, Ratio

COLUMNS = ["spend", "visits", "a:b"]


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("spend", Mean(Column("spend"))),
        ("spend:mean", Mean(Column("spend"))),
        ("spend:proportion", Proportion(Column("spend"))),
        ("spend:median", Quantile(Column("spend"), 0.5)),
        ("spend:quantile", Quantile(Column("spend"), 0.5)),
        ("spend:p90", Quantile(Column("spend"), 0.9)),
        ("spend:P99.5", Quantile(Column("spend"), 0.995)),
        ("a:b", Mean(Column("a:b"))),
        ("a:b:median", Quantile(Column("a:b"), 0.5)),
    ],
)
def test_a_word_names_a_metric(text, metric):
    (asked,) = read_metrics([text], COLUMNS).values()
    assert asked.metric() == metric


def test_winsorised_means_are_capped_at_a_quantile_of_all():
    found = read_metrics(["spend:winsorised", "visits:winsorised99.9"], COLUMNS)
    assert [one.cap for one in found.values()] == pytest.approx([0.99, 0.999])
    assert found["spend"].metric(cap=7.0) == Mean(Column("spend", 7.0))


def test_a_denominator_makes_a_ratio_of_what_is_called_nothing_else():
    def kinds(*texts):
        return [one.kind for one in read_metrics(texts, COLUMNS, "visits").values()]

    assert kinds("spend") == ["ratio"]
    assert kinds("spend", "visits:median") == ["ratio", "quantile"]
    assert kinds("spend:ratio", "visits") == ["ratio", "mean"]
    with pytest.raises(InvalidMetric, match="used by no metric"):
        kinds("spend:mean")


def test_a_covariate_adjusts_means_ratios_and_proportions():
    before = Column("before")
    for text, metric in (
        ("spend", Mean(Column("spend"), before)),
        ("spend:proportion", Mean(Column("spend"), before)),
        ("spend:ratio", Ratio(Column("spend"), Column("visits"), before)),
        ("spend:median", Quantile(Column("spend"), 0.5)),
    ):
        (asked,) = read_metrics([text], COLUMNS).values()
        assert asked.metric(None, "visits", "before") == metric


def test_metrics_are_named_by_column_and_by_kind_where_that_is_not_enough():
    assert list(read_metrics(["spend:median", "visits"], COLUMNS)) == ["spend", "visits"]
    assert list(read_metrics(["spend:p50", "spend:p90"], COLUMNS)) == ["spend:p50", "spend:p90"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["spend:avg"], "choose one of mean, proportion"),
        (["spend:p"], "choose one of"),
        (["spend:mean5"], "choose one of"),
        (["spend:p0"], "no quantile"),
        (["spend:p100"], "no quantile"),
        (["spend", "spend:mean"], "twice"),
        (["spend:median", "spend:p50"], "twice"),
    ],
)
def test_what_is_no_metric_is_told(texts, words):
    with pytest.raises(InvalidMetric, match=words):
        read_metrics(texts, COLUMNS)


def test_a_ratio_needs_its_denominator():
    (asked,) = read_metrics(["spend:ratio"], COLUMNS).values()
    with pytest.raises(InvalidMetric, match="--denominator"):
        asked.metric()
