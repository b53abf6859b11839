"""`up --detach`: the supervisor in the background, its progress relayed to the caller.

The caller waits at one end of a pipe; the supervisor writes one JSON object per line to the other:
`{"pid"}`, `{"say"}`, then `{"ready"}` with the banner or `{"failed", "code"}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NoReturn

from .banner import Banner
from .boot import Options, run
from .errors import FAILED, INTERRUPTED, StandaloneError


def run_detached(options: Options, tell: Callable[[str], None], show: Callable[[Banner], None]) -> None:
    """Start a supervisor that outlives this process; returns when the instance is ready.

    Raises StandaloneError as `boot.run` does. Ctrl-C while waiting stops the half-started instance.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become_daemon(options, writer)
    os.close(writer)
    os.waitpid(child, 0)  # the first of the two forks ends at once
    with os.fdopen(reader, encoding="utf-8") as events:
        _relay((json.loads(line) for line in events), tell, show)


def _relay(events: Any, tell: Callable[[str], None], show: Callable[[Banner], None]) -> None:
    pid = None
    try:
        for event in events:
            pid = event.get("pid", pid)
            if "say" in event:
                tell(event["say"])
            elif "ready" in event:
                rows = {key: [tuple(row) for row in event["ready"][key]] for key in _TABLES}
                show(Banner(**{**event["ready"], **rows}))
                return
            elif "failed" in event:
                raise StandaloneError(event["failed"], event["code"] or FAILED)
    except KeyboardInterrupt:
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        raise StandaloneError("interrupted: stopping what was started", INTERRUPTED) from None
    raise StandaloneError("the supervisor ended without a word: see 'manage.py logs up'", FAILED)


_TABLES = ("rows", "secrets", "kept")


def _become_daemon(options: Options, writer: int) -> NoReturn:
    """Fork again in a session of its own, so that no terminal can be acquired, and supervise."""
    os.setsid()
    if os.fork():
        os._exit(0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # `run` sends 1 and 2 to up.log once the folder is ours
        os.dup2(nowhere, descriptor)
    code = FAILED
    try:
        code = _supervise(options, writer)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _supervise(options: Options, writer: int) -> int:
    channel = os.fdopen(writer, "w", encoding="utf-8")

    def send(**event: Any) -> None:
        with suppress(OSError, ValueError):  # gone or closed: the caller has its answer
            channel.write(json.dumps(event) + "\n")
            channel.flush()

    def ready(banner: Banner) -> None:
        send(ready=asdict(banner))
        with suppress(OSError):
            channel.close()

    send(pid=os.getpid())
    try:
        run(options, lambda text: send(say=text), ready)
    except StandaloneError as error:
        send(failed=str(error), code=error.exit_code)
        return error.exit_code
    except Exception as error:
        send(failed=f"{type(error).__name__}: {error}: see 'manage.py logs up'", code=FAILED)
        raise
    return 0
