"""`manage.py up`: from nothing to a ready instance, then watching over it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import psycopg
import redis

from .banner import Banner
from .binaries import postgres_bin
from .components import (
    Component,
    application,
    canary,
    mail_sink,
    setup,
    without_password,
)
from .environment import GIVEN, kept_secret, save_environment
from .errors import FAILED, TIMED_OUT, UNREACHABLE, ServerError, StandaloneError
from .layout import State
from .ports import Ports, choose_ports
from .processes import HOST, free_port, open_private, port_answers, port_is_free
from .servers import Postgres, Redis, Server, ping
from .supervisor import Interrupted, Supervisor, ending

#: Choices of the caller that the commands in other terminals must share.
SHARED = ("DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "EMAIL_URL", "HTTPS", "TIME_ZONE")
CANARY_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """The flags of `up`."""

    state: State
    demo: bool = False
    port: int = 8000
    flower_port: int = 5555
    auto_ports: bool = False
    detached: bool = False
    given: Mapping[str, str] = field(default_factory=lambda: GIVEN)


Show = Callable[[Banner], None]


def run(
    options: Options,
    tell: Callable[[str], None],
    show: Show,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Bring the instance up, `show` its banner, watch until told to stop, and stop it in order.

    Raises Interrupted (exit 130) at the end of an orderly stop and StandaloneError for a failure.
    """
    state = options.state
    state.prepare()
    with state.hold() as lock:
        log = state.rotate("up")
        if options.detached:
            redirect_output(log)

        def say(text: str) -> None:
            log_line(log, text)
            tell(text)

        for name in state.end_leftovers():
            say(f"ended {name}, left by an instance that was killed")
        ports = choose_ports(options.port, options.flower_port, auto=options.auto_ports)
        state.sign_in()
        supervisor = Supervisor(state, lock, say, tick)
        try:
            _supervise(Start(options, ports, supervisor), show)
        finally:
            supervisor.shut_down()
            state.status_file.unlink(missing_ok=True)
            state.sign_out()


def _supervise(start: Start, show: Show) -> None:
    """Start and watch; a failure of several lines is told at once and raised as its first line."""
    try:
        start.run(show)
        start.supervisor.watch()
    except Interrupted:
        raise
    except StandaloneError as error:
        summary, details, _ = str(error).partition("\n")
        start.tell(str(error))
        if not details:
            raise
        raise StandaloneError(f"{summary}: everything was stopped", error.exit_code) from error


