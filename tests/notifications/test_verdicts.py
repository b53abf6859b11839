"""What an answer means: pure."""

from __future__ import annotations

import smtplib

import pytest
from django.core.mail import BadHeaderError

from notifications.verdicts import Later, Refused, Unknown, of_error

REFUSED = smtplib.SMTPRecipientsRefused


@pytest.mark.parametrize(
    ("exc", "before", "after"),
    [
        (REFUSED({"a": (550, b"no such user")}), Refused, Refused),
        (REFUSED({"a": (450, b"greylisted")}), Later, Later),
        (smtplib.SMTPDataError(554, b"spam"), Refused, Refused),
        (smtplib.SMTPDataError(452, b"full"), Later, Later),
        (smtplib.SMTPSenderRefused(550, b"who?", "me"), Later, Later),
        (smtplib.SMTPSenderRefused(552, b"too big", "me"), Refused, Refused),
        (smtplib.SMTPServerDisconnected("gone"), Later, Unknown),
        (TimeoutError("timed out"), Later, Unknown),
        (ConnectionResetError("reset"), Later, Unknown),
        (BadHeaderError("newline"), Refused, Unknown),
    ],
)
def test_only_without_an_answer_after_data_nobody_knows(exc: Exception, before: type, after: type) -> None:
    assert isinstance(of_error(exc, handed_over=False), before)
    assert isinstance(of_error(exc, handed_over=True), after)
