"""Crontabs of machines."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.system_crontab import Line, parse
from jobs.rules.timing import next_after

SYSTEM = """\
# /etc/crontab: system-wide crontab
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin
MAILTO = "root@example.org"

17 *	* * *	root	cd / && run-parts --report /etc/cron.hourly
25 6	* * 7	root	test -x /usr/sbin/anacron || { cd /; }
@daily postgres  vacuum
CRON_TZ=Asia/Tokyo
52 6	1 * mon	root	echo hello
"""


def one(text: str, **options: object) -> Line:
    return parse(text, **options)[-1]  # type: ignore[arg-type]


def test_a_system_crontab() -> None:
    lines = parse(SYSTEM, tz="Europe/Berlin", user_column=True)
    assert [line.kind for line in lines] == [
        "comment", "setting", "setting", "setting", "blank", "command", "command", "command", "setting",
        "command",
    ]  # fmt: skip
    assert (lines[3].name, lines[3].value) == ("MAILTO", "root@example.org")
    hourly, weekly, daily, monthly = (line for line in lines if line.kind == "command")
    assert (hourly.user, hourly.command) == ("root", "cd / && run-parts --report /etc/cron.hourly")
    assert hourly.spec is not None
    assert (hourly.spec.expression, hourly.spec.tz, hourly.spec.day_match) == (
        "17 * * * *", "Europe/Berlin", "and",
    )  # fmt: skip
    assert hourly.environment == {
        "SHELL": "/bin/sh", "PATH": "/usr/local/sbin:/usr/local/bin:/sbin:/bin", "MAILTO": "root@example.org",
    }  # fmt: skip
    assert weekly.spec is not None
    assert next_after(weekly.spec, datetime(2027, 1, 1, tzinfo=UTC)).at.isoweekday() == 7  # type: ignore[union-attr]
    assert (daily.user, daily.command) == ("postgres", "vacuum")
    assert monthly.spec is not None
    assert (monthly.spec.tz, monthly.spec.day_match) == ("Asia/Tokyo", "vixie")


def test_a_star_makes_both_days_matter() -> None:
    spec = one("0 0 */2 * mon x").spec
    assert spec is not None
    first = next_after(spec, datetime(2027, 2, 1, 12, tzinfo=UTC))
    assert first is not None
    assert (first.at.day, first.at.isoweekday()) == (15, 1)


def test_percent_signs_are_lines_of_the_standard_input() -> None:
    line = one(r"0 0 * * * mail -s 100\% ada%Hello%%Bye \%")
    assert (line.command, line.stdin) == ("mail -s 100% ada", "Hello\n\nBye %")
    assert one("0 0 * * * date").stdin is None
    assert one("0 0 * * * cat%").stdin == ""


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("MAILTO=", "MAILTO", ""),
        ('"A"= x y ', "A", "x y"),
        ("A = ' x '", "A", " x "),
        ("A='x", "A", "'x"),
        ("A=b=c", "A", "b=c"),
    ],
)
def test_settings(text: str, name: str, value: str) -> None:
    line = one(text)
    assert (line.kind, line.name, line.value) == ("setting", name, value)


def test_an_assignment_before_a_command_is_of_the_command() -> None:
    assert one("0 0 * * * A=b x").command == "A=b x"


def test_words() -> None:
    assert one("@reboot x").at_reboot
    assert one("@HOURLY x").spec.expression == "0 * * * *"  # type: ignore[union-attr]
    line = one("-*/5 * * * * x")
    assert (line.quiet, line.spec.expression) == (True, "*/5 * * * *")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 0 * * *", "a command must follow"),
        ("@daily", "a command must follow"),
        ("@dayly x", "'@dayly' is unknown"),
        ("61 * * * * x", "61 is above 59"),
        ("0~30 * * * * x", "not a number"),
        ("5/10 * * * * x", "a step needs a range"),
        ("0 0 30 2 * x", "never fires"),
        ("nonsense", "must follow"),
    ],
)
def test_broken_lines_say_why(text: str, problem: str) -> None:
    line = one(text)
    assert line.kind == "broken"
    assert problem in line.problem


def test_a_zone_that_does_not_exist() -> None:
    line = one("CRON_TZ=Mars\n0 0 * * * x")
    assert (line.kind, "'Mars' is unknown" in line.problem) == ("broken", True)


def test_a_user_without_a_command() -> None:
    assert "a user and a command" in one("0 0 * * * root", user_column=True).problem


@given(st.text(max_size=200), st.booleans())
def test_no_line_is_lost_whatever_it_says(text: str, user_column: bool) -> None:
    lines = parse(text, user_column=user_column)
    assert [line.number for line in lines] == list(range(1, len(text.splitlines()) + 1))
