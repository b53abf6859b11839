"""How an instant is written: RFC 3339 in UTC."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime as `2026-11-21T08:00:00Z`, with a fraction only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
