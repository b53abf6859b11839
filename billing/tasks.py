"""Celery tasks: fetch, call the verb, return."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing.periods import LocalDay, day_before
from billing.reporting import (
    DoubtfulReportError,
    RefusedReportError,
    begun_by,
    result_of,
    send_daily_sales,
)
from jobs.public import Occasion, Permanent, occasion


@shared_task(name="billing.daily_sales_report")
def daily_sales_report(
    zone: str = "UTC", day: str | None = None, recipients: list[str] | None = None
) -> dict[str, Any]:
    """Mail the sales of a local day as PDF, once per day and zone.

    `day` is an ISO date; without it, the day in `zone` before the one the job is for. `recipients` are by
    default the REPORTS_RECIPIENTS of the settings.
    """
    why = occasion()
    period = _period(zone, day, why)
    try:
        return result_of(send_daily_sales(period, recipients or settings.REPORTS_RECIPIENTS, why.key))
    except (RefusedReportError, DoubtfulReportError) as exc:
        raise Permanent(str(exc)) from exc


def _period(zone: str, day: str | None, why: Occasion) -> LocalDay:
    try:
        ZoneInfo(zone)
        if day is not None:
            return LocalDay(date.fromisoformat(day), zone)
    except (KeyError, ValueError, OSError) as exc:
        raise Permanent(f"There is no such day: {day or 'yesterday'} in {zone!r}.") from exc
    if why.scheduled_for is not None:
        return day_before(why.scheduled_for, zone)
    # Without a nominal time "yesterday" would change under a job that is retried over midnight.
    return begun_by(why.key) or day_before(timezone.now(), zone)
