"""Redis as the container of docker-compose.yml runs it: by its script, with a user for each service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
import redis as redis_client
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from scheduler_project.standalone.processes import free_port
from tests.acceptance.line import eventually

ROOT = Path(__file__).resolve().parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PASSWORDS = sorted(SERVICES["redis"]["environment"])
"""Variables with the password of a user each."""
OLDEST = 7
FETCHED = Path(sys.prefix) / "redis-server"


def redis_server() -> tuple[Path, dict[str, str]]:
    """A redis-server that knows selectors, and what it needs in its environment; fails where there is none."""
    installed = shutil.which("redis-server")
    if installed and _version(Path(installed), {}) >= OLDEST:
        return Path(installed), {}
    libraries = ":".join(str(path) for path in FETCHED.glob("usr/lib/*-linux-gnu"))
    program, environment = FETCHED / "usr/bin/redis-server", {"LD_LIBRARY_PATH": libraries}
    if program.exists() and _version(program, environment) >= OLDEST:
        return program, environment
    pytest.fail(f"These tests need redis-server {OLDEST}: run tests/broker/fetch-redis.sh {FETCHED}")


def _version(program: Path, environment: dict[str, str]) -> int:
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    ).stdout
    found = re.search(r"v=(\d+)\.", said)
    return int(found[1]) if found else 0


def password_of(variable: str) -> str:
    return f"pw-{variable.lower()}"


class UsersRedis:
    """Redis, started by the script of its container, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.log = folder / "redis.log"
        folder.mkdir(parents=True, exist_ok=True)
        configuration = (ROOT / "docker/redis/redis.conf").read_text().replace("dir /data", f"dir {folder}")
        (folder / "redis.conf").write_text(f"{configuration}\nport {self.port}\nbind 127.0.0.1\n")

    def start(self) -> Self:
        """Start it and wait until it answers."""
        program, environment = redis_server()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", ROOT / "docker/redis/start.sh"],
                env={
                    "PATH": f"{program.parent}:{os.environ['PATH']}",
                    "REDIS_CONF": str(self.folder / "redis.conf"),
                    **{name: password_of(name) for name in PASSWORDS},
                    **environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._answers, 10, self.log.read_text)
        return self

    def _answers(self) -> bool:
        try:
            return bool(self.operator.ping())
        except redis_client.ConnectionError:
            return False

    def client(self, user: str | None = None, password: str | None = None) -> redis_client.Redis:
        """A client that takes the first answer for an answer: redis-py tries a wrong password for seconds."""
        once = Retry(NoBackoff(), 0)
        return redis_client.Redis(port=self.port, username=user, password=password, retry=once)

    @property
    def operator(self) -> redis_client.Redis:
        """The user for people, who may do everything."""
        return self.client("operator", password_of("REDIS_PASSWORD"))

    def of(self, service: str) -> redis_client.Redis:
        """A client with the user and the password that docker-compose.yml gives a service."""
        return redis_client.Redis.from_url(self.url(service))

    def url(self, service: str) -> str:
        """The REDIS_URL of a service, with this server's address and the password in its place."""
        url = SERVICES[service]["environment"]["REDIS_URL"]
        url = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: password_of(match[1]), url)
        return url.replace("@redis:6379/", f"@127.0.0.1:{self.port}/")

    def refused(self) -> list[str]:
        """What was refused since it was asked last: `user: command, object`."""
        operator = self.operator
        found = [
            f"{entry['username']}: {entry['reason']} {entry['object']} ({entry['context']})"
            for entry in operator.acl_log()
        ]
        operator.acl_log_reset()
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
