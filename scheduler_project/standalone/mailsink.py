"""A real SMTP server that keeps every message as a file. Run by path: it needs nothing of Django.

python mailsink.py --port 1025 --folder DIR
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import signal
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
MAXIMUM_BYTES = 32 * 1024 * 1024


def file_name(content: bytes, received: datetime) -> str:
    """A name that sorts by arrival: UTC with microseconds, then the Message-ID made harmless."""
    message_id = str(message_from_bytes(content).get("Message-ID", ""))
    safe = re.sub(r"[^A-Za-z0-9.@-]+", "_", message_id).strip("_.")[:80] or secrets.token_hex(6)
    return f"{received.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{safe}.eml"


def keep(folder: Path, content: bytes, received: datetime) -> Path:
    """Write the message under a new name, in one step: a reader never sees half of it."""
    partial = folder / f".{secrets.token_hex(8)}.partial"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    target = folder / file_name(content, received)
    while True:
        try:
            os.link(partial, target)
            break
        except FileExistsError:  # the same message twice in one microsecond
            target = target.with_name(f"{target.stem}-{secrets.token_hex(2)}.eml")
    partial.unlink()
    return target


class Folder:
    """The aiosmtpd handler: accepts everything, adds the envelope as headers and keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        body = envelope.content
        raw = body.encode() if isinstance(body, str) else body or b""
        sender = f"X-Envelope-From: {envelope.mail_from or ''}\r\n"
        recipients = f"X-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        path = keep(self.folder, (sender + recipients).encode() + raw, datetime.now(UTC))
        print(f"kept {path.name} for {', '.join(envelope.rcpt_tos)}", flush=True)
        return f"250 2.0.0 kept as {path.name}"


async def serve(port: int, folder: Path) -> None:
    """Accept mail on 127.0.0.1:`port` until SIGTERM or SIGINT."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def protocol() -> SMTP:
        return SMTP(Folder(folder), hostname="jadwal.localhost", data_size_limit=MAXIMUM_BYTES, loop=loop)

    server = await loop.create_server(protocol, HOST, port)
    print(f"listening on {HOST}:{port}, keeping mail in {folder}", flush=True)
    async with server:
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.folder))


if __name__ == "__main__":
    main()
