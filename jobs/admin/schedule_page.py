"""What the page of a schedule shows beside its form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.admin.presenting import (
    STATE_LOOK,
    duration_of,
    job_url,
    relative,
    span,
    stamp,
    status_badge,
)
from jobs.admin.schedule_fields import GROUPS
from jobs.admin.schedule_form import ScheduleForm
from jobs.engine.compiling import CompileError
from jobs.insight import dashboard, previewing
from jobs.models import Job, Schedule
from jobs.rules import zones
from jobs.rules.describe import describe
from jobs.rules.planning import Preview
from jobs.rules.timing import CronSpec

RECENT = 12
TIMING_FIELDS = frozenset(GROUPS[1].names) | {"dst_gap", "dst_fold"}


def overview(policy: Schedule, now: datetime, state: str) -> dict[str, Any]:
    """Return the template context of an existing schedule."""
    jobs = Job.objects.filter(schedule_id=policy.pk).order_by("-created_at", "-id")[:RECENT]
    following = previewing.next_run_at(policy) if policy.periodic_task.enabled else None
    return {
        "policy": policy,
        "state": state,
        "state_look": STATE_LOOK[state],
        "description": dashboard.describe_schedule(policy),
        "next_run": relative(following, now) if following else "",
        "next_run_at": stamp(following) if following else "",
        "firings": [] if state == "problem" else _firings(policy, now),
        "recent": [recent_row(job, now) for job in jobs],
        "paused_until": stamp(policy.paused_until) if policy.paused_until else "",
        "paused_at": stamp(policy.paused_at) if policy.paused_at else "",
    }


def recent_row(job: Job, now: datetime) -> dict[str, Any]:
    """Return one line of a list of jobs."""
    moment = job.scheduled_for or job.created_at
    many = f"{job.skipped_count} times" if job.skipped_count else ""
    return {
        "url": job_url(job.id),
        "badge": status_badge(job.status, job.reason),
        "at": stamp(moment),
        "relative": relative(moment, now),
        "trigger": job.trigger,
        "duration": many or span(duration_of(job, now)),
        "error": job.error,
    }


def _firings(policy: Schedule, now: datetime) -> list[dict[str, str]]:
    try:
        found = previewing.upcoming(policy, after=now, limit=5)
    except CompileError:
        return []
    return [firing(item, "") for item in found]


def firing(item: Preview, zone: str) -> dict[str, str]:
    """Return one firing to come in its zone, in UTC, and from now."""
    local = item.scheduled_for.astimezone(zones.load(zone)) if zone else item.local
    return {
        "local": f"{local:%a %Y-%m-%d %H:%M:%S}",
        "offset": f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:5],
        "utc": f"{item.scheduled_for.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        "relative": relative(item.scheduled_for),
        "note": {"dst_gap": "moved by the clock change", "dst_fold": "repeated hour"}.get(
            item.note or "", ""
        ),
    }


def preview_document(form: ScheduleForm) -> dict[str, Any]:
    """Return what the preview panel shows of a form, as far as it makes sense."""
    problems = [str(errors[0]) for name, errors in form.errors.items() if name in TIMING_FIELDS and errors]
    if form.timing is None or problems:
        return {"ok": False, "problem": problems[0] if problems else "Say when it is to fire.", "runs": []}
    spec = form.timing.spec
    zone = spec.tz if isinstance(spec, CronSpec) else form.cleaned_data.get("timezone") or "UTC"
    return {
        "ok": True,
        "description": describe(spec),
        "zone": zone,
        "runs": [firing(item, zone) for item in form.upcoming],
        "jitter": bool(form.timing.policy.jitter),
    }
