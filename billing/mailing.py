"""Handing one mail to the mail server, and knowing what became of it."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.core.mail import EmailMessage, get_connection


class NotTakenError(Exception):
    """The server did not take the mail, and may do so later."""


class RefusedError(Exception):
    """The server will not take the mail."""


class DoubtError(Exception):
    """The server may have taken the mail: nobody knows."""


@dataclass(slots=True)
class Receipt:
    """What a server that took the mail said: whom it refused, and why."""

    refused: dict[str, str] = field(default_factory=dict)
    handed_over: bool = False


def hand_over(message: EmailMessage) -> Receipt:
    """Send `message` once. Raises `NotTakenError`, `RefusedError` or `DoubtError`."""
    backend: Any = get_connection(fail_silently=False)
    receipt = Receipt()
    try:
        backend.open()
        client = getattr(backend, "connection", None)
        if isinstance(client, smtplib.SMTP):
            _watch(client, receipt)
        if not backend.send_messages([message]):
            raise NotTakenError("the e-mail backend did not send it")
    except (SoftTimeLimitExceeded, NotTakenError):
        raise
    except Exception as exc:  # every backend has errors of its own
        raise _meaning(exc, receipt) from exc
    finally:
        _close(backend)
    return receipt


def _meaning(exc: Exception, receipt: Receipt) -> Exception:
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        said = "; ".join(f"{address}: {_reply(*reply)}" for address, reply in exc.recipients.items())
        final = all(code >= 500 for code, _ in exc.recipients.values())
        return RefusedError(said) if final else NotTakenError(said)
    if isinstance(exc, smtplib.SMTPDataError):
        said = _reply(exc.smtp_code, exc.smtp_error)
        return RefusedError(said) if exc.smtp_code >= 500 else NotTakenError(said)
    if isinstance(exc, smtplib.SMTPResponseException):
        return NotTakenError(_reply(exc.smtp_code, exc.smtp_error))
    said = f"{type(exc).__name__}: {exc}"
    return DoubtError(said) if receipt.handed_over else NotTakenError(said)


def _watch(client: smtplib.SMTP, receipt: Receipt) -> None:
    """Learn what smtplib knows and Django drops: when the message itself went out, and who was refused."""
    send, data = client.sendmail, client.data

    def sendmail(*args: Any, **kwargs: Any) -> dict[str, tuple[int, bytes]]:
        refused = send(*args, **kwargs)
        receipt.refused = {address: _reply(*reply) for address, reply in refused.items()}
        return refused

    def noted_data(content: Any) -> tuple[int, bytes]:
        receipt.handed_over = True
        return data(content)

    client.sendmail = sendmail  # type: ignore[method-assign]
    client.data = noted_data  # type: ignore[method-assign, assignment]


def _close(backend: Any) -> None:
    try:
        backend.close()
    except (OSError, smtplib.SMTPException):
        backend.connection = None  # a broken line: what counts has been said


def _reply(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"
