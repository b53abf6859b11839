"""Celery tasks: fetch, call the verb, return."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from jobs.public import Permanent, occasion
from notifications.models import Template
from notifications.queueing import Mail, queue
from notifications.rendering import SUBJECT_MOST
from notifications.sending import send

# Backoff from 10 s to 1 h with full jitter: about a day of trying, see `sending.GIVE_UP_AFTER`.
ATTEMPTS = 60


@shared_task(name="notifications.send_email", max_attempts=ATTEMPTS)
def send_email(
    template: str, recipients: list[int | str], context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Send the newest version of `template` to each recipient, given by id or address.

    Counts how the mails stand. A refused address is a failed delivery, not a failed job.
    """
    words = Template.objects.newest(template)
    if words is None:
        raise Permanent(f"There is no template {template!r}.")
    why = occasion()
    mail = Mail(dedup_key=why.key, template=words, context=context or {}, scheduled_for=why.scheduled_for)
    unknown = queue(mail, recipients)
    tally = send(why.key)
    return {"sent": tally.sent, "failed": tally.failed, "in_doubt": tally.in_doubt, "unknown": unknown}


@shared_task(name="notifications.send_message", max_attempts=ATTEMPTS)
def send_message(to: str, subject: str, text: str) -> dict[str, Any]:
    """Send one plain mail to one address. Here a refused address fails the job: there is no other mail."""
    if len(subject) > SUBJECT_MOST:
        raise Permanent(f"The subject is longer than {SUBJECT_MOST} characters.")
    why = occasion()
    mail = Mail(dedup_key=why.key, subject=subject, text=text, scheduled_for=why.scheduled_for)
    if queue(mail, [to]):
        raise Permanent(f"{to!r} is not an e-mail address.")
    tally = send(why.key)
    if tally.failed:
        raise Permanent(f"The mail to {to} was refused; its delivery says why.")
    return {"sent": tally.sent, "in_doubt": tally.in_doubt}
