"""Keeps the processes of an instance running, and ends them in order.

One thread, one loop: `pulse` looks at every child, does what is due and returns. Whoever waits for
something calls `pulse` in between, so that Ctrl-C and the death of a child count at any moment.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from .components import COMPONENTS, STOP_ORDER, Component
from .errors import FAILED, INTERRUPTED, StandaloneError
from .layout import PROJECT, State
from .processes import Identity, kill_group, signal_process, spawn
from .reporting import Item, last_lines, write_report

#: So many restarts in WINDOW seconds, the first after FIRST_DELAY, each later one twice as late.
RESTARTS, WINDOW, FIRST_DELAY = 5, 60.0, 0.5
LARGEST_LOG = 50 * 1024 * 1024
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(StandaloneError):
    """The end that was asked for: Ctrl-C (exit 130), SIGTERM or a closed terminal (exit 0)."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped", INTERRUPTED if number == signal.SIGINT else 0)


@dataclass
class Child:
    """A component's process now, and its recent restarts."""

    component: Component
    process: subprocess.Popen[bytes]
    since: datetime
    started: str
    state: str = "starting"
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS))
    due: float | None = None


class Reaper:
    """Our end of the pipe to `reaper.py`, which outlives a `kill -9` of this process."""

    def __init__(self, lock: int) -> None:
        script = Path(__file__).with_name("reaper.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock],
            text=True,
        )

    def watch(self, pid: int, number: signal.Signals) -> None:
        self._say(f"+{pid} {int(number)}")

    def forget(self, pid: int) -> None:
        self._say(f"-{pid}")

    def dismiss(self) -> None:
        self._say("bye")
        self._process.wait(timeout=5)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # somebody killed it; the children still have their death signal


