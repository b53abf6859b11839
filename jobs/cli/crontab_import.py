"""`schedules import-crontab`: what becomes of each line of a machine's crontab, and why."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jobs.engine import editing
from jobs.engine.editing import EditError
from jobs.engine.entries import Entry
from jobs.rules.declaration import Declaration
from jobs.rules.system_crontab import REBOOT, ZONE, Line

MANAGEMENT_COMMAND = "jobs.management_command"
MAPPED, NOTED, UNMAPPED, COMMENT = "mapped", "noted", "unmapped", "comment"
NAME_LENGTH = 120

_CHANGE_FOLDER = re.compile(r"^cd\s+\S+\s*&&\s*")
_REDIRECTION = re.compile(r"\s*(?:[12&]?>>?\s*(?:&[12]|[^\s&|;<>]+))\s*$")
_SHELL = re.compile(r"[|&;<>()$`\n]")


@dataclass(slots=True)
class Outcome:
    """What a line became, or why it became nothing."""

    line: Line
    outcome: str
    reasons: list[str] = field(default_factory=list)
    name: str | None = None
    task: str | None = None
    kwargs: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        spec = self.line.spec if self.name else None
        return {
            "line": self.line.number,
            "text": self.line.text,
            "outcome": self.outcome,
            "schedule": self.name,
            "cron": spec.expression if spec else None,
            "tz": spec.tz if spec else None,
            "task": self.task,
            "kwargs": self.kwargs,
            "reason": " ".join(self.reasons) or None,
        }


@dataclass(frozen=True, slots=True)
class Importer:
    """How lines are taken over: by which task, as whom, under which names."""

    task: str | None
    as_user: str | None
    prefix: str

    def outcomes(self, lines: list[Line]) -> list[Outcome]:
        """Return what becomes of every line that is not blank."""
        found = [self._outcome(line) for line in lines if line.kind != "blank"]
        mapped = [item for item in found if item.outcome == MAPPED and item.line.kind == "command"]
        seen: Counter[str] = Counter()
        for item in mapped:
            base = f"{self.prefix}{_short(item.line.command)}"
            seen[base] += 1
            item.name = base if seen[base] == 1 else f"{base} ({seen[base]})"
        return found

    def _outcome(self, line: Line) -> Outcome:
        if line.kind == "comment":
            return Outcome(line, COMMENT)
        if line.kind == "broken":
            return Outcome(line, UNMAPPED, [line.problem])
        if line.kind == "setting":
            return _setting(line)
        if line.at_reboot:
            why = f"{REBOOT} has no meaning here: a schedule belongs to no machine that starts."
            return Outcome(line, UNMAPPED, [why])
        return self._command(line)

    def _command(self, line: Line) -> Outcome:
        """Return the task and its arguments, or every reason why there is none."""
        django = _django_command(line.command)
        if django is not None and _is_known(MANAGEMENT_COMMAND):
            task, kwargs = MANAGEMENT_COMMAND, {"command": django[0], "args": django[1:]}
        elif self.task is not None:
            task, kwargs = self.task, {"command": line.command}
        else:
            why = "No task is said to run commands: add --task TASK, one that takes `command`."
            if django is not None:
                known = f"It is a command of Django, and no task {MANAGEMENT_COMMAND!r} is registered"
                why = f"{known}; {why[0].lower()}{why[1:]}"
            return Outcome(line, UNMAPPED, [why])
        reasons = self._obstacles(line, task, kwargs)
        if line.quiet:
            reasons.append("The minus sign before it (do not log) is left out.")
        unmapped = [why for why in reasons if not why.endswith("left out.")]
        if unmapped:
            return Outcome(line, UNMAPPED, reasons)
        return Outcome(line, MAPPED, reasons, task=task, kwargs=kwargs)

    def _obstacles(self, line: Line, task: str, kwargs: dict[str, Any]) -> list[str]:
        """Add to `kwargs` what `task` takes, and return what it does not."""
        reasons = []
        if line.stdin is not None and not _add(task, kwargs, "stdin", line.stdin):
            reasons.append(f"It has standard input after a %, and {task!r} takes no `stdin`.")
        if line.user and line.user != self.as_user and not _add(task, kwargs, "user", line.user):
            reasons.append(
                f"It runs as the user {line.user!r}, and a worker does not switch users: "
                f"add --as-user {line.user} if that is who the workers run as."
            )
        settings = {key: value for key, value in line.environment.items() if key not in (ZONE, "MAILTO")}
        if settings and task != MANAGEMENT_COMMAND and not _add(task, kwargs, "env", settings):
            names = ", ".join(settings)
            reasons.append(f"The task {task!r} takes no `env`: the environment ({names}) is left out.")
        try:
            editing.check_arguments(task, [], kwargs)
        except EditError as error:
            reasons.append(str(error))
        return reasons


def entries(outcomes: list[Outcome], *, source: str, manager: str) -> list[Entry]:
    """Return the schedules to make: one attempt each, as cron does it."""
    return [
        Entry(
            f"{source}: line {item.line.number}",
            manager,
            Declaration(
                name=item.name,
                task=item.task,
                cron=item.line.spec,
                settings={
                    "kwargs": item.kwargs,
                    "max_attempts": 1,
                    "note": f"{source}, line {item.line.number}: {item.line.text}",
                },
            ),
        )
        for item in outcomes
        if item.name and item.task
    ]


def _setting(line: Line) -> Outcome:
    if line.name == ZONE:
        return Outcome(line, MAPPED, ["It is the zone of the lines that follow."])
    if line.name == "MAILTO" and line.value:
        why = (
            f"Output is not mailed, and nothing is sent to {line.value}: output is kept in the log of each "
            "job, failures in the dead letters."
        )
        return Outcome(line, UNMAPPED, [why])
    if line.name == "MAILTO":
        return Outcome(line, MAPPED, ["Nothing is mailed here either."])
    return Outcome(
        line, NOTED, ["It is the environment of the lines that follow: they say what became of it."]
    )


def _django_command(text: str) -> list[str] | None:
    """Return the words after `manage.py`, if a line does nothing but run it; its output is logged anyway."""
    text = _CHANGE_FOLDER.sub("", text)
    while _REDIRECTION.search(text):
        text = _REDIRECTION.sub("", text)
    if _SHELL.search(text):
        return None
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    at = next((index for index, word in enumerate(words[:2]) if word.rsplit("/", 1)[-1] == "manage.py"), None)
    if at is None or (at == 1 and "python" not in words[0]):
        return None
    return words[at + 1 :] or None


def _is_known(task: str) -> bool:
    try:
        editing.check_task(task)
    except EditError:
        return False
    return True


def _add(task: str, kwargs: dict[str, Any], name: str, value: Any) -> bool:
    """Add an argument if the task takes it."""
    try:
        editing.check_arguments(task, [], {**kwargs, name: value})
    except EditError:
        return False
    kwargs[name] = value
    return True


def _short(command: str) -> str:
    words = "".join(letter if letter.isprintable() else " " for letter in command).split()
    words = [words[0].rsplit("/", 1)[-1] or words[0], *words[1:]] if words else ["command"]
    return " ".join(words)[:NAME_LENGTH].strip()
