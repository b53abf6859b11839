"""Every write of a delivery's status. Each is guarded by the status it believes in."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from notifications.models import Delivery

Status = Delivery.Status


def begin(delivery: Delivery, subject: str) -> bool:
    """Commit that this mail is about to be handed over; False if somebody else has it.

    `durable` makes sure that the commit is real: inside another transaction the row would not outlive a
    crash, and the mail would be sent twice.
    """
    with transaction.atomic(durable=True):
        mine = Delivery.objects.filter(pk=delivery.pk, status=Status.PENDING).update(
            status=Status.SENDING, subject=subject, attempts=F("attempts") + 1, tried_at=Now(), error=""
        )
    return mine == 1


def accepted(delivery: Delivery) -> None:
    """The server took it. That is news also where doubt had been raised meanwhile."""
    rows = Delivery.objects.filter(pk=delivery.pk, status__in=[Status.SENDING, Status.IN_DOUBT])
    rows.update(status=Status.SENT, sent_at=Now(), error="")


def refused(delivery: Delivery, error: str) -> None:
    """The server, or our own renderer, will never take it."""
    rows = Delivery.objects.filter(pk=delivery.pk, status__in=[Status.PENDING, Status.SENDING])
    rows.update(status=Status.FAILED, error=error)


def postponed(delivery: Delivery, error: str) -> None:
    """It was not taken, and may be tried again."""
    rows = Delivery.objects.filter(pk=delivery.pk, status=Status.SENDING)
    rows.update(status=Status.PENDING, error=error)


def doubted(delivery: Delivery, error: str) -> None:
    """It may have been taken."""
    rows = Delivery.objects.filter(pk=delivery.pk, status=Status.SENDING)
    rows.update(status=Status.IN_DOUBT, error=error)


def doubt_abandoned(dedup_key: str) -> int:
    """Mark what an earlier attempt left in `sending`; return how many.

    The platform never runs a job twice at once, so whoever begins an attempt and finds such a row knows
    that its sender is gone.
    """
    rows = Delivery.objects.filter(dedup_key=dedup_key, status=Status.SENDING)
    return rows.update(status=Status.IN_DOUBT, error="The sender was lost while the server had the message.")
