"""Reading the crontab of a machine: `crontab -l`, /etc/crontab, /etc/cron.d (crontab(5)).

Every line becomes one value that says what it is. Nothing is left out, and nothing is decided about what
can be taken over: `parse` keeps the environment, the user, the standard input and the zone of each command.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from jobs.rules.crontab import CronError, CronSpec, parse_expression, restricts_both_days

REBOOT = "@reboot"
ZONE = "CRON_TZ"

_SETTING = re.compile(r"""(?P<quote>["']?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P=quote)\s*=\s*(?P<value>.*)""")
_UNESCAPED_PERCENT = re.compile(r"(?<!\\)%")

Kind = Literal["blank", "comment", "setting", "command", "broken"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a crontab.

    A `setting` has a name and a value. A `command` has a `spec`, or none when it runs at each start of the
    machine; `stdin` is what follows the first `%`. A `broken` line has a `problem`.
    """

    number: int
    text: str
    kind: Kind
    name: str = ""
    value: str = ""
    spec: CronSpec | None = None
    user: str = ""
    command: str = ""
    stdin: str | None = None
    quiet: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def at_reboot(self) -> bool:
        """Whether it runs when the machine starts."""
        return self.kind == "command" and self.spec is None


def parse(text: str, *, tz: str = "UTC", user_column: bool = False) -> list[Line]:
    """Return the lines of a crontab, in order.

    `tz` is the zone of the machine, until a CRON_TZ says otherwise for what follows. With `user_column` a
    user stands before each command, as in /etc/crontab.
    """
    environment: dict[str, str] = {}
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = _line(
            number, raw.strip(), environment, tz=environment.get(ZONE) or tz, user_column=user_column
        )
        if line.kind == "setting":
            environment = {**environment, line.name: line.value}
        lines.append(line)
    return lines


def _line(number: int, text: str, environment: dict[str, str], *, tz: str, user_column: bool) -> Line:
    if not text:
        return Line(number, text, "blank")
    if text.startswith("#"):
        return Line(number, text, "comment")
    setting = _SETTING.fullmatch(text)
    if setting is not None:
        return Line(number, text, "setting", name=setting["name"], value=_unquoted(setting["value"]))
    try:
        return _command(number, text, environment, tz=tz, user_column=user_column)
    except CronError as error:
        return Line(number, text, "broken", problem=str(error))


def _command(number: int, text: str, environment: dict[str, str], *, tz: str, user_column: bool) -> Line:
    quiet = text.startswith("-") and not text.startswith("@")
    body = text[1:].lstrip() if quiet else text
    times = 1 if body.startswith("@") else 5
    words = body.split(None, times + user_column)
    if len(words) != times + user_column + 1:
        wanted = "a user and a command" if user_column else "a command"
        raise CronError(f"After {'its word' if times == 1 else 'the five fields'} {wanted} must follow.")
    expression, rest = " ".join(words[:times]), words[times:]
    command, stdin = _split_percent(rest[-1])
    return Line(
        number,
        text,
        "command",
        spec=None if expression.lower() == REBOOT else _spec(expression, tz),
        user=rest[0] if user_column else "",
        command=command,
        stdin=stdin,
        quiet=quiet,
        environment=dict(environment),
    )


def _spec(expression: str, tz: str) -> CronSpec:
    """Return the time. Both day fields restricted: either may match, as cron does it (SEMANTICS 3)."""
    fields = expression.split()
    both = len(fields) == 5 and restricts_both_days(fields[2], fields[4])
    return parse_expression(expression, tz=tz, day_match="vixie" if both else None)


def _split_percent(text: str) -> tuple[str, str | None]:
    """Return the command and its standard input: `%` is the end of a line, `\\%` is a percent sign."""
    command, *lines = _UNESCAPED_PERCENT.split(text)
    plain = [part.replace("\\%", "%") for part in (command, *lines)]
    return plain[0].strip(), "\n".join(plain[1:]) if lines else None


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
