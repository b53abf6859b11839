"""The two ports that people type: checked before anything starts, all conflicts in one message."""

from __future__ import annotations

from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from .errors import CONFLICT, StandaloneError
from .processes import port_is_free

WEB, FLOWER = "--port", "--flower-port"


@dataclass(frozen=True)
class Ports:
    """Where the console and Flower listen on 127.0.0.1."""

    web: int
    flower: int


def choose_ports(web: int, flower: int, *, auto: bool) -> Ports:
    """The ports asked for, or with `auto` the next free ones above them.

    Raises StandaloneError (conflict) that names every port in the way, who has it, and the remedy.
    """
    if auto:
        chosen = _next_free(web, taken=set())
        return Ports(chosen, _next_free(flower, taken={chosen}))
    problems = [
        f"port {port} ({flag}) is used by {_owner(port)}"
        for flag, port in ((WEB, web), (FLOWER, flower))
        if not port_is_free(port)
    ]
    if web == flower:
        problems.append(f"{WEB} and {FLOWER} are both {web}")
    if problems:
        raise StandaloneError(
            f"{'; '.join(problems)}. Choose others with {WEB} and {FLOWER}, "
            f"or let free ones be chosen with --auto-ports",
            CONFLICT,
        )
    return Ports(web, flower)


def _next_free(start: int, taken: set[int]) -> int:
    for port in range(start, min(start + 200, 65536)):
        if port not in taken and port_is_free(port):
            return port
    raise StandaloneError(f"no free port in the 200 after {start}: give another one", CONFLICT)


def _owner(port: int) -> str:
    """Who listens there, as far as this user may see."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listening and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