class Supervisor:
    """The children of one instance. `tell` takes a line for the person; `tick` runs every pulse."""

    def __init__(
        self,
        state: State,
        lock: int,
        tell: Callable[[str], None],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = state
        self.tell = tell
        self.tick = tick
        self.children: dict[str, Child] = {}
        self.external: dict[str, str] = {}
        self.ready = False
        self.stopping = False
        self.stop_requests = 0
        self.reaper = Reaper(lock)
        self._next_log_check = 0.0
        self._last_request, self._last_signal = 0.0, 0
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Count the request. A closed terminal sends several signals at once: they are one."""
        now = time.monotonic()
        if now - self._last_request > 0.3:
            self.stop_requests += 1
        self._last_request, self._last_signal = now, number

    # -- starting ------------------------------------------------------------------------------

    def adopt(self, component: Component, process: subprocess.Popen[bytes]) -> None:
        """Look after a process that is already running (an embedded server)."""
        identity = Identity.of(process.pid)
        started = identity.started if identity else ""
        self.reaper.watch(process.pid, component.death_signal)
        known = self.children.get(component.name)
        child = Child(component, process, datetime.now(UTC), started)
        if known is not None:
            child.deaths = known.deaths
        self.children[component.name] = child
        self.publish()

    def start(self, component: Component) -> None:
        """Start a component; it counts as starting until `mark_running`."""
        log = self.state.log(component.name)
        process = spawn(
            component.argv,
            log=log,
            env=component.env,
            cwd=PROJECT,
            death_signal=component.death_signal,
        )
        self.adopt(component, process)

    def mark_running(self, *names: str) -> None:
        for name in names:
            self.children[name].state = "running"
        self.publish()

    def mark_ready(self) -> None:
        """From here on a death leads to a restart, and `status` says ready."""
        self.ready = True
        self.publish()

    def run_once(self, component: Component, timeout: float) -> int:
        """Run a one-shot component to its end; its exit code. Raises when it takes too long."""
        self.start(component)
        child = self.children[component.name]
        deadline = time.monotonic() + timeout
        while child.process.poll() is None:
            self.pulse()
            if time.monotonic() > deadline:
                raise StandaloneError(f"{component.name} took over {timeout:.0f} s{self.why(component.name)}")
        self._bury(child)
        del self.children[component.name]
        return child.process.returncode

    def wait_for(self, what: str, condition: Callable[[], bool], timeout: float) -> None:
        """Pulse until `condition` holds. Raises StandaloneError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.pulse()
            if time.monotonic() > deadline:
                raise StandaloneError(f"{what} did not answer in {timeout:.0f} s: see {self.logs}")

    @property
    def logs(self) -> Path:
        return self.state.logs

    # -- running -------------------------------------------------------------------------------

    def pulse(self, pause: float = 0.05) -> None:
        """One turn: notice signals and deaths, restart what is due. Raises to end the instance."""
        time.sleep(pause)
        self.tick()
        if self.stop_requests:
            raise Interrupted(self._last_signal)
        for child in list(self.children.values()):
            if child.due is not None:
                if time.monotonic() >= child.due:
                    self._restart(child)
            elif child.process.poll() is not None and child.component.name in COMPONENTS:
                self._on_death(child)
        self._bound_logs()

    def watch(self) -> None:
        """Keep everything running until told to stop."""
        while True:
            self.pulse(0.2)

    def _on_death(self, child: Child) -> None:
        """Restart what can be restarted, a few times; otherwise this is the end."""
        component = child.component
        if component.name == "setup":
            return  # run_once looks at its exit code
        self._bury(child)
        report = f"{component.name} ended ({ending(child.process.returncode)}){self.why(component.name)}"
        now = time.monotonic()
        while child.deaths and now - child.deaths[0] > WINDOW:
            child.deaths.popleft()
        if not self.ready or not component.restarts:
            raise StandaloneError(report, FAILED)
        if len(child.deaths) == RESTARTS:
            raise StandaloneError(f"{report}\n{RESTARTS} restarts in a minute did not help", FAILED)
        delay = FIRST_DELAY * 2 ** len(child.deaths)
        child.deaths.append(now)
        child.due, child.state = now + delay, "restarting"
        count = f"{len(child.deaths)} of {RESTARTS} in a minute"
        self.tell(f"{report}\nstarting {component.name} again in {delay:g} s ({count})")
        self.publish()

    def _restart(self, child: Child) -> None:
        self.start(child.component)
        self.mark_running(child.component.name)

    def _bury(self, child: Child) -> None:
        """Clear away what a dead leader left in its group, before anything takes its place."""
        kill_group(child.process.pid)
        self.reaper.forget(child.process.pid)

    def why(self, name: str) -> str:
        """The last lines of a component's log, for a message."""
        path = self.state.log(name)
        lines = last_lines(path, 12)
        return "".join(f"\n    {line}" for line in lines) + f"\n    (all of it: {path})"

    def _bound_logs(self) -> None:
        """Cut a log that has grown too large: appending children go on at the new end."""
        if time.monotonic() < self._next_log_check:
            return
        self._next_log_check = time.monotonic() + 30.0
        for path in self.logs.glob("*.log"):
            if path.stat().st_size > LARGEST_LOG:
                path.with_suffix(".log.1").write_bytes(path.read_bytes())
                with path.open("r+b") as file:
                    file.truncate()

    # -- ending --------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """End every child in `STOP_ORDER`; another stop request kills what is left."""
        self.stopping, self.ready = True, False
        patient_until = self.stop_requests + 1
        for names in STOP_ORDER:
            group = [self.children[name] for name in names if name in self.children]
            live = [child for child in group if child.process.poll() is None]
            if live and self.stop_requests < patient_until:
                self.tell(f"stopping {', '.join(child.component.name for child in live)}")
            self._end(live, patient_until)
            for child in group:
                self._bury(child)
                child.state = "stopped"
            self.publish()
        self.reaper.dismiss()

    def _end(self, live: Sequence[Child], patient_until: int) -> None:
        """Send each child its signals, one by one as its patience ends; at last SIGKILL."""
        begin = time.monotonic()
        sent = dict.fromkeys((child.component.name for child in live), 0)
        while waiting := [child for child in live if child.process.poll() is None]:
            for child in waiting:
                name, stops = child.component.name, child.component.stops
                index = sent[name]
                if self.stop_requests >= patient_until:
                    index = len(stops)
                elif time.monotonic() - begin < sum(seconds for _, seconds in stops[:index]):
                    continue
                self._send_stop(child, index)
                sent[name] = index + 1
            self.tick()
            time.sleep(0.05)

    def _send_stop(self, child: Child, index: int) -> None:
        """The `index`-th of its stop signals, or SIGKILL to its group after the last."""
        name, stops = child.component.name, child.component.stops
        if index >= len(stops):
            self.tell(f"killing {name}")
            kill_group(child.process.pid)
            child.process.wait()
        else:
            if index:
                self.tell(f"{name} takes long: {stops[index][0].name}")
            signal_process(child.process, stops[index][0])

    # -- telling -------------------------------------------------------------------------------

    def publish(self) -> None:
        """Write `<state>/status.json`, which `status` reads."""
        items = [Item(name, "external", None, None, None, url) for name, url in self.external.items()]
        for name in COMPONENTS:
            if child := self.children.get(name):
                pid, url = child.process.pid, child.component.url
                items.append(Item(name, child.state, pid, child.started, child.since, url))
        complete = all(item.state in ("running", "external") for item in items)
        write_report(self.state, items, ready=self.ready and complete)


def ending(code: int) -> str:
    """How a process ended, in words: `exit 1`, `SIGKILL`."""
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
