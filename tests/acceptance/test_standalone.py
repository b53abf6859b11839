"""`manage.py up` and its parts, with real processes on free ports and in folders of their own."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import redis

from scheduler_project.standalone.components import STOP_ORDER, Component, python
from scheduler_project.standalone.environment import environment, save_environment
from scheduler_project.standalone.errors import StandaloneError
from scheduler_project.standalone.layout import PROJECT, State
from scheduler_project.standalone.ports import choose_ports
from scheduler_project.standalone.processes import (
    HOST,
    Identity,
    free_port,
    port_answers,
    wait_until,
)
from scheduler_project.standalone.reporting import Follower, instance_status
from scheduler_project.standalone.servers import Postgres, Redis, Server, ping
from scheduler_project.standalone.supervisor import STOP_SIGNALS, Supervisor


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listening_on(pid: int) -> set[str]:
    found = psutil.Process(pid).net_connections("tcp")
    return {connection.laddr.ip for connection in found if connection.status == "LISTEN"}


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres", temporary=True) as server:
        yield server


class TestPostgres:
    def test_a_crash_loses_nothing_that_was_committed(self, postgres: Postgres) -> None:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        first, port = postgres.pid, postgres.port

        postgres.kill()
        assert not postgres.answers()
        postgres.start()

        assert postgres.pid != first
        assert postgres.port == port
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)

    def test_it_listens_on_the_loopback_and_wants_the_password(self, postgres: Postgres) -> None:
        assert listening_on(postgres.pid) == {HOST}
        for name in ("password", "superuser-password"):
            assert mode(postgres.folder / name) == 0o600
        assert mode(postgres.data) == 0o700
        wrong = postgres.url.replace(postgres.secret("password"), "guess")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)

    def test_the_application_is_no_superuser(self, postgres: Postgres) -> None:
        with psycopg.connect(postgres.url) as connection:
            query = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
            assert connection.execute(query).fetchone() == (False, True)

    def test_a_stale_lock_file_with_a_pid_in_use_does_not_stop_the_start(self, postgres: Postgres) -> None:
        postgres.stop()
        with subprocess.Popen(["sleep", "60"]) as stranger:
            lock = postgres.data / "postmaster.pid"
            lock.write_text(f"{stranger.pid}\n{postgres.data}\n0\n{postgres.port}\n\n{HOST}\n")
            postgres.start()
            stranger.kill()
        assert postgres.answers()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
    def test_data_that_its_user_could_not_reach_lies_elsewhere(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        with Postgres(tmp_path / "postgres", temporary=True) as server:
            home = Path((server.folder / "location").read_text().strip())
            assert server.data == home / "data"
            assert (mode(tmp_path), mode(home)) == (0o700, 0o700)
            assert psutil.Process(server.pid).username() == "pgserver"
            again = Postgres(server.folder)
            assert again.data == server.data
        assert not home.exists()

    def test_a_second_server_on_the_same_folder_is_refused(self, postgres: Postgres) -> None:
        with pytest.raises(StandaloneError, match="already runs on"):
            Postgres(postgres.folder, port=free_port()).start()
        assert postgres.answers()


class TestRedis:
    @pytest.mark.parametrize("persistent", [True, False])
    def test_a_crash_keeps_what_an_append_only_file_holds(self, tmp_path: Path, persistent: bool) -> None:
        with Redis(tmp_path, persistent=persistent) as server:
            with redis.Redis.from_url(server.url, decode_responses=True) as client:
                client.set("doorbell", "rang")
            wait_until(lambda: "rang" in _appended(tmp_path) or not persistent, 3)
            server.kill()
            server.start()
            with redis.Redis.from_url(server.url, decode_responses=True) as client:
                assert client.get("doorbell") == ("rang" if persistent else None)
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    def test_it_listens_on_the_loopback_and_wants_the_password(self, tmp_path: Path) -> None:
        with Redis(tmp_path) as server:
            assert listening_on(server.pid) == {HOST}
            assert server.secret("password") not in " ".join(psutil.Process(server.pid).cmdline())
            for name in ("password", "redis.conf"):
                assert mode(tmp_path / name) == 0o600
            with pytest.raises(redis.AuthenticationError):
                ping(f"redis://{HOST}:{server.port}/0", timeout=2)


def _appended(folder: Path) -> str:
    files = [path for path in folder.rglob("*.aof") if path.is_file()]
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """kill -9 of the parent, with PostgreSQL under another uid when we are root."""
    script = f"""
        import os, signal
        from pathlib import Path
        from scheduler_project.standalone.servers import Postgres, Redis
        postgres = Postgres(Path({str(tmp_path / "postgres")!r})).start()
        cache = Redis(Path({str(tmp_path / "redis")!r})).start()
        print(postgres.pid, cache.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        assert done.returncode == -signal.SIGKILL, done.stderr
        identities = [Identity.of(int(pid)) for pid in done.stdout.split()]
        assert len(done.stdout.split()) == 2
        assert wait_until(lambda: not any(found and found.alive() for found in identities), 10)
    finally:
        Postgres(tmp_path / "postgres").remove()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server: Server = Redis(tmp_path, port=free_port())
    why = pytest.raises(StandaloneError, match=r"Redis ended while starting: .*in use")
    with socket.create_server((HOST, server.port)), why:
        server.start()


class TestPorts:
    def test_all_conflicts_are_reported_at_once_with_the_remedy(self) -> None:
        with socket.create_server((HOST, 0)) as web, socket.create_server((HOST, 0)) as flower:
            ports = web.getsockname()[1], flower.getsockname()[1]
            with pytest.raises(StandaloneError) as caught:
                choose_ports(*ports, auto=False)
            message = str(caught.value)
            assert caught.value.exit_code == 4
            for expected in (*map(str, ports), f"pid {os.getpid()}", "--auto-ports", "--port"):
                assert expected in message
            chosen = choose_ports(*ports, auto=True)
            assert not {chosen.web, chosen.flower} & set(ports)

    def test_one_port_for_two_is_a_conflict(self) -> None:
        port = free_port()
        with pytest.raises(StandaloneError, match="both"):
            choose_ports(port, port, auto=False)
        chosen = choose_ports(port, port, auto=True)
        assert chosen.web != chosen.flower


class TestEnvironment:
    def test_it_is_private_and_comes_back_as_it_was(self, tmp_path: Path) -> None:
        values = {"DATABASE_URL": "postgres://u:a=b#c@h:1/d", "SECRET_KEY": "x y='z'"}
        os.umask(os.umask(0))
        path = save_environment(tmp_path, values)
        save_environment(tmp_path, values)
        assert mode(path) == 0o600
        assert environment(tmp_path) == values
        assert [entry.name for entry in tmp_path.iterdir()] == ["env"]

    def test_nothing_saved_is_nothing(self, tmp_path: Path) -> None:
        assert environment(tmp_path / "absent") == {}

    def test_a_value_of_two_lines_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="SECRET_KEY"):
            save_environment(tmp_path, {"SECRET_KEY": "one\nDATABASE_URL=two"})

    def test_it_needs_the_standard_library_only(self) -> None:
        path = PROJECT / "scheduler_project" / "standalone" / "environment.py"
        subprocess.run([sys.executable, "-I", "-S", str(path)], check=True)


