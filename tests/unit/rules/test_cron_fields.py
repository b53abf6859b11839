"""The words of a refusal: one sentence, naming the field and the reason (SEMANTICS 2, 5)."""

import pytest

from jobs.rules.cron_days import day_table
from jobs.rules.cron_fields import MINUTE, expand, expand_month_days, expand_week_days
from jobs.rules.crontab import ALIASES, DST_PRESETS, CronError, CronSpec, parse_expression

pytestmark = pytest.mark.semantics(2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", set(range(60))),
        ("*/20", {0, 20, 40}),
        ("*/100", {0}),
        ("1-30/10", {1, 11, 21}),
        ("55-5/5", {55, 0, 5}),
        ("1, 2", {1, 2}),
        ("05", {5}),
    ],
)
def test_numbers(text: str, expected: set[int]) -> None:
    assert expand(MINUTE, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sun", {0}),
        ("7", {0}),
        ("0-7", set(range(7))),
        ("5-7", {5, 6, 0}),
        ("7-2", {0, 1, 2}),
        ("5-1/2", {5, 0}),
        ("*/2", {0, 2, 4, 6}),
        ("Thurs,friday", {4, 5}),
    ],
)
def test_weekdays(text: str, expected: set[int]) -> None:
    assert expand_week_days(text).days == expected


def test_day_extensions() -> None:
    month = expand_month_days("1,L,L-3,LW,15W")
    assert (month.days, month.from_last) == ({1}, {0, 3})
    assert (month.nearest, month.last_weekday) == ({15}, True)
    week = expand_week_days("2,fri#3,7L,wedL")
    assert (week.days, week.nth, week.last) == ({2}, {(5, 3)}, {0, 3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("60 * * * *", "The minute field '60' is not valid: 60 is above 59."),
        ("* * * * fro", "The day of week field 'fro' is not valid: 'fro' is not a name or number."),
        ("* mon * * *", "The hour field 'mon' is not valid: 'mon' is not a number."),
        (
            "5/10 * * * *",
            "The minute field '5/10' is not valid: a step needs a range or * before it, such as 5-59/10.",
        ),
        (
            "* * * * L",
            "The day of week field 'L' is not valid: L needs a weekday before it here, such as 5L or friL.",
        ),
        ("1, * * * *", "The minute field '1,' is not valid: a part of its list is empty."),
        (
            "* * *",
            "The expression '* * *' has 3 fields, not the five of minute, hour, day of month, "
            "month, day of week.",
        ),
        (
            "0 0 30 2 *",
            "The schedule '0 0 30 2 *' never fires: no month of '2' has the day of month '30'.",
        ),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        parse_expression(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["", "?", "* * ? * *", "1.5 * * * *", "٣ * * * *", "1-2-3 * * * *", "@reboot", "@"]
)
def test_what_is_not_in_the_syntax_is_refused(text: str) -> None:
    with pytest.raises(CronError):
        parse_expression(text)


def test_words() -> None:
    for word, text in ALIASES.items():
        assert parse_expression(word) == parse_expression(text)


@pytest.mark.semantics(7)
def test_presets() -> None:
    for name, pair in DST_PRESETS.items():
        spec = parse_expression("0 0 * * *", dst=name)
        assert (spec.gap, spec.fold) == pair
    with pytest.raises(CronError, match="use debian or aws or temporal"):
        parse_expression("0 0 * * *", dst="quartz")


@pytest.mark.parametrize("field", ["day_match", "month_end", "gap", "fold"])
def test_unknown_choices_are_refused(field: str) -> None:
    with pytest.raises(CronError, match="'odd' is unknown: use"):
        CronSpec(**{field: "odd"})


def test_a_spec_is_hashable_and_written_as_people_write_it() -> None:
    spec = CronSpec("0", "9, 17", day_of_week="1-5")
    assert len({spec, CronSpec("0", "9, 17", day_of_week="1-5")}) == 1
    assert spec.expression == "0 9,17 * * 1-5"


@pytest.mark.semantics(4)
def test_the_table_of_days_clamps_only_what_the_month_lacks() -> None:
    table = day_table(expand_month_days("30,31"), expand_week_days("*"), either=False, clamp=True)
    assert table.in_month(2027, 2) == 1 << 28
    assert table.in_month(2027, 4) == 1 << 30
    assert table.in_month(2027, 5) == 1 << 30 | 1 << 31
