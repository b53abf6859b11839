"""Fixtures of the tests of billing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from billing.models import Customer, Invoice, InvoiceLine
from tests.notifications.mailserver import MailServer, running

Sell = Callable[..., Invoice]


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    """A mail server that Django sends by."""
    with running() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_TIMEOUT = 5
        yield server


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    """A folder for reports."""
    settings.MEDIA_ROOT = str(tmp_path)
    settings.REPORTS_RECIPIENTS = ["finance@example.com"]
    return tmp_path


@pytest.fixture
def sell(db: None) -> Sell:
    """Issue an invoice: `sell("2026-03-29T00:30+01:00", 1999)`."""
    customer = Customer.objects.create(name="Ann", email="ann@example.com")
    numbers = count(1)

    def issue(
        at: str,
        amount: int,
        currency: str = "EUR",
        product: str = "Basic",
        paid_at: str | None = None,
        status: str | None = None,
    ) -> Invoice:
        invoice = Invoice.objects.create(
            number=f"T-{next(numbers)}",
            customer=customer,
            status=status or ("paid" if paid_at else "open"),
            currency=currency,
            total=amount,
            issued_at=datetime.fromisoformat(at),
            paid_at=datetime.fromisoformat(paid_at) if paid_at else None,
        )
        InvoiceLine.objects.create(invoice=invoice, product=product, unit_amount=amount, amount=amount)
        return invoice

    return issue
