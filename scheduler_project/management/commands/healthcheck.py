"""`manage.py healthcheck`: whether one part works, for Docker, Kubernetes and load balancers."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPException
from typing import Any, ClassVar
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from celery import current_app
from celery.utils.nodenames import default_nodename, host_format
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from jobs.engine.clock import database_now
from jobs.engine.doorbell import BROKER_ERRORS
from jobs.insight import beats
from jobs.insight.dashboard import beat_health


class Command(BaseCommand):
    """Exit 0: it works. Exit 1: it does not, and one line says why."""

    help = "Check one part: web answers, a worker answers, or beat keeps up. Exit 0: healthy, 1: not."
    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("part", choices=sorted(CHECKS))
        parser.add_argument("--url", default="http://127.0.0.1:8000/healthz", help="what web is asked for")
        parser.add_argument("--node", metavar="NAME@HOST", help="of a worker or beat; %%h is this host")
        parser.add_argument("--overdue", type=float, default=60.0, help="how late beat may be, in seconds")
        parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for an answer")

    def handle(self, *args: Any, **options: Any) -> None:
        problem = CHECKS[options["part"]](options)
        if problem:
            raise CommandError(problem)
        self.stdout.write("healthy")


def _web(options: dict[str, Any]) -> str:
    """Ask as a proxy would: by an allowed name, and as HTTPS where that is asked for."""
    host = next((name.lstrip(".") for name in settings.ALLOWED_HOSTS if name != "*"), "localhost")
    headers = {"Host": host, "X-Forwarded-Proto": "https"}
    try:
        with build_opener(ProxyHandler({})).open(
            Request(options["url"], headers=headers),  # noqa: S310  (the operator's own address)
            timeout=options["timeout"],
        ):
            return ""
    except HTTPError as exc:
        return f"{options['url']} answers {exc.code}"
    except (URLError, OSError, HTTPException) as exc:
        return f"{options['url']} does not answer: {exc}"


def _worker(options: dict[str, Any]) -> str:
    """A worker that does not hear a broadcast does not take messages either."""
    node = host_format(default_nodename(options["node"]))
    try:
        return "" if _answers(node, options["timeout"]) else f"{node} does not answer"
    except BROKER_ERRORS as exc:
        return f"the broker does not answer: {exc}"


def _beat(options: dict[str, Any]) -> str:
    """Nothing may be overdue, and a beat of this host must be turning: its row in the register says so.

    No broker is asked. Beat works without one, so one that is away is no reason to call it ill.
    """
    host = host_format(options["node"] or "%h").rpartition("@")[2]
    try:
        now = database_now()
        overdue, turns = beat_health(now).overdue, beats.turns_on(host, now)
    except Error as exc:
        return f"the database does not answer: {' '.join(str(exc).split())}"
    if overdue > timedelta(seconds=options["overdue"]):
        return f"a schedule has been undecided for {overdue.total_seconds():.0f} s"
    return "" if turns else f"no beat on {host} shows a sign of life"


def _answers(node: str, timeout: float) -> bool:
    """Return whether `node` answers a ping. Raises one of BROKER_ERRORS when the broker does not."""
    connection = current_app.connection_for_write()
    with connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=timeout)
        return bool(current_app.control.ping(destination=[node], timeout=timeout, connection=connection))


CHECKS: dict[str, Callable[[dict[str, Any]], str]] = {"beat": _beat, "web": _web, "worker": _worker}
