"""Who gets mail, what it says, and what became of every single one."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Lower, Now

from notifications import rendering


def validate_zone(name: str) -> None:
    """Raise `ValidationError` unless `name` is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ValidationError(f"There is no time zone named {name!r}.") from exc


class Recipient(models.Model):
    """A person who may get mail. The address is stored in lower case: nobody is two people."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_zone])
    locale = models.CharField(max_length=16, default="en", help_text="Language code, for dates and numbers.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["email"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(email=Lower("email")),
                name="notifications_email_lower",
                violation_error_message="Write the address in lower case.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.name else self.email

    def clean(self) -> None:
        """Lower the address before it is compared with others."""
        self.email = self.email.lower()


class TemplateQuerySet(models.QuerySet["Template"]):
    """Ways to choose templates."""

    def newest(self, code: str) -> Template | None:
        """Return the latest version of `code`, None when there is no such template."""
        return self.filter(code=code).order_by("-version").first()


class Template(models.Model):
    """One version of a text. What has been sent is never rewritten: a change is a new version."""

    code = models.SlugField(max_length=100)
    version = models.PositiveIntegerField(default=1)
    subject = models.CharField(max_length=250)
    text = models.TextField(help_text="Django's template language, for example {{ recipient.name }}.")
    html = models.TextField(blank=True, help_text="Optional. What is inserted is escaped.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TemplateQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["code", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["code", "version"], name="notifications_template_version")
        ]

    def __str__(self) -> str:
        return f"{self.code} v{self.version}"

    def clean(self) -> None:
        """Refuse a text that the template engine cannot read."""
        problems: dict[str, Any] = {}
        for name in ("subject", "text", "html"):
            try:
                rendering.check(getattr(self, name))
            except rendering.RenderError as exc:
                problems[name] = str(exc)
        if problems:
            raise ValidationError(problems)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Ways to choose deliveries."""

    def of(self, dedup_key: str) -> DeliveryQuerySet:
        """All deliveries of one piece of work."""
        return self.filter(dedup_key=dedup_key)

    def pending(self) -> DeliveryQuerySet:
        """Those not tried yet, and those to be tried again; first queued first."""
        return self.filter(status=Delivery.Status.PENDING).order_by("pk")

    def queued_before(self, age: timedelta) -> DeliveryQuerySet:
        """Those queued longer than `age` ago, by the database's clock."""
        return self.filter(created_at__lt=ExpressionWrapper(Now() - age, models.DateTimeField()))


def _new_message_id() -> str:
    domain = settings.DEFAULT_FROM_EMAIL.rstrip(">").rpartition("@")[2] or "localhost"
    return f"<{uuid.uuid4()}@{domain}>"


class Delivery(models.Model):
    """One mail to one recipient: the row is the checkpoint of its sending.

    `pending -> sending -> sent | failed | in_doubt`, and back to `pending` when the server said "later".
    `sending` is committed before the message is handed over, so whoever finds it knows that the message
    may have been accepted. Every write of a status is made by `notifications/ledger.py`.
    """

    class Status(models.TextChoices):
        """Where a delivery stands."""

        PENDING = "pending", "Pending"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        IN_DOUBT = "in_doubt", "In doubt"

    recipient = models.ForeignKey(Recipient, on_delete=models.PROTECT, related_name="deliveries")
    dedup_key = models.CharField(max_length=200)
    """What this mail is for, the job id as a rule: at most one mail per key and recipient."""
    template = models.ForeignKey(Template, null=True, on_delete=models.PROTECT, related_name="deliveries")
    """The version in force when the mail was queued; null for a mail with a text of its own."""
    context: models.JSONField[Any, Any] = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    scheduled_for = models.DateTimeField(null=True)
    """The nominal time the mail is for; the same however often it is tried."""
    subject = models.CharField(max_length=rendering.SUBJECT_MOST, blank=True)
    text = models.TextField(blank=True)
    """The text of a mail without a template."""
    message_id = models.CharField(max_length=255, unique=True, default=_new_message_id)
    """Stable over attempts: a receiver that gets the message twice can tell."""
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    tried_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dedup_key", "recipient"], name="notifications_delivery_once"),
            models.CheckConstraint(
                condition=Q(status="sent", sent_at__isnull=False) | (~Q(status="sent") & Q(sent_at=None)),
                name="notifications_sent_has_time",
            ),
            models.CheckConstraint(
                condition=Q(status="pending") | Q(tried_at__isnull=False) | Q(status="failed"),
                name="notifications_tried_has_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["created_at"],
                name="notifications_open",
                condition=Q(status__in=["pending", "sending", "in_doubt"]),
            ),
            models.Index(fields=["recipient", "-created_at"], name="notifications_by_recipient"),
        ]

    def __str__(self) -> str:
        return self.subject or f"mail {self.pk}"
