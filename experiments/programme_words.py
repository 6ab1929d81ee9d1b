"""The overview of all experiments in words: the page, the console and the terminal say the same."""

from dataclasses import dataclass

from experiments.metric_titles import METRICS
from experiments.programme import MARGIN, Amount, Entry, Programme
from experiments.report_words import HEADLINES, TONES, Tone
from foundation.money import Currency


@dataclass(frozen=True, slots=True)
class Row:
    """An experiment in the overview."""

    key: str
    state: str
    decision: str
    tone: Tone
    why: str
    words: str
    between: str = ""
    amount: Amount | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A sum with its interval, or why there is none; `note` says how to read it."""

    label: str
    words: str
    between: str = ""
    note: str = ""
    amount: Amount | None = None


def entry_lines(found: Programme, currency: Currency) -> list[Row]:
    """Return a row for each experiment, the newest first."""
    return [_row(entry, currency) for entry in found.entries]


def programme_lines(found: Programme, currency: Currency) -> list[Line]:
    """Return the sums, the most trustworthy first."""
    lines = [
        _line(
            "The whole programme, by the holdout",
            found.holdout,
            currency,
            "everybody who was reached against everybody who was held out",
            otherwise=f"not known: {found.holdout_refused}",
        ),
        _line(
            f"All {found.summed} experiment(s) that have ended",
            found.incremental,
            currency,
            "won or not, while they ran; " + _left_out(found),
            otherwise="none has ended with figures yet",
        ),
    ]
    if found.shipped is None:
        return lines
    return [
        *lines,
        _line(
            "Of these, what was shipped, as measured",
            found.shipped,
            currency,
            "too high: winners are chosen for their luck as well; do not budget with it",
        ),
        _line(
            "What was shipped, without the luck",
            found.shrunken,
            currency,
            "drawn back to what experiments here usually bring",
            otherwise="too few experiments have ended to tell luck from effect",
        ),
    ]


def _row(entry: Entry, currency: Currency) -> Row:
    state = "running"
    if entry.stopped_at is not None:
        state = f"stopped {entry.stopped_at:%Y-%m-%d}"
    elif entry.ended:
        state = "at its end"
    decision, tone = "none yet", TONES["continue"]
    if entry.action is not None:
        decision = HEADLINES[entry.action].format(entry.shipped or "").strip()
        tone = TONES[entry.action]
    if entry.incremental is None:
        # Without a report the refusal is all there is to say.
        why = "" if entry.why == entry.refused else entry.why
        return Row(entry.key, state, decision, tone, why, f"no figure: {entry.refused}")
    words, between = _said(entry.incremental, currency)
    return Row(entry.key, state, decision, tone, entry.why, words, between, entry.incremental)


def _line(
    label: str, amount: Amount | None, currency: Currency, note: str, otherwise: str = ""
) -> Line:
    if amount is None:
        return Line(label, otherwise)
    words, between = _said(amount, currency)
    return Line(label, words, f"95 % interval {between}", note, amount)


def _said(amount: Amount, currency: Currency) -> tuple[str, str]:
    change = METRICS[MARGIN].change
    return (
        change(amount.value, currency),
        f"{change(amount.low, currency)} to {change(amount.high, currency)}",
    )


def _left_out(found: Programme) -> str:
    if not found.left_out:
        return "none of them is left out"
    return f"{found.left_out} that ended without figures are left out"
