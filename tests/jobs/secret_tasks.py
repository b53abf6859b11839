"""Tasks that are given a secret and do with it what tasks should not, here and in real workers."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import Any

from celery import shared_task

from jobs.public import Permanent

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """An error that keeps what it was told in attributes, and shows it in its own way."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__("refused")
        self.request = request

    def __str__(self) -> str:
        return f"refused: {self.request['sent']}"

    def __reduce__(self) -> Any:
        return type(self), (self.request,)


def digest(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


@shared_task(name="tests.keep")
def keep(path: str, token: Any = None, more: Any = None) -> None:
    """Write down what was given, in a way that only who knows it can recognise."""
    with Path(path).open("a") as out:
        out.write(f"{digest(token)} {digest(more)}\n")


@shared_task(name="tests.logs_it")
def logs_it(token: str) -> None:
    logger.info("the value is %s", token)
    logger.warning("in a list: %r", [token, {"a": token}])
    print(f"printed {token}")
    thread = threading.Thread(target=lambda: logger.error("from a thread: %s", token))
    thread.start()
    thread.join()
    try:
        raise ValueError(token)
    except ValueError:
        logger.exception("with its traceback")


@shared_task(name="tests.raises_it", max_attempts=1)
def raises_it(token: str, how: str = "plain") -> None:
    match how:
        case "plain":
            raise ValueError(f"no answer for {token}")
        case "cause":
            try:
                raise KeyError(token)
            except KeyError as exc:
                raise RuntimeError("it failed") from exc
        case "attribute":
            raise RefusedError({"sent": token})
        case "permanent":
            raise Permanent(f"{token} is not accepted")
        case "group":
            raise ExceptionGroup("several", [ValueError(token), KeyError(token)])
        case "note":
            error = ValueError("see the note")
            error.add_note(f"sent {token}")
            raise error


@shared_task(name="tests.returns_it")
def returns_it(token: str) -> dict[str, Any]:
    return {"same": token, "inside": f"<{token}>", "list": [token]}


@shared_task(name="tests.retries_with_it", bind=True, max_retries=3)
def retries_with_it(self: Any, path: str, token: str) -> None:
    keep.run(path, token)
    if self.request.retries == 0:
        raise self.retry(countdown=60, exc=ValueError(f"busy: {token}"))


@shared_task(name="tests.passes_it_on")
def passes_it_on(path: str, token: str) -> None:
    keep.delay(path, token, more=f"and {token}")
