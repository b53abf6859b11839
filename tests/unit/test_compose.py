"""The container files against the code: a command or variable that does not exist shows without an engine."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
import redis as redis_client
import yaml
from celery.bin.base import CLIContext
from celery.bin.celery import celery as celery_group
from django.conf import settings
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from flower.options import options as flower_options
from gunicorn.config import Config as GunicornConfig

from jobs.models import Beat, Schedule
from scheduler_project.celery import app as celery_app
from scheduler_project.management.commands import healthcheck
from scheduler_project.standalone.binaries import postgres_bin
from scheduler_project.standalone.components import WORKERS
from scheduler_project.standalone.servers import Postgres
from tests.jobs.builders import turning_beat

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
ONE_SHOT = {"migrate"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()

# What the images themselves read. FLOWER_... is checked against Flower's options, and what a script of ours
# reads against the script.
OF_THE_IMAGES = {"POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"}
OF_REDIS = {name for name in SERVICES["redis"]["environment"] if name.endswith("_PASSWORD")}
PASSWORDS = {"SECRET_KEY", "POSTGRES_PASSWORD", "DATABASE_PASSWORD", "FLOWER_PASSWORD"} | OF_REDIS
SECRETS = PASSWORDS | {"EMAIL_URL"}

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?:(?P<how>:-|:\?)(?P<rest>[^}]*))?\}")


def variables(text: str) -> dict[str, tuple[str, str]]:
    """Every `${NAME...}` in `text`: what follows the name, `:-` or `:?` or nothing, and its word."""
    found = {}
    for match in _VARIABLE.finditer(text.replace("$$", "")):
        found[match["name"]] = (match["how"] or "", match["rest"] or "")
    return found


def interpolated(text: str) -> str:
    """`text` with every default in place, and a word for what is required."""
    return _VARIABLE.sub(lambda match: match["rest"] if match["how"] == ":-" else "required", text)


def example() -> dict[str, str]:
    """What .env.example says, lines that are commented out included."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = [match.groups() for line in lines if (match := re.match(r"#?([A-Z][A-Z0-9_]*)=(.*)", line))]
    assert len({name for name, _ in pairs}) == len(pairs), "a variable is listed twice"
    return {name: value for name, value in pairs}  # noqa: C416


def passed_on() -> set[str]:
    """Variables that a service gets under their own names, with no value in the file."""
    return {
        name
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }


