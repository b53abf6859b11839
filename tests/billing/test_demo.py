"""Seeding the demo again changes nothing."""

from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F, Sum
from django_celery_beat.models import PeriodicTask

from billing.models import Invoice
from scheduler_project.demo import seed


@pytest.mark.django_db
def test_seeding_twice_is_seeding_once() -> None:
    now = datetime.now(UTC)
    first = seed(now)
    rows = list(PeriodicTask.objects.order_by("pk").values())
    again = seed(now + timedelta(hours=5))

    assert first.invoices > 800
    assert first.schedules == len(rows)
    assert not any(astuple(again))
    assert list(PeriodicTask.objects.order_by("pk").values()) == rows
    assert not Invoice.objects.annotate(lines_sum=Sum("lines__amount")).exclude(total=F("lines_sum")).exists()
    assert not Invoice.objects.filter(issued_at__gt=now).exists()
