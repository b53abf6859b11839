"""Which fields of a document a person sees, and in which order."""

from __future__ import annotations

from typing import Any

from jobs.cli.output import Column, Document, moment, text_of
from jobs.cli.windows import window_text

SCHEDULES = (
    Column("NAME", "name"),
    Column("STATE", "state"),
    Column("TASK", "task"),
    Column("QUEUE", "queue"),
    Column("WHEN", lambda item: item["description"] or item["problem"]),
    Column("NEXT", lambda item: moment(item["next_run_at"])),
    Column("LAST", lambda item: moment(item["last_run_at"])),
    Column("RUNS", "runs", right=True),
)
FIRINGS = (
    Column("SCHEDULED FOR", lambda item: moment(item["scheduled_for"])),
    Column("LOCAL", "local"),
    Column("RUNS AT", lambda item: moment(item["runs_at"])),
    Column("NOTE", lambda item: ", ".join(filter(None, (item["note"], _skipped(item))))),
)
JOBS = (
    Column("ID", "id"),
    Column("STATUS", "status"),
    Column("TASK", "task"),
    Column("SCHEDULE", "schedule"),
    Column("QUEUE", "queue"),
    Column("SCHEDULED FOR", lambda item: moment(item["scheduled_for"])),
    Column("CREATED", lambda item: moment(item["created_at"])),
    Column("ATTEMPTS", "attempts", right=True),
    Column("WHY", lambda item: shorten(item["error"] or item["reason"])),
)
DEAD_LETTERS = (
    Column("ID", "id"),
    Column("TASK", "task"),
    Column("SCHEDULE", "schedule"),
    Column("QUEUE", "queue"),
    Column("FAILED", lambda item: moment(item["finished_at"])),
    Column("REASON", "reason"),
    Column("ERROR", lambda item: shorten(item["error"])),
)
QUEUES = (
    Column("QUEUE", "name"),
    Column("DEPTH", lambda item: "?" if item["depth"] is None else item["depth"], right=True),
    *(
        Column(name.upper(), name, right=True)
        for name in ("waiting", "delayed", "active", "failed", "workers")
    ),
    Column("OLDEST", lambda item: _seconds(item["oldest_waiting_seconds"]), right=True),
    Column("PAUSED", "paused"),
    Column("LIMIT", lambda item: _limit(item)),
)
WORKERS = (
    Column("NAME", "name"),
    Column("STATUS", "status"),
    Column("PID", "pid", right=True),
    Column("QUEUES", lambda item: ",".join(item["queues"])),
    Column("ACTIVE", lambda item: f"{item['active']}/{item['concurrency']}", right=True),
    Column("STARTED", lambda item: moment(item["started_at"])),
    Column("HEARD OF", lambda item: moment(item["heartbeat_at"])),
)
SLOTS = (
    Column("SCHEDULED FOR", lambda item: moment(item["scheduled_for"])),
    Column("EXISTING", lambda item: item["existing"] and item["existing"]["status"]),
    Column("RUNS", "runs"),
)
CALENDARS = (
    Column("NAME", "name"),
    Column("OPEN", lambda item: _windows(item["open"])),
    Column("CLOSED", lambda item: _windows(item["closed"])),
    Column("DATES OUT", lambda item: len(item["exclude_dates"]), right=True),
    Column("DATES IN", lambda item: len(item["include_dates"]), right=True),
    Column("ZONE", "tz"),
    Column("SCHEDULES", lambda item: len(item["schedules"]), right=True),
)
CHECKS = (
    Column("CHECK", "name"),
    Column("STATUS", "status"),
    Column("WHAT", "sentence"),
    Column("WHAT TO DO", "remedy"),
)
FORECASTS = (
    Column("QUEUE", "queue"),
    Column("STARTS", "starts", right=True),
    Column("PEAK", "peak", right=True),
    Column("SLOTS", "slots", right=True),
    Column("AT", lambda item: moment(item["peak_at"])),
    Column("BUSY", lambda item: "" if item["busy"] is None else f"{item['busy']:.1%}", right=True),
    Column("OVERLOADED", "overloaded"),
)
BLACKOUTS = (
    Column("NAME", "name"),
    Column("MODE", "mode"),
    Column("WHEN", lambda item: _windows(item["windows"])),
    Column("SPANS", lambda item: "; ".join(" to ".join(span) for span in item["spans"])),
    Column("FOR", lambda item: item["schedule"] or item["group"] or item["queue"] or "everything"),
    Column("ENFORCED", "enforced"),
)
LONGEST_CELL = 60


def groups(by: str) -> tuple[Column, ...]:
    """Return the columns of dead letters grouped by something."""
    return (
        Column(by.upper(), by),
        Column("COUNT", "count", right=True),
        Column("FIRST", lambda item: moment(item["first_failed_at"])),
        Column("LAST", lambda item: moment(item["last_failed_at"])),
        Column("EXAMPLE", "example"),
    )


def job_fields(job: Document) -> dict[str, object]:
    """Return a job as a page of fields."""
    history = [
        "  ".join(
            filter(
                None,
                (
                    str(item["number"]),
                    item["outcome"] or "running",
                    moment(item["started_at"]),
                    item["worker"],
                    item["error"],
                ),
            )
        )
        for item in job["attempt_history"]
    ]
    times = {name: moment(job[name]) for name in job if name.endswith("_at") or name == "scheduled_for"}
    fields = {**job, **times}
    fields["args"], fields["kwargs"] = job["args"] or None, job["kwargs"] or None
    return {**fields, "attempt_history": "\n".join(history)}


def schedule_fields(schedule: Document) -> dict[str, object]:
    """Return a schedule as a page of fields."""
    times = ("next_run_at", "last_run_at", "paused_until", "start", "end", "created_at")
    fields: dict[str, Any] = {**schedule, **{name: moment(schedule[name]) for name in times}}
    timing = schedule["timing"]
    fields["timing"] = f"{timing['kind']} {timing['expression']} {timing['tz']}" if timing else None
    fields["args"], fields["kwargs"] = schedule["args"] or None, schedule["kwargs"] or None
    return fields


def explanation_fields(answer: Document) -> dict[str, object]:
    """Return an explanation as a page: the sentence, and below it the facts."""
    facts = {name.replace("_", " "): value for name, value in answer["facts"].items()}
    return {answer["verdict"].replace("_", " "): answer["sentence"], **facts}


def calendar_fields(calendar: Document) -> dict[str, object]:
    """Return a calendar as a page of fields."""
    return {
        **calendar,
        "exclude_dates": "\n".join(calendar["exclude_dates"]),
        "include_dates": "\n".join(calendar["include_dates"]),
        "open": _windows(calendar["open"]),
        "closed": _windows(calendar["closed"]),
        "schedules": ", ".join(calendar["schedules"]),
    }


def shorten(text: str | None) -> str:
    """Return text that fits a cell."""
    text = text_of(text)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _skipped(item: Document) -> str:
    return f"skipped: {item['skipped']}" if item.get("skipped") else ""


def _windows(windows: list[Document]) -> str:
    return "; ".join(map(window_text, windows))


def _limit(item: Document) -> str:
    parts = []
    if item["max_active"] is not None:
        parts.append(f"{item['max_active']} active")
    if item["rate"] is not None:
        parts.append(f"{item['rate']:g}/s")
    return ", ".join(parts)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"