def settings_variables() -> dict[str, ast.Call]:
    """The environment variables that settings.py reads, each with the call that does."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / "scheduler_project/settings.py").read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called.startswith("env.") or called in {"os.environ.get", "os.getenv"}:
                found[str(node.args[0].value)] = node
    return found


def command_of(service: dict[str, Any]) -> list[str]:
    return [interpolated(str(word)) for word in service["command"]]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of ours: what services run, and what their health checks run."""
    for name in OURS:
        service = SERVICES[name]
        yield name, command_of(service)
        check = service.get("healthcheck", {})
        if check.get("test"):
            assert check["test"][0] == "CMD"
            yield f"{name}-health", [interpolated(word) for word in check["test"][1:]]
    cmd = re.search(r"^CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    health = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert cmd
    assert health
    yield "image", yaml.safe_load(cmd[1].replace("\\\n", " "))
    yield "image-health", yaml.safe_load(health[1])


def check_command(words: list[str]) -> None:
    """Fail unless the program exists and takes these arguments."""
    match words:
        case ["python", "manage.py", name, *arguments]:
            check_manage(name, arguments)
        case ["celery", "-A", "scheduler_project", name, *arguments]:
            check_celery(name, arguments)
        case ["gunicorn", module, *arguments]:
            assert importlib.util.find_spec(module)
            GunicornConfig().parser().parse_args([module, *arguments])
        case _:
            pytest.fail(f"no check knows this command: {words}")


def check_manage(name: str, arguments: list[str]) -> None:
    assert name in get_commands(), f"there is no manage.py {name}"
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(arguments)


def check_celery(name: str, arguments: list[str]) -> None:
    command = celery_group.get_command(click.Context(celery_group), name)
    assert command is not None, f"there is no celery {name}"
    if name == "flower":  # it hands its options to tornado
        for argument in arguments:
            option, _, value = argument.removeprefix("--").partition("=")
            assert option.replace("_", "-") in flower_options._options, argument
            flower_options._options[option.replace("_", "-")].type(value)
        return
    whole = CLIContext(app=celery_app, no_color=True, workdir=None)
    command.make_context(name, list(arguments), obj=whole, allow_extra_args=False)


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(s|m)", text)
    assert match, text
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


# --- Commands --------------------


@pytest.mark.parametrize(("where", "words"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_exists_and_takes_its_options(where: str, words: list[str]) -> None:
    check_command(words)


@pytest.mark.parametrize(
    "words",
    [
        ["python", "manage.py", "nonsense"],
        ["python", "manage.py", "healthcheck", "moon"],
        ["python", "manage.py", "migrate", "--nonsense"],
        ["celery", "-A", "scheduler_project", "nonsense"],
        ["celery", "-A", "scheduler_project", "worker", "--nonsense"],
        ["celery", "-A", "scheduler_project", "worker", "--concurrency=many"],
        ["celery", "-A", "scheduler_project", "flower", "--nonsense=1"],
        ["gunicorn", "scheduler_project.wsgi", "--nonsense"],
        ["gunicorn", "scheduler_project.nonsense"],
        ["sh", "-c", "true"],
    ],
)
def test_the_check_of_commands_can_fail(words: list[str]) -> None:
    with pytest.raises(
        (AssertionError, SystemExit, CommandError, click.ClickException, pytest.fail.Exception)
    ):
        check_command(words)


def test_each_queue_has_exactly_one_worker_service() -> None:
    served = []
    for name in OURS:
        words = command_of(SERVICES[name])
        if "worker" not in words:
            continue
        options = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
        queues = options["queues"].split(",")
        served += queues
        assert name == f"worker-{queues[0]}"
        assert options["hostname"] == f"{queues[0]}@%h"
        assert f"--node={options['hostname']}" in SERVICES[name]["healthcheck"]["test"]
        assert int(options["concurrency"]) == WORKERS[queues[0]], "as many as `make up` starts"
    assert sorted(served) == sorted(settings.QUEUES)


def test_two_beats_run_and_can_be_asked() -> None:
    assert SERVICES["beat"]["deploy"]["replicas"] >= 2
    assert "--enable-remote-control" in command_of(SERVICES["beat"])


def test_backups_run_one_at_a_time() -> None:
    assert "--concurrency=1" in command_of(SERVICES["worker-backups"])


def test_pg_isready_takes_the_options_of_the_health_check() -> None:
    usage = subprocess.run(
        [postgres_bin("pg_isready"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    _, program, *options = SERVICES["postgres"]["healthcheck"]["test"]
    assert program == "pg_isready"
    assert all(option.partition("=")[0] in usage for option in options)
    assert "--host=127.0.0.1" in options, "a server that is being made answers on its socket"


@pytest.mark.django_db
def test_postgres_knows_the_parameters_it_is_given() -> None:
    program, *rest = SERVICES["postgres"]["command"]
    assert program == "postgres"
    given = [word.partition("=")[0] for word in rest if word != "-c"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_settings WHERE name = ANY(%s)", [given])
        assert cursor.fetchone() == (len(given),)


# --- Variables --------------------


def test_every_variable_is_in_the_example_and_the_other_way_round() -> None:
    assert set(example()) == set(variables(COMPOSE_TEXT)) | passed_on()


def test_every_variable_in_a_container_is_read_by_something() -> None:
    for name, service in SERVICES.items():
        given = set(service.get("environment", {}))
        if name in OURS:
            given -= set(settings_variables())
            own = {key for key in given if key.startswith("FLOWER_") and name == "flower"}
            assert {key.removeprefix("FLOWER_").lower().replace("_", "-") for key in own} <= set(
                flower_options._options
            )
            assert given == own, f"{name} gets {given - own}, which nothing reads"
        else:
            folder = ROOT / "docker" / name
            script = "".join(path.read_text() for path in folder.glob("*.sh"))
            unread = {key for key in given - OF_THE_IMAGES if not re.search(rf"\b{key}\b", script)}
            assert not unread, f"{name} gets {unread}, which nothing reads"


def test_every_setting_can_be_set_but_those_that_the_containers_fix() -> None:
    fixed = {"DEBUG", "JADWAL_PG_BIN"}  # never in production; pg_dump is on PATH
    for name in OURS:
        assert set(settings_variables()) - fixed == set(SERVICES[name]["environment"]) - {"FLOWER_BASIC_AUTH"}


def test_what_is_secret_is_required_and_has_no_default() -> None:
    required = {name for name, (how, _) in variables(COMPOSE_TEXT).items() if how == ":?"}
    assert required == SECRETS
    for match in _VARIABLE.finditer(COMPOSE_TEXT):
        assert (match["how"] == ":?") == (match["name"] in SECRETS), match[0]
    assert all(example()[name] == "" for name in PASSWORDS)


def test_the_example_shows_the_defaults() -> None:
    in_compose = {name: word for name, (how, word) in variables(COMPOSE_TEXT).items() if how == ":-"}
    for name, shown in example().items():
        if name in in_compose:
            assert shown == in_compose[name], name
        elif name in passed_on():
            assert shown == default_of(name), name


def default_of(name: str) -> str:
    """The default in settings.py, as a person would write it in .env."""
    call = settings_variables()[name]
    default = next(word.value for word in call.keywords if word.arg == "default")
    if name == "SECURE_HSTS_SECONDS":  # depends on HTTPS, which is off by default
        assert isinstance(default, ast.IfExp)
        default = default.orelse
    value = ast.literal_eval(default)
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_addresses_in_the_settings_are_those_of_the_services() -> None:
    environment = SERVICES["web"]["environment"]
    assert re.search(r"@(\w+):5432/jadwal$", environment["DATABASE_URL"])[1] in SERVICES  # type: ignore[index]
    assert re.search(r"@(\w+):6379/0$", environment["REDIS_URL"])[1] in SERVICES  # type: ignore[index]


def test_each_service_gets_its_own_user_of_redis_and_no_other() -> None:
    used = {}
    for name in OURS:
        environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
        given = {key: OF_REDIS & set(variables(value)) for key, value in environment.items()}
        assert all(key == "REDIS_URL" for key, names in given.items() if names), name
        if name == "migrate":
            assert not given["REDIS_URL"], "it has nothing to say to Redis"
            continue
        (used[name],) = given["REDIS_URL"]
        user = re.match(r"redis://([\w-]+):", environment["REDIS_URL"])
        assert user
        assert used[name] == f"REDIS_{user[1].upper().replace('-', '_')}_PASSWORD"
        assert user[1] in (name, name.removeprefix("worker-"), "default-queue")
    assert len(set(used.values())) == len(used), "no two share one"
    assert set(used.values()) | {"REDIS_PASSWORD"} == OF_REDIS
    assert "REDIS_PASSWORD" not in used.values(), "that of people"


def test_redis_knows_every_queue() -> None:
    script = (ROOT / "docker/redis/start.sh").read_text()
    assert f'queues="{" ".join(settings.QUEUES)}"' in script
    assert re.findall(r"^ +worker (\w+) ", script, re.MULTILINE) == list(settings.QUEUES)


def test_what_only_one_worker_may_know_is_given_to_it_alone() -> None:
    files = {name: service.get("env_file", []) for name, service in SERVICES.items()}
    for name, given in files.items():
        queue = name.removeprefix("worker-")
        own = [{"path": f"secrets/{queue}.env", "required": False}] if name != queue else []
        assert given == own, name
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_make_env_writes_a_private_file_with_every_secret(tmp_path: Path) -> None:
    script, target = ROOT / "docker/make-env.sh", tmp_path / ".env"
    subprocess.run(["sh", script, target], check=True, capture_output=True)
    lines = [line for line in target.read_text().splitlines() if line and line[0] != "#"]
    values = dict(line.split("=", 1) for line in lines)
    assert set(values) >= SECRETS
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32,}", values[name]) for name in PASSWORDS)
    assert len({values[name] for name in SECRETS}) == len(SECRETS)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = subprocess.run(["sh", script, target], check=False, capture_output=True)
    assert again.returncode == 1
    assert dict(line.split("=", 1) for line in lines) == values


# --- What a service may, and what it waits for --------------------


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_restarted_watched_and_bounded(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        assert seconds(service["healthcheck"]["timeout"]) < seconds(service["healthcheck"]["interval"])
    assert seconds(interpolated(service["stop_grace_period"])) >= 30
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_runs_as_root(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] not in ("", "root", "0", "0:0")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    if name in OURS:
        assert service["user"] == re.search(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[1]  # type: ignore[index]
        assert service["read_only"] is True


def test_who_waits_for_whom() -> None:
    for name, service in SERVICES.items():
        for target, how in service.get("depends_on", {}).items():
            assert target in SERVICES, f"{name} waits for {target}, which does not exist"
            if target in ONE_SHOT:
                assert how["condition"] == "service_completed_successfully"
            else:
                assert how["condition"] == "service_healthy"
                assert SERVICES[target]["healthcheck"]["test"]
        if name in OURS and name not in {"migrate", "flower"}:
            assert "migrate" in service["depends_on"], f"{name} must not see an old database"


def test_a_worker_is_given_more_time_than_it_gives_its_jobs() -> None:
    grace = float(default_of("JADWAL_SHUTDOWN_GRACE"))
    for name in OURS:
        if name.startswith("worker-"):
            assert seconds(interpolated(SERVICES[name]["stop_grace_period"])) >= grace + 15


def test_only_web_and_flower_are_published_and_only_on_this_host() -> None:
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"web", "flower"}
    for name in ("web", "flower"):
        for port in SERVICES[name]["ports"]:
            assert interpolated(port).startswith("127.0.0.1:"), port
            inside = interpolated(port).rpartition(":")[2]
            assert any(
                word.endswith((f":{inside}", f"--port={inside}")) for word in command_of(SERVICES[name])
            )


def test_the_servers_are_on_the_inner_network_only() -> None:
    assert COMPOSE["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis"):
        assert SERVICES[name]["networks"] == ["data"]
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_flower_has_a_password_and_changes_nothing() -> None:
    assert "FLOWER_PASSWORD:?" in SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"]
    assert "--read_only=True" in command_of(SERVICES["flower"])


def test_volumes_are_named_and_what_must_survive_is_on_one() -> None:
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                used.add(source)
                if target.startswith("/var/lib/jadwal/"):
                    assert target in DOCKERFILE, "made in the image, so that the volume gets its owner"
    assert used == set(COMPOSE["volumes"])
    assert "postgres:/var/lib/postgresql/data" in SERVICES["postgres"]["volumes"], (
        "where PostgreSQL 17 has it"
    )
    root = SERVICES["worker-backups"]["environment"]["BACKUPS_ROOT"]
    assert f"backups:{root}" in SERVICES["worker-backups"]["volumes"]


# --- The image --------------------


def test_pg_dump_is_not_older_than_the_server() -> None:
    server = re.match(r"postgres:(\d+)", SERVICES["postgres"]["image"])
    client = re.search(r"postgresql-client-(\d+)", DOCKERFILE)
    assert server
    assert client
    assert int(client[1]) >= int(server[1]) >= 15
    debian = {"bookworm": 15, "trixie": 17}
    base = re.search(r"^FROM python:3\.11-slim-(\w+)$", DOCKERFILE, re.MULTILINE)
    assert base
    assert debian[base[1]] == int(client[1]), "the version that this Debian has"


def test_the_image_holds_the_code_and_nothing_private() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set(re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE))
    assert {Path(source).parts[0] for source in copied} == kept
    assert all((ROOT / source).exists() for source in copied)
    local = {
        app.partition(".")[0] for app in settings.INSTALLED_APPS if (ROOT / app.partition(".")[0]).is_dir()
    }
    assert local <= copied
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_image_installs_from_the_lock() -> None:
    assert "--require-hashes -r /tmp/base.txt" in DOCKERFILE
    assert "COPY requirements/base.txt /tmp/base.txt" in DOCKERFILE
    lock = (ROOT / "requirements/base.txt").read_text()
    for package in ("django", "celery", "gunicorn", "flower", "psycopg-binary"):
        assert re.search(rf"^{package}==", lock, re.MULTILINE), f"{package} is not in the lock"


# --- The scripts of the servers, run for real --------------------


def test_redis_refuses_a_password_that_does_not_fit_into_a_url() -> None:
    done = subprocess.run(
        ["sh", ROOT / "docker/redis/start.sh"],
        env={"PATH": os.environ["PATH"], "REDIS_PASSWORD": "a b@c"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"letters, digits" in done.stderr


def test_postgres_gets_a_role_that_is_no_superuser(tmp_path: Path) -> None:
    script = (ROOT / "docker/postgres/10-jadwal.sh").read_text()
    other = script.replace("jadwal", "compose_check")  # the server of this test has a role `jadwal`
    with Postgres(tmp_path / "postgres", temporary=True) as server:
        done = subprocess.run(
            ["sh", "-e", "-c", other],
            env={
                "PATH": f"{postgres_bin('psql').parent}:{os.environ['PATH']}",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGPASSWORD": server.secret("superuser-password"),
                "DATABASE_PASSWORD": "it's",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with psycopg.connect(
            host="127.0.0.1", port=server.port, user="compose_check", password="it's", dbname="compose_check"
        ) as session:
            row = session.execute(
                "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert row == (False, False, False)
            session.execute("CREATE TABLE mine (id int)")


def test_the_scripts_are_executable_and_have_no_bashisms() -> None:
    scripts = sorted((ROOT / "docker").rglob("*.sh"))
    assert len(scripts) == 3
    for script in scripts:
        assert os.access(script, os.X_OK), f"{script} is not executable"
        assert script.read_text().startswith("#!/bin/sh\n")
        subprocess.run([shutil.which("dash") or "sh", "-n", script], check=True)


# --- manage.py healthcheck --------------------


class _Page(BaseHTTPRequestHandler):
    """Answers as gunicorn would, and keeps the headers it was asked with."""

    status = 200
    asked: dict[str, str]

    def do_GET(self) -> None:
        type(self).asked = dict(self.headers)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def page() -> Iterator[tuple[str, type[_Page]]]:
    handler = type("Page", (_Page,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/healthz", handler
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_web_is_asked_by_an_allowed_name_and_as_https(page: tuple[str, type[_Page]], settings: Any) -> None:
    url, handler = page
    settings.ALLOWED_HOSTS = ["*", ".example.com"]
    call_command("healthcheck", "web", url=url)
    assert handler.asked["Host"] == "example.com"
    assert handler.asked["X-Forwarded-Proto"] == "https"


def test_web_that_fails_or_is_away_is_unhealthy(page: tuple[str, type[_Page]]) -> None:
    url, handler = page
    handler.status = 500
    with pytest.raises(CommandError, match="answers 500"):
        call_command("healthcheck", "web", url=url)
    with pytest.raises(CommandError, match="does not answer"):
        call_command("healthcheck", "web", url="http://127.0.0.1:1/healthz")


@pytest.mark.usefixtures("redis")
def test_a_worker_that_is_not_there_is_unhealthy() -> None:
    with pytest.raises(CommandError, match=r"^nobody@.* does not answer"):
        call_command("healthcheck", "worker", node="nobody@%h", timeout=0.2)


@pytest.mark.django_db
def test_beat_is_healthy_while_it_turns_and_nothing_is_overdue() -> None:
    turning_beat(socket.gethostname())
    call_command("healthcheck", "beat")
    schedule = _schedule_due(datetime.now(UTC) - timedelta(seconds=90))
    with pytest.raises(CommandError, match=r"undecided for 9\d s"):
        call_command("healthcheck", "beat", overdue=60)
    call_command("healthcheck", "beat", overdue=300)
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=datetime.now(UTC) + timedelta(hours=1))
    call_command("healthcheck", "beat", overdue=60)


@pytest.mark.django_db
def test_beat_that_does_not_turn_is_unhealthy() -> None:
    turning_beat("elsewhere")
    with pytest.raises(CommandError, match=r"^no beat on .* shows a sign of life"):
        call_command("healthcheck", "beat")
    call_command("healthcheck", "beat", node="celerybeat@elsewhere")
    Beat.objects.update(stopped_at=datetime.now(UTC))
    with pytest.raises(CommandError, match=r"^no beat on elsewhere"):
        call_command("healthcheck", "beat", node="celerybeat@elsewhere")


@pytest.mark.django_db
def test_beat_needs_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(node: str, timeout: float) -> bool:
        raise redis_client.ConnectionError("away")

    monkeypatch.setattr(healthcheck, "_answers", away)
    turning_beat(socket.gethostname())
    call_command("healthcheck", "beat")
    with pytest.raises(CommandError, match="the broker does not answer"):
        call_command("healthcheck", "worker", node="default@%h")


def _schedule_due(at: datetime) -> Schedule:
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    row = PeriodicTask.objects.create(name="late", task="jobs.canary", interval=interval)
    Schedule.objects.filter(pk=row.pk).update(stale=False, next_run_at=at)
    return Schedule.objects.get(pk=row.pk)
