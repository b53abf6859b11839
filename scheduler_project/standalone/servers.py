"""A real PostgreSQL and a real Redis as child processes, for `manage.py up` and for the tests.

    with Postgres(folder) as postgres, Redis(folder2) as redis:
        postgres.url, redis.url

Both listen on 127.0.0.1 only and want a random password, kept 0600 in their folder. `start` waits
until the server answers a query; `kill` is the crash of a test: SIGKILL, nothing is tidied up.
Start them from the main thread (see `processes`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from .binaries import postgres_bin, redis_bin
from .environment import kept_secret, write_private
from .errors import ServerError
from .placement import forget_home, home_for, readable_binaries, server_user
from .processes import (
    HOST,
    free_port,
    kill_group,
    port_is_free,
    processes_in,
    signal_process,
    spawn,
    wait_until,
)

__all__ = ["Postgres", "Redis", "Server", "ping", "postgres_bin", "redis_bin"]


class Server:
    """One server process over one folder. A subclass says how to prepare, launch and greet it."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    process: subprocess.Popen[bytes] | None = None

    def __init__(self, folder: Path, port: int | None = None, log: Path | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._fixed_port = port
        self._port: int | None = None
        self.log = log or self.folder / "server.log"

    @property
    def url(self) -> str:
        """Where the server is reached, with its password."""
        raise NotImplementedError

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process and return without waiting for it to answer."""
        raise NotImplementedError

    def greet(self) -> None:
        """Ask the server something; raises one of `not_yet` while it is starting."""
        raise NotImplementedError

    not_yet: ClassVar[tuple[type[Exception], ...]] = ()

    @property
    def port(self) -> int:
        """The TCP port: the one asked for, else the one of last time if free, else a free one."""
        if self._port is None:
            self._port = self._choose_port()
        return self._port

    def _choose_port(self) -> int:
        if self._fixed_port is not None:
            return self._fixed_port
        remembered = self.folder / "port"
        if remembered.exists():
            port = int(remembered.read_text())
            if port_is_free(port):
                return port
        port = free_port()
        remembered.write_text(f"{port}\n")
        return port

    def secret(self, name: str) -> str:
        """A random password made once and kept 0600 in the folder."""
        return kept_secret(self.folder / name)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError(f"{self.name} has not been started")
        return self.process.pid

    def start(self, timeout: float = 30.0) -> Self:
        """Start the server and wait, at most `timeout` seconds, until it answers."""
        if not self.running:
            if self._fixed_port is None and self._port is not None and not port_is_free(self._port):
                self._port = None
            self.launch()
        deadline = time.monotonic() + timeout
        while not self.answers():
            if not self.running:
                raise ServerError(f"{self.name} ended while starting: {self.last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not answer in {timeout:.0f} s, see {self.log}")
            time.sleep(0.03)
        return self

    def answers(self) -> bool:
        """Whether the server serves queries now."""
        try:
            self.greet()
        except self.not_yet:
            return False
        return True

    def stop(self, timeout: float = 20.0) -> None:
        """End the server in order, keeping its data; SIGKILL after `timeout` seconds."""
        if self.process is None:
            return
        signal_process(self.process, self.stop_signal)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Crash the server with SIGKILL and wait until its processes are gone."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()

    def last_words(self) -> str:
        """The last lines of its log, on one line."""
        if not self.log.exists():
            return f"no log at {self.log}"
        tail = self.log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()[-3:]
        return " | ".join(tail)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


class Postgres(Server):
    """PostgreSQL over `folder`, with a database and a role `jadwal` (not a superuser).

    `settings` are server parameters on top of ours, `{"fsync": "off"}` for a quick test.
    `temporary=True` skips initdb's sync and, when used as a context manager, deletes the data at
    the end. When root, `data` may lie elsewhere (see `placement`); `remove` finds it.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, a checkpoint is written
    not_yet = (psycopg.OperationalError,)
    database = "jadwal"
    role = "jadwal"
    parameters: ClassVar[Mapping[str, str]] = {
        "unix_socket_directories": "",
        "shared_buffers": "128MB",
        "max_connections": "200",
        "max_wal_size": "1GB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        "cluster_name": "jadwal",
    }

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        log: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        temporary: bool = False,
    ) -> None:
        super().__init__(folder, port, log)
        self.user = server_user()
        self.bin = readable_binaries(postgres_bin().parent, self.user)
        self.home = home_for(self.folder, self.user)
        self.data = self.home.resolve() / "data"
        self.settings = {**self.parameters, **(settings or {})}
        self.temporary = temporary

    @property
    def url(self) -> str:
        password = self.secret("password")
        return f"postgres://{self.role}:{password}@{HOST}:{self.port}/{self.database}"

    @property
    def admin_url(self) -> str:
        """The same server as its superuser, on the maintenance database."""
        return f"postgres://postgres:{self.secret('superuser-password')}@{HOST}:{self.port}/postgres"

    def launch(self) -> subprocess.Popen[bytes]:
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._clear_stale_lock()
        options = {"listen_addresses": HOST, "port": str(self.port), **self.settings}
        argv: list[str | Path] = [self.bin / "postgres", "-D", self.data]
        for key, value in options.items():
            argv += ["-c", f"{key}={value}"]
        self.process = spawn(argv, log=self.log, cwd=Path("/"), user=self.user, death_signal=signal.SIGINT)
        return self.process

    def _initdb(self) -> None:
        """Make the data folder beside its final name: an interrupted initdb leaves nothing."""
        partial = self.home / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        password_file = write_private(self.home / "initdb-password", self.secret("superuser-password"))
        if self.user is not None:
            for path in (partial, password_file):
                os.chown(path, self.user.uid, self.user.gid)
        try:
            self._run_initdb(partial, password_file)
        finally:
            password_file.unlink()
        partial.rename(self.data)

    def _run_initdb(self, target: Path, password_file: Path) -> None:
        argv = [str(self.bin / "initdb"), "-D", str(target), "-U", "postgres"]
        options = [f"--pwfile={password_file}"]
        options += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        options += ["--no-sync"] if self.temporary else []
        done = subprocess.run(
            [*argv, *options],
            cwd="/",
            user=self.user.uid if self.user else None,
            group=self.user.gid if self.user else None,
            extra_groups=[] if self.user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = " ".join((done.stderr or done.stdout).split())[-400:]
            raise ServerError(f"initdb failed in {target}: {reason}")

    def _clear_stale_lock(self) -> None:
        """Let a crashed server's `postmaster.pid` not stop the next start.

        PostgreSQL refuses when the pid in it belongs to any live process, which after a container
        restart is a matter of luck. Processes of this data folder have it as working directory.
        """
        lock = self.data / "postmaster.pid"
        if not lock.exists():
            return
        if not wait_until(lambda: not processes_in(self.data, "postgres"), 5.0):
            pids = ", ".join(map(str, processes_in(self.data, "postgres")))
            raise ServerError(f"PostgreSQL already runs on {self.data} (pid {pids}): stop it first")
        lock.unlink(missing_ok=True)

    def greet(self) -> None:
        with psycopg.connect(self.admin_url, connect_timeout=3, autocommit=True) as connection:
            self._provision(connection)

    def _provision(self, connection: psycopg.Connection) -> None:
        """Make the role and the database where missing; harmless to repeat."""
        role, database = sql.Identifier(self.role), sql.Identifier(self.database)
        known = "SELECT 1 FROM pg_roles WHERE rolname = %s"
        if connection.execute(known, [self.role]).fetchone() is None:
            password = sql.Literal(self.secret("password"))
            create = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            connection.execute(create.format(role, password))
        known = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(known, [self.database]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def kill(self) -> None:
        """Crash the server. Its backends notice by themselves, so wait for them too."""
        super().kill()
        wait_until(lambda: not processes_in(self.data, "postgres"), 10.0)

    def remove(self) -> None:
        """Delete the data of a stopped server, wherever it lies."""
        if self.running:
            raise ServerError("PostgreSQL is running: stop it before removing its data")
        shutil.rmtree(self.data, ignore_errors=True)
        forget_home(self.folder)

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.temporary:
            self.remove()


class Redis(Server):
    """Redis over `folder`. `persistent=True` keeps an append-only file: it forgets nothing.

    Without it a restart is an empty Redis: the case a reconciler must survive.
    """

    name = "Redis"
    stop_signal = signal.SIGTERM
    not_yet = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError)

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        log: Path | None = None,
        *,
        persistent: bool = False,
    ) -> None:
        super().__init__(folder, port, log)
        self.persistent = persistent

    @property
    def url(self) -> str:
        return f"redis://:{self.secret('password')}@{HOST}:{self.port}/0"

    def launch(self) -> subprocess.Popen[bytes]:
        self.process = spawn([redis_bin(), self._write_configuration()], log=self.log)
        return self.process

    def _write_configuration(self) -> Path:
        """A 0600 file rather than arguments, which every user of the machine could read."""
        lines = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": self.secret("password"),
            "dir": f'"{self.folder.resolve()}"',
            "appendonly": "yes" if self.persistent else "no",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        text = "".join(f"{key} {value}\n" for key, value in lines.items())
        return write_private(self.folder / "redis.conf", text)

    def greet(self) -> None:
        ping(self.url, timeout=2.0)


def ping(url: str, timeout: float) -> None:
    """Ask a Redis once, without redis-py's retries, which sleep for seconds. Raises RedisError."""
    client = redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        client.ping()
