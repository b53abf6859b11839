"""Deciding who gets a mail: one delivery per recipient, however often it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from notifications.models import Delivery, Recipient, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What is to be sent: a template, or a subject and a text."""

    dedup_key: str
    template: Template | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    text: str = ""
    scheduled_for: datetime | None = None


def queue(mail: Mail, recipients: Iterable[int | str]) -> list[int | str]:
    """Make the deliveries of `mail` that do not exist yet; return the recipients there is no mail for.

    A recipient is an id, or an address, which becomes a recipient when it is new. One that is unknown or
    malformed is returned: it must not keep the others from their mail.
    """
    found, unknown = _resolve(list(recipients))
    Delivery.objects.bulk_create(
        [
            Delivery(
                recipient=recipient,
                dedup_key=mail.dedup_key,
                template=mail.template,
                context=dict(mail.context),
                subject=mail.subject,
                text=mail.text,
                scheduled_for=mail.scheduled_for,
            )
            for recipient in found
        ],
        ignore_conflicts=True,
    )
    return unknown


def _resolve(wanted: list[int | str]) -> tuple[list[Recipient], list[int | str]]:
    addresses = {one: one.strip().lower() for one in wanted if isinstance(one, str) and _is_address(one)}
    Recipient.objects.bulk_create(
        [Recipient(email=email) for email in dict.fromkeys(addresses.values())], ignore_conflicts=True
    )
    by_email = Recipient.objects.in_bulk(list(addresses.values()), field_name="email")
    by_id = Recipient.objects.in_bulk([one for one in wanted if isinstance(one, int)])
    found: dict[int, Recipient] = {}
    unknown: list[int | str] = []
    for one in wanted:
        recipient = by_id.get(one) if isinstance(one, int) else by_email.get(addresses.get(one, ""))
        if recipient is None:
            unknown.append(one)
        else:
            found[recipient.pk] = recipient
    return list(found.values()), unknown


def _is_address(text: str) -> bool:
    try:
        validate_email(text.strip())
    except ValidationError:
        return False
    return True
