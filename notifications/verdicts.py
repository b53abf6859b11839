"""What the answer of a mail server means for one mail. Pure: an error in, a verdict out.

The question that matters is whether the server may have taken the message. Before the message itself was
handed over (SMTP's DATA) the answer is no. After it, only a reply of the server settles it: without one
nobody knows, and the mail must not be sent again by itself.
"""

from __future__ import annotations

import smtplib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will never take it: a bad address, or a message it does not want."""

    error: str


@dataclass(frozen=True, slots=True)
class Later:
    """Not taken, and worth another try."""

    error: str
    line_lost: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been taken."""

    error: str


Verdict = Accepted | Refused | Later | Unknown

TOO_BIG = 552
"""The one answer to the sender's address (RFC 1870, SIZE) that is about the message."""


def of_error(exc: Exception, *, handed_over: bool) -> Verdict:
    """Return what `exc`, raised while one mail was sent, says about it."""
    error = describe(exc)
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in exc.recipients.values()]
        return Refused(error) if codes and min(codes) >= 500 else Later(error, line_lost=421 in codes)
    if isinstance(exc, smtplib.SMTPSenderRefused):
        # That the server does not like us is nobody's bad address: it is a fault of the set-up.
        return Refused(error) if exc.smtp_code == TOO_BIG else Later(error, line_lost=exc.smtp_code == 421)
    if isinstance(exc, smtplib.SMTPDataError):
        return Refused(error) if exc.smtp_code >= 500 else Later(error, line_lost=exc.smtp_code == 421)
    if isinstance(exc, smtplib.SMTPNotSupportedError):
        return Refused(error)  # an address with letters that this server cannot carry
    if handed_over:
        return Unknown(error)
    if isinstance(exc, ValueError) and not isinstance(exc, OSError):
        return Refused(error)  # Django cannot write this address or header: no server has seen it
    return Later(error, line_lost=True)


def describe(exc: Exception) -> str:
    """Return the server's words, or the error's."""
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{address}: {_reply(*reply)}" for address, reply in exc.recipients.items())
    if isinstance(exc, smtplib.SMTPResponseException):
        return _reply(exc.smtp_code, exc.smtp_error)
    return f"{type(exc).__name__}: {exc}"


def _reply(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"
