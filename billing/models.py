"""Who buys, what was billed, which reports went out. Money is integer minor units and an ISO code."""

from __future__ import annotations

from typing import ClassVar
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from moneyed import Money

from billing.money import money, validate_currency


def validate_zone(name: str) -> None:
    """Raise `ValidationError` unless `name` is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ValidationError(f"There is no time zone named {name!r}.") from exc


class Customer(models.Model):
    """Somebody who is billed."""

    name = models.CharField(max_length=200)
    email = models.EmailField(unique=True)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_zone])
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Invoice(models.Model):
    """A bill. A draft has no number; once it is open it is never changed, only paid or voided."""

    class Status(models.TextChoices):
        """Where an invoice stands."""

        DRAFT = "draft", "Draft"
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        VOID = "void", "Void"

    number = models.CharField(max_length=40, unique=True, null=True, blank=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    status = models.CharField(max_length=5, choices=Status, default=Status.DRAFT)
    currency = models.CharField(max_length=3, validators=[validate_currency])
    total = models.BigIntegerField(default=0, help_text="In minor units: 1234 is 12.34 EUR, and 1234 JPY.")
    issued_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status="draft") | Q(number__isnull=False, issued_at__isnull=False),
                name="billing_issued_has_number",
            ),
            models.CheckConstraint(
                condition=Q(status="paid", paid_at__isnull=False) | (~Q(status="paid") & Q(paid_at=None)),
                name="billing_paid_has_time",
            ),
            models.CheckConstraint(condition=Q(currency__regex="^[A-Z]{3}$"), name="billing_currency_code"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["issued_at"], name="billing_issued", condition=Q(status__in=["open", "paid"])
            ),
            models.Index(fields=["paid_at"], name="billing_paid", condition=Q(status="paid")),
        ]

    def __str__(self) -> str:
        return self.number or f"draft {self.pk}"

    @property
    def amount(self) -> Money:
        """The total as money."""
        return money(self.total, self.currency)


class InvoiceLine(models.Model):
    """One thing billed, in the currency of its invoice."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    product = models.CharField(max_length=100)
    """What reports add up by."""
    description = models.CharField(max_length=250, blank=True)
    quantity = models.PositiveIntegerField(default=1)
    unit_amount = models.BigIntegerField()
    amount = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount=F("quantity") * F("unit_amount")), name="billing_line_adds_up"
            )
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"


class ReportRun(models.Model):
    """A report for one period, which goes out once.

    `pending -> sending -> sent | failed | in_doubt`. `sending` is committed before the mail is handed over,
    by exactly one job; whoever finds its own job there after a crash knows that the mail may have gone out.
    Every write of a status is made by `billing/report_ledger.py`.
    """

    class Status(models.TextChoices):
        """Where a report stands."""

        PENDING = "pending", "Pending"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        IN_DOUBT = "in_doubt", "In doubt"

    report = models.CharField(max_length=40)
    period_start = models.DateField(help_text="The first local day.")
    zone = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    job_key = models.CharField(max_length=200, blank=True)
    """Whose the run is: the job that made it, later the one that sends it."""
    file = models.FileField(max_length=250, blank=True)
    figures = models.JSONField(default=dict)
    recipients = models.JSONField(default=list)
    refused = models.JSONField(default=dict, blank=True, help_text="Recipients the mail server refused.")
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    tried_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-period_start", "report"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["report", "period_start", "zone"], name="billing_report_once"),
            models.CheckConstraint(
                condition=Q(status="sent", sent_at__isnull=False) | (~Q(status="sent") & Q(sent_at=None)),
                name="billing_sent_has_time",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["job_key"], name="billing_report_job")]

    def __str__(self) -> str:
        return f"{self.report} {self.period_start} ({self.zone})"
