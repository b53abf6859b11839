"""What an instance consists of: one value per process, in the order of starting and of stopping."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .layout import PROJECT, State
from .ports import Ports
from .processes import HOST

WORKERS: Mapping[str, int] = {"notifications": 2, "billing": 2, "backups": 1, "default": 2}
WORKER_NAMES = tuple(f"worker-{queue}" for queue in WORKERS)
#: Groups in the order of stopping: first nothing new is scheduled, then what runs may end, last the
#: servers everything else depends on.
STOP_ORDER: tuple[tuple[str, ...], ...] = (
    ("setup", "canary", "beat"),
    WORKER_NAMES,
    ("web", "flower"),
    ("mail",),
    ("redis",),
    ("postgres",),
)
COMPONENTS = ("postgres", "redis", "setup", "mail", "beat", *WORKER_NAMES, "web", "flower")
#: Every log a person may ask for.
LOGS = (*COMPONENTS, "canary", "up")
Stop = tuple[signal.Signals, float]
#: A worker may finish what it runs for so long (seconds), then its jobs are handed back.
WORKER_GRACE = 20.0


@dataclass(frozen=True)
class Component:
    """A process to keep running.

    `stops`: the signals that ask it to end, each with the seconds until the next one is sent; after
    the last comes SIGKILL. `death_signal`: what it gets when the supervisor is killed. That is a
    crash, and ours are built to survive one: SIGKILL, as a tidy end would wait for a Redis that
    ends too. Only the servers, which keep files, may end in order.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = ""
    stops: tuple[Stop, ...] = ((signal.SIGTERM, 10.0),)
    death_signal: signal.Signals = signal.SIGKILL
    restarts: bool = True


def python(*arguments: str | Path) -> tuple[str, ...]:
    """A command line of this very interpreter, so of this virtual environment."""
    return (sys.executable, *map(str, arguments))


def _celery(*arguments: str) -> tuple[str, ...]:
    return python("-m", "celery", "-A", "scheduler_project", *arguments)


def worker(queue: str, concurrency: int, env: Mapping[str, str]) -> Component:
    """A worker for one queue. On SIGTERM it stops by itself within its grace (`runtime.worker`)."""
    options = ["-Q", queue, "-n", f"{queue}@%h", "--concurrency", str(concurrency), "-E"]
    options += ["--without-gossip", "--without-mingle"]  # a second of waiting for nothing we use
    grace = float(env.get("JADWAL_SHUTDOWN_GRACE", WORKER_GRACE))
    return Component(
        f"worker-{queue}",
        _celery("worker", *options, "-l", "INFO"),
        {**env, "JADWAL_SHUTDOWN_GRACE": str(grace)},
        stops=((signal.SIGTERM, grace + 10.0),),
    )


def application(state: State, ports: Ports, env: Mapping[str, str]) -> list[Component]:
    """Everything that needs the migrated database, in the order of starting."""
    web = f"http://{HOST}:{ports.web}/"
    gunicorn = ("-m", "gunicorn", "scheduler_project.wsgi", "--bind", f"{HOST}:{ports.web}")
    limits = (
        "--no-control-socket",
        "--workers",
        "1",
        "--threads",
        "8",
        "--timeout",
        "60",
        "--graceful-timeout",
        "8",
    )
    return [
        *(worker(queue, size, env) for queue, size in WORKERS.items()),
        Component("beat", _celery("beat", "-l", "INFO", "--pidfile="), env),
        Component("web", python(*gunicorn, *limits, "--worker-class", "gthread"), env, web),
        _flower(state, ports, env),
    ]


def _flower(state: State, ports: Ports, env: Mapping[str, str]) -> Component:
    """Flower, always behind a password; it travels in the environment, as `ps` shows arguments."""
    folder = state.root / "flower"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = [f"--address={HOST}", f"--port={ports.flower}"]
    options += ["--persistent=True", f"--db={folder / 'flower'}", "--state_save_interval=30000"]
    password = state.flower_password.read_text().strip()
    own = {"FLOWER_BASIC_AUTH": f"admin:{password}"}
    url = f"http://{HOST}:{ports.flower}/"
    return Component("flower", _celery("flower", *options), {**env, **own}, url)


def mail_sink(state: State, port: int, env: Mapping[str, str]) -> Component:
    """The SMTP server of the demo; it keeps every message under `<state>/mail`."""
    script = Path(__file__).with_name("mailsink.py")
    argv = python("-P", script, "--port", str(port), "--folder", state.mail)
    return Component("mail", argv, env, f"smtp://{HOST}:{port}")


def setup(env: Mapping[str, str], *, demo: bool) -> Component:
    """One shot: migrate, make the first superuser, seed the demo."""
    argv = python("-m", "scheduler_project.standalone.bootstrap", *(["--demo"] if demo else []))
    return Component("setup", argv, env, restarts=False)


def canary(env: Mapping[str, str], timeout: float) -> Component:
    """One shot: a job on each queue, beat -> Redis -> worker -> result."""
    argv = python(PROJECT / "manage.py", "canary", "--timeout", str(int(timeout)))
    return Component("canary", argv, env, restarts=False)


def without_password(url: str) -> str:
    """`url` as it may be shown: user, host, port and path."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, user + host, parts.path, "", ""))
