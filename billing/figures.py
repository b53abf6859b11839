"""The figures of a sales report: what was billed and received in a local day. Reads only.

A sale is an invoice that was issued and not voided, on the day it was issued; a receipt is an invoice paid
that day, whenever it was issued.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncDate

from billing.models import Invoice, InvoiceLine
from billing.periods import LocalDay

SOLD = (Invoice.Status.OPEN, Invoice.Status.PAID)
TREND_DAYS = 14


@dataclass(slots=True)
class CurrencyFigures:
    """The totals of one currency, in minor units."""

    currency: str
    invoices: int = 0
    billed: int = 0
    payments: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class ProductFigures:
    """What one product brought in one currency."""

    product: str
    currency: str
    quantity: int
    billed: int


@dataclass(frozen=True, slots=True)
class SalesFigures:
    """Everything a daily sales report says."""

    period: LocalDay
    currencies: list[CurrencyFigures]
    products: list[ProductFigures]
    trend_currency: str = ""
    trend: list[tuple[date, int]] = field(default_factory=list)
    """What was billed in the currency with most invoices, on each of the last days, oldest first."""

    @property
    def invoices(self) -> int:
        """How many invoices were issued."""
        return sum(one.invoices for one in self.currencies)

    def summary(self) -> dict[str, Any]:
        """The totals as plain values, for a task's result."""
        return {"invoices": self.invoices, "currencies": [asdict(one) for one in self.currencies]}


def sales_of(period: LocalDay) -> SalesFigures:
    """Add up one local day."""
    issued = _issued(period.start, period.end)
    currencies = _totals(issued, period)
    main = max(currencies, key=lambda one: (one.invoices, one.currency), default=None)
    return SalesFigures(
        period,
        currencies,
        _products(issued),
        main.currency if main else "",
        _trend(period, main.currency) if main else [],
    )


def _issued(start: Any, end: Any) -> QuerySet[Invoice]:
    return Invoice.objects.filter(status__in=SOLD, issued_at__gte=start, issued_at__lt=end)


def _totals(issued: QuerySet[Invoice], period: LocalDay) -> list[CurrencyFigures]:
    totals: dict[str, CurrencyFigures] = {}
    for row in issued.values("currency").annotate(n=Count("id"), sum=Sum("total")):
        one = totals.setdefault(row["currency"], CurrencyFigures(row["currency"]))
        one.invoices, one.billed = row["n"], row["sum"]
    paid = Invoice.objects.filter(
        status=Invoice.Status.PAID, paid_at__gte=period.start, paid_at__lt=period.end
    )
    for row in paid.values("currency").annotate(n=Count("id"), sum=Sum("total")):
        one = totals.setdefault(row["currency"], CurrencyFigures(row["currency"]))
        one.payments, one.received = row["n"], row["sum"]
    return [totals[code] for code in sorted(totals)]


def _products(issued: QuerySet[Invoice]) -> list[ProductFigures]:
    rows = (
        InvoiceLine.objects.filter(invoice__in=issued)
        .values("product", "invoice__currency")
        .annotate(quantity=Sum("quantity"), billed=Sum("amount"))
        .order_by("invoice__currency", "-billed", "product")
    )
    return [
        ProductFigures(row["product"], row["invoice__currency"], row["quantity"], row["billed"])
        for row in rows
    ]


def _trend(period: LocalDay, currency: str) -> list[tuple[date, int]]:
    days = [period.day - timedelta(days=back) for back in range(TREND_DAYS - 1, -1, -1)]
    first = LocalDay(days[0], period.zone)
    rows = (
        _issued(first.start, period.end)
        .filter(currency=currency)
        .annotate(day=TruncDate("issued_at", tzinfo=ZoneInfo(period.zone)))
        .values("day")
        .annotate(sum=Sum("total"))
    )
    billed: dict[date, int] = {row["day"]: row["sum"] for row in rows}
    return [(day, billed.get(day, 0)) for day in days]
