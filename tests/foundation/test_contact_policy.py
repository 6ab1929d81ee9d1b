from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.contact_policy import Caps, Contact, ContactPolicy, barred, consented

POLICY = ContactPolicy()
NEW_YORK = ZoneInfo("America/New_York")
# Tuesday noon in New York.
NOON = datetime(2026, 11, 17, 17, tzinfo=UTC)
GRANTED = {"email": True, "push": True, "mail": True}
# Zones that turn their clocks by an hour, by half an hour, twice a year, at midnight, or left a day
# out (Samoa, 30 December 2011).
ZONES = (
    "America/New_York",
    "Europe/Vienna",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Santiago",
    "Pacific/Apia",
    "Asia/Kathmandu",
)
INSTANTS = st.datetimes(datetime(2010, 1, 1), datetime(2027, 12, 31)).map(  # noqa: DTZ001
    lambda naive: naive.replace(tzinfo=UTC)
)


def asked(
    channel: str = "email",
    contacts: tuple[Contact, ...] = (),
    at: datetime = NOON,
    policy: ContactPolicy = POLICY,
) -> str | None:
    return barred(policy, channel, GRANTED, contacts, NEW_YORK, at)


@pytest.mark.parametrize("channel", ["email", "push", "mail", "call"])
def test_an_outbound_channel_is_closed_until_she_opens_it(channel: str) -> None:
    assert barred(POLICY, channel, {}, (), NEW_YORK, NOON) == "no_consent"
    assert not consented(POLICY, channel, {channel: False})
    assert barred(POLICY, channel, {channel: True}, (), NEW_YORK, NOON) is None


@pytest.mark.parametrize("channel", ["app", "web", "till", "store"])
def test_where_she_comes_to_us_only_her_refusal_closes_a_channel(channel: str) -> None:
    often = tuple(Contact("email", NOON) for _ in range(9))
    night = NOON + timedelta(hours=12)
    assert barred(POLICY, channel, {"email": False}, often, NEW_YORK, night) is None
    assert barred(POLICY, channel, {channel: False}, (), NEW_YORK, NOON) == "no_consent"


# Source: by hand. New York is 5 hours behind UTC in November.
@pytest.mark.parametrize(
    ("hour", "quiet"), [(12, True), (13, False), (1, False), (2, True), (7, True), (17, False)]
)
def test_quiet_hours_are_hers_from_nine_in_the_evening_to_eight(hour: int, quiet: bool) -> None:
    at = NOON.replace(hour=hour)
    assert asked(at=at) == ("quiet_hours" if quiet else None)
    # A letter wakes nobody.
    assert asked("mail", at=at) is None


def test_what_she_got_where_she_comes_to_us_counts_towards_no_cap() -> None:
    often = tuple(Contact(channel, NOON) for channel in ("till", "app", "store", "web"))
    assert asked(contacts=often) is None
    assert asked(contacts=(*often, Contact("push", NOON))) == "contact_cap_day"


def test_caps_count_all_outbound_channels_and_each_on_its_own() -> None:
    policy = ContactPolicy(in_all=Caps(day=2, week=4), by_channel={"push": Caps(day=1, week=2)})
    push, mail = (Contact(channel, NOON - timedelta(hours=1)) for channel in ("push", "email"))
    old = [Contact("push", NOON - timedelta(days=days)) for days in (2, 4)]

    assert asked("push", (push,), policy=policy) == "contact_cap_day"
    assert asked("email", (push,), policy=policy) is None
    assert asked("email", (push, mail), policy=policy) == "contact_cap_day"
    assert asked("push", tuple(old), policy=policy) == "contact_cap_week"
    assert asked("email", (mail, *old), policy=policy) is None
    # Seven days in a row are a week, whatever day of the week it is.
    assert asked("push", (old[0], Contact("push", NOON - timedelta(days=6))), policy=policy) == (
        "contact_cap_week"
    )
    assert asked("push", (old[0], Contact("push", NOON - timedelta(days=7))), policy=policy) is None


@pytest.mark.parametrize("turned", [date(2026, 3, 8), date(2026, 11, 1)])
def test_a_day_of_23_or_25_hours_is_one_day(turned: date) -> None:
    # Source: New York turns its clocks on these days; 00:30 and 20:30 are 19 and 21 hours apart.
    early = datetime(turned.year, turned.month, turned.day, 0, 30, tzinfo=NEW_YORK).astimezone(UTC)
    late = datetime(turned.year, turned.month, turned.day, 20, 30, tzinfo=NEW_YORK).astimezone(UTC)
    assert late - early == timedelta(hours=19 if turned.month == 3 else 21)
    assert asked(contacts=(Contact("email", early),), at=late) == "contact_cap_day"
    before = Contact("email", early - timedelta(minutes=31))
    assert asked(contacts=(before,), at=late) is None


@settings(max_examples=150)
@given(
    INSTANTS,
    st.lists(st.integers(0, 15 * 24 * 60), min_size=1, max_size=40),
    st.sampled_from(ZONES),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 23),
    st.integers(0, 23),
)
def test_whoever_asks_whenever_no_cap_is_passed_and_no_quiet_hour_broken(
    start: datetime, minutes: list[int], zone: str, day: int, week: int, begin: int, end: int
) -> None:
    policy = ContactPolicy(in_all=Caps(day, week), quiet_from=begin, quiet_to=end)
    made: list[Contact] = []
    for at in sorted(start + timedelta(minutes=m) for m in minutes):
        if barred(policy, "email", GRANTED, made, ZoneInfo(zone), at) is None:
            made.append(Contact("email", at))
    # Judged by another library's clocks.
    walls = [one.at.astimezone(tz.gettz(zone)) for one in made]
    days = [wall.date() for wall in walls]
    assert all(days.count(one) <= day for one in days)
    for one in days:
        assert sum(timedelta() <= other - one < timedelta(days=7) for other in days) <= week
    for wall in walls:
        # By minutes since the hours began, so that midnight is no special case.
        since = (wall.hour * 60 + wall.minute - begin * 60) % 1440
        assert since >= (end - begin) % 24 * 60