class TestState:
    def test_a_reused_pid_is_not_the_supervisor(self, tmp_path: Path) -> None:
        state = State(tmp_path)
        state.sign_in()
        me = state.supervisor()
        assert me is not None
        assert me.pid == os.getpid()
        stale = {"pid": me.pid, "started": "1@an-earlier-boot"}
        state.pid_file.write_text(json.dumps(stale))
        assert state.supervisor() is None
        state.pid_file.write_text("not json")
        assert state.supervisor() is None

    def test_one_supervisor_per_folder(self, tmp_path: Path) -> None:
        state = State(tmp_path)
        with state.hold():
            state.sign_in()
            with pytest.raises(StandaloneError, match="already running") as caught, state.hold():
                pass
        assert caught.value.exit_code == 4

    def test_a_folder_of_somebody_else_is_neither_used_nor_deleted(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(StandaloneError, match="something else"):
            State(tmp_path).prepare()
        with pytest.raises(StandaloneError, match="not deleting"):
            State(tmp_path).wipe()
        assert (tmp_path / "thesis.tex").exists()


def test_the_mail_sink_keeps_messages_under_sortable_harmless_names(tmp_path: Path) -> None:
    port, script = free_port(), PROJECT / "scheduler_project" / "standalone" / "mailsink.py"
    argv = [*python("-P", script), "--port", str(port), "--folder", str(tmp_path / "mail")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as sink:
        try:
            assert wait_until(lambda: port_answers(port), 10)
            with smtplib.SMTP(HOST, port) as client:
                for number, message_id in enumerate(("<a@b>", "<../../../etc/passwd>", "<a@b>")):
                    message = EmailMessage()
                    message["Message-ID"] = message_id
                    message["Subject"] = str(number)
                    message.set_content("Grüße")
                    client.send_message(message, "from@example.com", ["to@example.com"])
        finally:
            sink.terminate()
    assert sink.returncode == 0
    kept = sorted((tmp_path / "mail").iterdir())
    assert [path.suffix for path in kept] == [".eml"] * 3
    subjects = [path.read_text().split("Subject: ")[1][0] for path in kept]
    assert subjects == ["0", "1", "2"]
    assert all("X-Envelope-To: to@example.com" in path.read_text() for path in kept)
    assert {mode(path) for path in kept} == {0o600}


def test_new_log_lines_are_seen_across_rotation_and_truncation(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.logs.mkdir()
    log = state.log("web")
    log.write_text("old\n")
    follower = Follower(state, ["web"], from_start=False)
    with log.open("a") as file:
        file.write("one\nhal")
    assert list(follower.new_lines()) == [("web", "one")]
    with log.open("a") as file:
        file.write("f\n")
    assert list(follower.new_lines()) == [("web", "half")]
    state.rotate("web").write_text("fresh\n")
    assert list(follower.new_lines()) == [("web", "fresh")]
    log.write_text("cut\n")
    assert list(follower.new_lines()) == [("web", "cut")]


class TestReaper:
    """What happens to the children when the supervisor goes, with and without a goodbye."""

    @pytest.fixture
    def ward(self) -> Iterator[subprocess.Popen[bytes]]:
        """A leader that ignores SIGTERM, with a child of its own; reaped as init would."""
        code = "trap '' TERM; sleep 60 & wait; sleep 60"
        with subprocess.Popen(["sh", "-c", code], start_new_session=True) as process:
            threading.Thread(target=process.wait, daemon=True).start()
            yield process
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def reap(self, *lines: str) -> None:
        script = PROJECT / "scheduler_project" / "standalone" / "reaper.py"
        text = "".join(f"{line}\n" for line in lines)
        subprocess.run([*python("-I", "-S", script)], input=text, text=True, check=True, timeout=20)

    def test_a_lost_supervisor_ends_the_whole_group(self, ward: subprocess.Popen[bytes]) -> None:
        self.reap(f"+{ward.pid} {int(signal.SIGKILL)}")
        ward.wait(5)
        with pytest.raises(ProcessLookupError):
            os.killpg(ward.pid, 0)

    def test_goodbye_ends_nobody(self, ward: subprocess.Popen[bytes]) -> None:
        self.reap(f"+{ward.pid} {int(signal.SIGKILL)}", "bye")
        self.reap(f"+{ward.pid} {int(signal.SIGKILL)}", f"-{ward.pid}")
        assert ward.poll() is None


class TestSupervisor:
    """Order, restarts and the end of patience, with small processes in the place of ours."""

    #: Says on SIGTERM that it was told to stop.
    ORDERLY = textwrap.dedent(
        """
        import signal, sys, time
        def stop(*_):
            open(sys.argv[1], "a").write(sys.argv[2] + "\\n")
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        print("up", flush=True)
        time.sleep(60)
        """
    )

    @pytest.fixture
    def supervisor(self, tmp_path: Path) -> Iterator[Supervisor]:
        previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        state = State(tmp_path / "state")
        state.prepare()
        self.told: list[str] = []
        with state.hold() as lock:
            made = Supervisor(state, lock, self.told.append)
            yield made
            made.stop_requests += 2
            made.shut_down()
        for number, handler in previous.items():
            signal.signal(number, handler)

    def test_everything_stops_in_the_order_of_dependence(
        self, supervisor: Supervisor, tmp_path: Path
    ) -> None:
        names = [name for group in STOP_ORDER for name in group if name not in ("setup", "canary")]
        trace = tmp_path / "trace"
        for name in reversed(names):
            supervisor.start(Component(name, python("-c", self.ORDERLY, trace, name)))
        logs = [supervisor.state.log(name) for name in names]
        supervisor.wait_for("all", lambda: all(log.read_text() for log in logs), 20)

        supervisor.shut_down()

        stopped = trace.read_text().split()
        groups = [[name for name in group if name in names] for group in STOP_ORDER]
        for group in groups:
            assert sorted(stopped[: len(group)]) == sorted(group)
            del stopped[: len(group)]

    def test_a_death_after_ready_is_reported_and_followed_by_a_restart(self, supervisor: Supervisor) -> None:
        code = "import time; print('last words', flush=True); time.sleep(60)"
        supervisor.start(Component("web", python("-c", code)))
        supervisor.mark_running("web")
        supervisor.mark_ready()
        log = supervisor.state.log("web")
        supervisor.wait_for("web", lambda: "last words" in log.read_text(), 5)
        first = supervisor.children["web"].process.pid

        os.kill(first, signal.SIGKILL)
        supervisor.wait_for("it", lambda: supervisor.children["web"].process.pid != first, 5)

        assert "web ended (SIGKILL)" in self.told[0]
        assert "last words" in self.told[0]
        assert supervisor.state.report()["ready"]

    def test_a_death_before_ready_is_the_end(self, supervisor: Supervisor) -> None:
        code = "import sys; sys.exit('no such setting')"
        supervisor.start(Component("beat", python("-c", code)))
        with pytest.raises(StandaloneError, match=r"beat ended \(exit 1\)\n.*no such setting"):
            supervisor.wait_for("beat", lambda: False, 5)

    def test_the_death_of_a_server_is_the_end(self, supervisor: Supervisor) -> None:
        supervisor.start(Component("redis", python("-c", ""), restarts=False))
        supervisor.mark_ready()
        with pytest.raises(StandaloneError, match="redis ended"):
            supervisor.wait_for("redis", lambda: False, 5)

    def test_restarts_have_a_limit(self, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scheduler_project.standalone.supervisor.FIRST_DELAY", 0.01)
        supervisor.start(Component("flower", ("false",)))
        supervisor.mark_ready()
        with pytest.raises(StandaloneError, match="5 restarts in a minute did not help"):
            supervisor.wait_for("flower", lambda: False, 20)
        assert len(self.told) == 5

    def test_who_does_not_stop_is_killed(self, supervisor: Supervisor) -> None:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
        argv = python("-c", code + "; time.sleep(60)")
        supervisor.start(Component("web", argv, stops=((signal.SIGTERM, 0.3),)))
        log = supervisor.state.log("web")
        supervisor.wait_for("web", lambda: bool(log.read_text()), 5)
        begin = time.monotonic()
        supervisor.shut_down()
        assert time.monotonic() - begin < 5
        assert supervisor.children["web"].process.returncode == -signal.SIGKILL
        assert "killing web" in self.told


class Instance:
    """`manage.py` on a state folder of its own, without anything from our environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("DATABASE_URL", "REDIS_URL", "EMAIL_URL", "SECRET_KEY", "JADWAL_STATE_DIR")
        self.env = {key: value for key, value in os.environ.items() if key not in names}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*python(PROJECT / "manage.py", *arguments), "--state-dir", str(self.folder)],
            cwd=PROJECT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def pids(self) -> dict[str, int]:
        items = instance_status(State(self.folder))["items"]
        return {item["name"]: item["pid"] for item in items}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    found = Instance(tmp_path / "state")
    yield found
    done = found.run("down", "--wipe", "--yes", "--timeout", "20")
    assert done.returncode == 0, done.stderr
    assert not found.folder.exists()


@pytest.mark.timeout(240)
def test_an_instance_from_up_to_down(instance: Instance) -> None:
    """up, status, a second up, kill -9, up again (warm), down: as a person would."""
    assert instance.run("status", "--json").stdout.strip() == '{"ready": false, "items": []}'

    up = instance.run("up", "--detach", "--auto-ports", "--demo")
    assert up.returncode == 0, up.stderr
    password = (instance.folder / "admin-password").read_text().strip()
    assert password in up.stdout

    shown = instance.run("status", "--json")
    status = json.loads(shown.stdout)
    assert (shown.returncode, status["ready"]) == (0, True)
    expected = {name for group in STOP_ORDER for name in group} - {"setup", "canary"}
    assert {item["name"] for item in status["items"]} == expected
    assert {item["state"] for item in status["items"]} == {"running"}
    assert [(beat["status"], beat["publish_failures"]) for beat in status["beats"]] == [("alive", 0)]
    for name in ("env", "admin-password", "flower-password", "secret-key", "status.json"):
        assert mode(instance.folder / name) == 0o600
    for item in status["items"]:
        assert listening_on(item["pid"]) <= {HOST}

    again = instance.run("up", "--detach", "--auto-ports")
    assert again.returncode == 4
    assert "already running" in again.stderr

    supervisor = State(instance.folder).supervisor()
    assert supervisor is not None
    identities = [Identity.of(pid) for pid in instance.pids().values()]
    os.kill(supervisor.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(found and found.alive() for found in identities), 15)
    assert instance.run("status").returncode == 5

    warm = instance.run("up", "--detach", "--auto-ports", "--demo")
    assert warm.returncode == 0, warm.stderr
    assert password not in warm.stdout, "the password is shown once"
    assert str(instance.folder / "admin-password") in warm.stdout

    identities = [Identity.of(pid) for pid in instance.pids().values()]
    down = instance.run("down")
    assert down.returncode == 0, down.stderr
    assert not any(found and found.alive() for found in identities)
    assert instance.run("down").returncode == 0
