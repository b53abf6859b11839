"""A real SMTP server in a thread, that can be told how to answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from scheduler_project.standalone.processes import HOST, free_port

ACCEPT = "250 OK"


def hang_up(server: SMTP) -> str:
    """Close the connection without an answer."""
    server.transport.abort()
    return ACCEPT


def kill(pid: int) -> Callable[[SMTP], str]:
    """Kill a client while the server has its message."""

    def answer(server: SMTP) -> str:
        os.kill(pid, signal.SIGKILL)
        return ACCEPT

    return answer


@dataclass
class MailServer:
    """The answers by address (`on_data`: to the message itself), and what was accepted."""

    port: int
    on_rcpt: dict[str, list[Any]] = field(default_factory=dict)
    on_data: dict[str, list[Any]] = field(default_factory=dict)
    on_mail: list[Any] = field(default_factory=list)
    accepted: list[tuple[str, EmailMessage]] = field(default_factory=list)
    connections: int = 0

    def to(self, address: str) -> list[EmailMessage]:
        """The messages accepted for `address`."""
        return [message for name, message in self.accepted if name == address]

    def _answer(self, script: list[Any], server: SMTP) -> str:
        answer = script.pop(0) if script else ACCEPT
        return str(answer(server)) if callable(answer) else str(answer)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self._answer(self.on_mail, server)
        if answer.startswith("250"):
            envelope.mail_from = address
        return answer

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self._answer(self.on_rcpt.get(address, []), server)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections += 1
        return responses

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        answer = self._answer(self.on_data.get(envelope.rcpt_tos[0], []), server)
        if answer.startswith("250"):
            self.accepted += [(address, message) for address in envelope.rcpt_tos]  # type: ignore[misc]
        return answer


@contextmanager
def running() -> Iterator[MailServer]:
    """Serve on a free port until the end of the block."""
    server = MailServer(free_port())
    controller = Controller(server, hostname=HOST, port=server.port)
    controller.start()
    server.connections = 0
    try:
        yield server
    finally:
        controller.stop()
