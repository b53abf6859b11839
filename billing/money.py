"""Integer minor units and ISO codes, and the way to read them. No float ever holds money."""

from __future__ import annotations

from decimal import Decimal

from django.core.exceptions import ValidationError
from moneyed import CurrencyDoesNotExist, Money, get_currency
from moneyed.l10n import format_money


def money(minor: int, currency: str) -> Money:
    """Return the money that `minor` units of `currency` are: 1234 is 12.34 EUR, and 1234 JPY."""
    known = get_currency(currency)
    return Money(Decimal(minor) / known.sub_unit, known)


def written(minor: int, currency: str) -> str:
    """Return the amount with its ISO code, for example `1,234.50 EUR`: no symbol is ambiguous."""
    return format_money(money(minor, currency), format="#,##0.00 ¤¤", locale="en_US")


def major_units(minor: int, currency: str) -> float:
    """Return where an amount lies on the axis of a chart; for nothing else."""
    return minor / float(get_currency(currency).sub_unit)


def validate_currency(code: str) -> None:
    """Raise `ValidationError` unless `code` is an ISO 4217 code."""
    try:
        get_currency(code)
    except CurrencyDoesNotExist as exc:
        raise ValidationError(f"There is no currency {code!r}.") from exc
