"""Sending the deliveries of one piece of work, each at most once.

1. What an earlier attempt left in `sending` may have been accepted: it becomes `in_doubt` and stays there.
2. Every pending mail is rendered, marked `sending` (committed), handed over, and marked by the answer.
3. If some are still pending, `NotYetError` asks for another attempt. One recipient's trouble never keeps
   the mail of another.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives

from notifications import ledger
from notifications.line import Line, LineDownError
from notifications.models import Delivery
from notifications.rendering import Reader, RenderError, Words, render
from notifications.verdicts import Accepted, Later, Refused, Unknown, Verdict

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = timedelta(hours=24)
"""How long a mail that the server puts off is tried: as long as mail servers themselves do."""
LOSSES_MOST = 3
"""A server that hangs up so many times in a row is not there."""


class NotYetError(Exception):
    """Some mails were put off by the server: try again later."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How the deliveries of one key stand."""

    sent: int = 0
    failed: int = 0
    in_doubt: int = 0
    pending: int = 0


def send(dedup_key: str) -> Tally:
    """Send what is pending under `dedup_key` and return how all its deliveries stand.

    Raises `LineDownError` or `NotYetError` when another attempt is needed; nothing that was accepted, or
    may have been, is sent by it.
    """
    if doubtful := ledger.doubt_abandoned(dedup_key):
        logger.warning("%d mails were interrupted while being sent: in doubt, not sent again", doubtful)
    trouble = _send_pending(dedup_key)
    _give_up(dedup_key)
    tally = _count(dedup_key)
    if tally.pending:
        raise trouble or NotYetError(f"{tally.pending} mails are not accepted yet: {_why(dedup_key)}")
    return tally


def _send_pending(dedup_key: str) -> LineDownError | None:
    pending = Delivery.objects.of(dedup_key).pending().select_related("recipient", "template")
    try:
        with Line() as line:
            for delivery in pending:
                if line.losses >= LOSSES_MOST:
                    break
                _send_one(line, delivery)
    except LineDownError as exc:
        return exc
    return None


def _send_one(line: Line, delivery: Delivery) -> None:
    try:
        words = _words(delivery)
        message = _message(delivery, words)
    except RenderError as exc:
        ledger.refused(delivery, f"The text cannot be rendered: {exc}")
        logger.warning("mail to %s: the text cannot be rendered: %s", delivery.recipient.email, exc)
        return
    line.open()
    if ledger.begin(delivery, words.subject):
        _settle(delivery, line.send(message))


def _settle(delivery: Delivery, verdict: Verdict) -> None:
    address = delivery.recipient.email
    match verdict:
        case Accepted():
            ledger.accepted(delivery)
            logger.info("mail to %s: sent", address)
        case Refused(error):
            ledger.refused(delivery, error)
            logger.warning("mail to %s: refused: %s", address, error)
        case Later(error):
            ledger.postponed(delivery, error)
            logger.info("mail to %s: put off: %s", address, error)
        case Unknown(error):
            ledger.doubted(delivery, error)
            logger.warning("mail to %s: in doubt, not sent again: %s", address, error)
        case _:
            assert_never(verdict)


def _words(delivery: Delivery) -> Words:
    template = delivery.template
    if template is None:
        return Words(" ".join(delivery.subject.split()), delivery.text)
    person = delivery.recipient
    return render(
        subject=template.subject,
        text=template.text,
        html=template.html,
        reader=Reader(person.email, person.name, person.locale, person.time_zone),
        context=delivery.context,
        scheduled_for=delivery.scheduled_for,
    )


def _message(delivery: Delivery, words: Words) -> EmailMessage:
    message = EmailMultiAlternatives(
        words.subject,
        words.text,
        settings.DEFAULT_FROM_EMAIL,
        [delivery.recipient.email],
        headers={"Message-ID": delivery.message_id, "Auto-Submitted": "auto-generated"},
    )
    if words.html:
        message.attach_alternative(words.html, "text/html")
    return message


def _give_up(dedup_key: str) -> None:
    for delivery in Delivery.objects.of(dedup_key).pending().queued_before(GIVE_UP_AFTER):
        ledger.refused(delivery, f"Given up after {GIVE_UP_AFTER}: {delivery.error or 'no mail server'}")


def _count(dedup_key: str) -> Tally:
    counts = Counter(Delivery.objects.of(dedup_key).values_list("status", flat=True))
    return Tally(
        sent=counts[Delivery.Status.SENT],
        failed=counts[Delivery.Status.FAILED],
        in_doubt=counts[Delivery.Status.IN_DOUBT],
        pending=counts[Delivery.Status.PENDING],
    )


def _why(dedup_key: str) -> str:
    said = Delivery.objects.of(dedup_key).pending().exclude(error="").values_list("error", flat=True)
    return said.first() or "not tried"
