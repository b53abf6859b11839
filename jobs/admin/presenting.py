"""How times, lengths and states look in the console."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from jobs.conf import conf
from jobs.models import Job
from jobs.rules.redaction import redact

STATUS_LOOK = {
    "completed": "success",
    "failed": "danger",
    "active": "info",
    "waiting": "primary",
    "delayed": "warning",
    "cancelled": "",
    "skipped": "",
}
STATE_LOOK = {"active": "success", "paused": "warning", "problem": "danger", "ended": ""}
OUTCOME_LOOK = {
    "completed": "success",
    "error": "danger",
    "timeout": "danger",
    "crash": "danger",
    "retry": "warning",
    "interrupted": "warning",
}
DASH = mark_safe('<span class="jw-mute">–</span>')


def span(length: timedelta | None) -> str:
    """Return a length of time at a glance: `840 ms`, `12.4 s`, `3 m 20 s`, `2 d 4 h`."""
    if length is None:
        return "–"
    seconds = length.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.1f} s"
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 else ""
    for (big, large), (small, little) in (
        (("d", 86_400), ("h", 3600)),
        (("h", 3600), ("m", 60)),
        (("m", 60), ("s", 1)),
    ):
        if whole >= large:
            rest = whole % large // little
            return f"{sign}{whole // large} {big}" + (f" {rest} {small}" if rest else "")
    return f"{sign}{whole} s"


def relative(moment: datetime | None, now: datetime | None = None) -> str:
    """Return `in 3 m` or `2 h ago`."""
    if moment is None:
        return "–"
    distance = moment - (now or timezone.now())
    if abs(distance) < timedelta(seconds=1):
        return "now"
    length = timedelta(seconds=round(abs(distance).total_seconds()))
    text = span(length).replace(".0 s", " s")
    return f"in {text}" if distance > timedelta(0) else f"{text} ago"


def stamp(moment: datetime | None, *, seconds: bool = True) -> str:
    """Return an instant in the site's time zone."""
    if moment is None:
        return "–"
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def two_lines(first: Any, second: Any, *, mono: bool = False) -> SafeString:
    """Return a table cell with a quiet second line."""
    look = "jw-mono" if mono else ""
    return format_html(
        '<div class="jw-cell"><span class="{}">{}</span><small>{}</small></div>', look, first, second
    )


def when(moment: datetime | None) -> SafeString:
    """Return a table cell with a relative and an absolute time."""
    if moment is None:
        return DASH
    text = '<div class="jw-cell jw-when"><span>{}</span><small>{}</small></div>'
    return format_html(text, relative(moment), stamp(moment))


def badge(text: str, look: str = "", title: str = "") -> SafeString:
    """Return a label in the colour of its meaning."""
    return format_html('<span class="jw-badge jw-{}" title="{}">{}</span>', look or "plain", title, text)


def status_badge(status: str, reason: str = "") -> SafeString:
    """Return the status of a job, with its reason where it has one."""
    shown = reason if reason and reason != status else ""
    label = f"{status}: {shown}" if shown else status
    return badge(label, STATUS_LOOK.get(status, ""))


def level(number: int) -> tuple[str, str]:
    """Return the name and the colour of a log level."""
    look = "danger" if number >= logging.ERROR else "warning" if number >= logging.WARNING else "info"
    return logging.getLevelName(number), look if number >= logging.INFO else "plain"


def pretty(value: Any) -> str:
    """Return JSON for reading, without secrets."""
    return json.dumps(redact(value), indent=2, ensure_ascii=False, default=str)


def job_url(job_id: str) -> str:
    """Return the address of a job's page."""
    return reverse("admin:jobs_job_change", args=[quote(job_id)])


def schedule_url(pk: int) -> str:
    """Return the address of a schedule's page."""
    return reverse("admin:django_celery_beat_periodictask_change", args=[pk])


def link(url: str, text: Any, *, mono: bool = False) -> SafeString:
    """Return a link."""
    return format_html('<a class="jw-link {}" href="{}">{}</a>', "jw-mono" if mono else "", url, text)


def flower_url(job_id: str) -> str:
    """Return the address of a task's page in Flower, or nothing where Flower is not set up."""
    base = conf().flower_url.rstrip("/")
    return f"{base}/task/{job_id}" if base else ""


def duration_of(job: Job, now: datetime | None = None) -> timedelta | None:
    """Return how long the last attempt of a job took, or takes so far."""
    if job.started_at is None:
        return None
    if job.finished_at is not None:
        return max(job.finished_at - job.started_at, timedelta(0))
    return (now or timezone.now()) - job.started_at if job.status == "active" else None