class Start:
    """The steps of one start, in order."""

    def __init__(self, options: Options, ports: Ports, supervisor: Supervisor) -> None:
        self.options = options
        self.state = options.state
        self.ports = ports
        self.supervisor = supervisor
        self.tell = supervisor.tell
        self.begin = time.monotonic()

    def run(self, show: Show) -> None:
        """Servers, database, processes, canary; then the banner."""
        new = not self.state.admin_password.exists(), not self.state.flower_password.exists()
        kept_secret(self.state.flower_password)
        mail_port = self._mail_port() if self._with_mail() else None
        env = self._environment(self._servers(), mail_port)
        self._prepare_database(env)
        self._processes(env, mail_port)
        self._canary(env)
        self.supervisor.mark_ready()
        show(self._banner(*new))

    # -- the servers ---------------------------------------------------------------------------

    def _servers(self) -> dict[str, str]:
        """Start what the caller did not bring along; the addresses of both servers."""
        urls, started = {}, []
        variables = (("DATABASE_URL", "postgres"), ("REDIS_URL", "redis"))
        for variable, _ in variables:
            if url := self.options.given.get(variable):
                _check_external(variable, url)
        for variable, name in variables:
            if url := self.options.given.get(variable):
                self.supervisor.external[name] = without_password(url)
                urls[variable] = url
            else:
                server = self._launch(name)
                started.append((name, server))
                urls[variable] = server.url
        for name, server in started:
            self.supervisor.wait_for(server.name, server.answers, 60.0)
            self.supervisor.mark_running(name)
        return urls

    def _launch(self, name: str) -> Server:
        """Start an embedded server without waiting for it."""
        folder, log = self.state.root / name, self.state.rotate(name)
        if name == "postgres":
            postgres = Postgres(folder, log=log)
            if not postgres.data.exists():
                self.tell(f"creating a PostgreSQL database in {postgres.data}")
            if postgres.home != folder:
                user = postgres.user.name if postgres.user else "?"
                self.tell(f"PostgreSQL runs as {user}, who cannot reach {folder}:")
                self.tell(f"its data is in {postgres.data}")
            server: Server = postgres
        else:
            server = Redis(folder, log=log, persistent=True)
        process = server.launch()
        component = Component(
            name,
            (),
            url=without_password(server.url),
            stops=((server.stop_signal, 20.0), (signal.SIGQUIT, 10.0)),
            death_signal=server.stop_signal,
            restarts=False,
        )
        self.supervisor.adopt(component, process)
        return server

    # -- the environment -----------------------------------------------------------------------

    def _environment(self, urls: Mapping[str, str], mail_port: int | None) -> dict[str, str]:
        """What every child runs with; the part that other terminals need is saved."""
        given, web = self.options.given, self.ports.web
        saved = {key: given[key] for key in SHARED if key in given} | dict(urls)
        saved["SECRET_KEY"] = given.get("SECRET_KEY") or kept_secret(self.state.root / "secret-key", 48)
        saved["JADWAL_FLOWER_URL"] = given.get("JADWAL_FLOWER_URL", f"http://{HOST}:{self.ports.flower}")
        saved.setdefault("CSRF_TRUSTED_ORIGINS", f"http://{HOST}:{web},http://localhost:{web}")
        if mail_port is not None:
            saved["EMAIL_URL"] = f"smtp://{HOST}:{mail_port}"
        path = given.get("PATH", "/usr/bin:/bin")
        programs = _postgres_programs()
        if programs:
            saved["JADWAL_PG_BIN"] = programs
            path = f"{programs}:{path}"
        save_environment(self.state.root, saved)
        own = {"PATH": path, "PYTHONUNBUFFERED": "1", "JADWAL_STATE_DIR": str(self.state.root)}
        settings = {"DJANGO_SETTINGS_MODULE": "scheduler_project.settings"}
        return {**settings, **given, **saved, **own}

    def _with_mail(self) -> bool:
        return self.options.demo and "EMAIL_URL" not in self.options.given

    def _mail_port(self) -> int:
        """The port of last time if it is free, so that a running mail program keeps working."""
        remembered = self.state.root / "mail-port"
        port = int(remembered.read_text()) if remembered.exists() else 0
        if not port or not port_is_free(port):
            port = free_port()
            remembered.write_text(f"{port}\n")
        return port

    # -- the processes -------------------------------------------------------------------------

    def _prepare_database(self, env: Mapping[str, str]) -> None:
        self.tell("preparing the database")
        component = setup(env, demo=self.options.demo)
        self._run_once(component, 300.0)

    def _run_once(self, component: Component, timeout: float) -> None:
        """Run a one-shot to its end; raises with its last lines when it fails."""
        self.state.rotate(component.name)
        code = self.supervisor.run_once(component, timeout)
        if code:
            raise StandaloneError(
                f"{component.name} failed ({ending(code)}){self.supervisor.why(component.name)}",
                TIMED_OUT if code == TIMED_OUT else FAILED,
            )

    def _processes(self, env: Mapping[str, str], mail_port: int | None) -> None:
        """Start everything at once; ready means more than started, see `_canary`."""
        self.tell("starting workers, beat, console and Flower")
        components = application(self.state, self.ports, env)
        if mail_port is not None:
            components.insert(0, mail_sink(self.state, mail_port, env))
        for component in components:
            self.state.rotate(component.name)
            self.supervisor.start(component)
        self._names = [component.name for component in components]

    def _canary(self, env: Mapping[str, str]) -> None:
        """A job on every queue must come back, and console and Flower must answer."""
        self.tell("sending a job through every queue")
        self._run_once(canary(env, CANARY_SECONDS), CANARY_SECONDS + 30.0)
        url = f"http://{HOST}:{self.ports.web}/"
        self.supervisor.wait_for("the console", lambda: _serves(url), 30.0)
        flower = self.ports.flower
        self.supervisor.wait_for("Flower", lambda: port_answers(flower), 30.0)
        self.supervisor.mark_running(*self._names)

    # -- the banner ----------------------------------------------------------------------------

    def _banner(self, new_admin: bool, new_flower: bool) -> Banner:
        web = f"http://{HOST}:{self.ports.web}"
        admin, flower = self.state.admin_password, self.state.flower_password
        rows = [
            ("Console", f"{web}/"),
            ("Admin", f"{web}/admin/"),
            ("Flower", f"http://{HOST}:{self.ports.flower}/"),
            ("Logs", str(self.state.logs)),
        ]
        if self._with_mail():
            rows.insert(3, ("Mail", str(self.state.mail)))
        secrets, kept = [], []
        for label, path, new in (
            ("Admin, user admin", admin, new_admin),
            ("Flower, user admin", flower, new_flower),
        ):
            if path.exists():
                kept.append((label, str(path)))
                if new:
                    secrets.append((label, path.read_text().strip()))
        seconds = time.monotonic() - self.begin
        return Banner(seconds, rows, secrets, kept, self.options.detached)


def _postgres_programs() -> str:
    """The folder of pg_dump and pg_restore; empty when the caller has them nowhere."""
    try:
        return str(postgres_bin("pg_dump").parent)
    except ServerError:
        return ""


def _check_external(variable: str, url: str) -> None:
    """Fail early, in one line, when a server the caller named does not answer."""
    try:
        if variable == "DATABASE_URL":
            psycopg.connect(url, connect_timeout=5).close()
        else:
            ping(url, timeout=5.0)
    except (psycopg.Error, redis.RedisError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StandaloneError(
            f"{variable} ({without_password(url)}) does not answer: {reason}. "
            f"Correct it, or unset it to use the embedded server",
            UNREACHABLE,
        ) from error


def _serves(url: str) -> bool:
    """Whether the console answers a request; a redirect to the login counts, an error does not."""
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except HTTPError as error:
        return error.code < 500
    except (URLError, OSError):
        return False


def log_line(path: Path, text: str) -> None:
    """Append to the supervisor's own log, readable by its owner only."""
    with os.fdopen(open_private(path), "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def redirect_output(path: Path) -> None:
    """Send what this process writes to `path`: it has no terminal any more."""
    descriptor = open_private(path)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
