"""The line to the mail server: one connection for many mails, and the truth about each."""

from __future__ import annotations

from smtplib import SMTP
from types import TracebackType
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.core.mail import EmailMessage, get_connection

from notifications import verdicts
from notifications.verdicts import Accepted, Later, Verdict


class LineDownError(Exception):
    """The mail server cannot be reached: no mail was tried, all may be tried again."""


class Line:
    """A connection by any of Django's e-mail backends, opened when it is needed and reused.

    With SMTP it knows whether a message was handed over when an error came. For other backends an error
    means what it says: not sent.
    """

    def __init__(self) -> None:
        self._backend: Any = get_connection(fail_silently=False)
        self._handed_over = False
        self.losses = 0
        """How many times in a row the line broke under a mail."""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._hang_up()

    def open(self) -> None:
        """See that there is a connection. Raises `LineDownError`."""
        try:
            self._backend.open()
        except SoftTimeLimitExceeded:
            raise
        except Exception as exc:  # every backend has errors of its own; none of them is about a mail
            self._hang_up()
            raise LineDownError(f"The mail server cannot be reached: {verdicts.describe(exc)}") from exc
        client = getattr(self._backend, "connection", None)
        if isinstance(client, SMTP) and "data" not in vars(client):
            self._watch(client)

    def send(self, message: EmailMessage) -> Verdict:
        """Send one mail and return what the server said."""
        self._handed_over = False
        try:
            if not self._backend.send_messages([message]):
                return Later("the e-mail backend did not send it")
        except SoftTimeLimitExceeded:
            raise  # it is the job's end, and this mail's outcome is unknown
        except Exception as exc:  # see above; what it means is decided in `verdicts`
            verdict = verdicts.of_error(exc, handed_over=self._handed_over)
            if isinstance(verdict, verdicts.Unknown) or (isinstance(verdict, Later) and verdict.line_lost):
                self.losses += 1
                self._hang_up()
            return verdict
        self.losses = 0
        return Accepted()

    def _watch(self, client: SMTP) -> None:
        """Note when `client` begins to hand a message over: smtplib does not say where it failed."""
        hand_over = client.data

        def data(content: Any) -> tuple[int, bytes]:
            self._handed_over = True
            return hand_over(content)

        client.data = data  # type: ignore[method-assign, assignment]

    def _hang_up(self) -> None:
        try:
            self._backend.close()
        except Exception:  # a line that is broken may be broken in any way; there is nothing left to lose
            self._backend.connection = None
