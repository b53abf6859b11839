"""The documents against the code: links, settings, commands and code that are shown must exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer._click.exceptions import UsageError

from jobs.engine import held_secrets
from jobs.public import JobContext
from tests.unit.test_compose import SERVICES, check_celery, check_manage, default_of, settings_variables

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMPOSE_VERBS = {"up", "down", "exec", "run"}
# Programs that others document, and whose options are not checked here.
FOREIGN = {"pg_restore"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path, *languages: str) -> Iterator[str]:
    for language, body in _FENCE.findall(document.read_text()):
        if language in languages:
            yield body


def section_of(document: str, heading: str) -> str:
    return (ROOT / document).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def shown_commands() -> list[tuple[str, str]]:
    """Every line of every shell block, with where it stands."""
    return [
        (f"{name_of(document)}: {line}", line)
        for document in DOCUMENTS
        for block in blocks(document, "sh")
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    ]


def check_line(line: str) -> None:
    """Fail unless what `line` calls exists and takes these arguments."""
    words = shlex.split(line)
    match words:
        case ["make", *rest]:
            check_make(rest)
        case [".venv/bin/python" | "python", "manage.py", name, *arguments] | ["manage.py", name, *arguments]:
            check_noun(name, arguments)
        case ["celery", "-A", "scheduler_project", name, *arguments]:
            check_celery(name, arguments)
        case ["gunicorn", module, *_]:
            importlib.import_module(module)
        case ["docker", "compose", verb, *rest]:
            assert verb in COMPOSE_VERBS
            check_compose(verb, rest)
        case ["sh", script]:
            assert (ROOT / script).is_file(), script
        case [program, *_]:
            assert program in FOREIGN, f"no check knows {program}"


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        variable, given, value = word.partition("=")
        if given:
            assert re.search(rf"^{variable} \?=", makefile, re.MULTILINE), f"make knows no {variable}"
            if variable == "ARGS" and words[0] == "up":
                check_noun("up", shlex.split(value))
            if variable == "TESTS":
                assert (ROOT / value).exists()
        else:
            assert re.search(rf"^{word}:", makefile, re.MULTILINE), f"there is no make {word}"


def check_compose(verb: str, words: list[str]) -> None:
    for position, word in enumerate(words):
        if word == "--scale":
            assert words[position + 1].partition("=")[0] in SERVICES
    if verb in ("exec", "run"):
        service, *command = [word for word in words if word != "--rm"]
        assert service in SERVICES
        check_line(shlex.join(command))


def check_noun(name: str, arguments: list[str]) -> None:
    """Parse as the command itself would, without running it."""
    assert name in get_commands(), f"there is no manage.py {name}"
    command = load_command_class(get_commands()[name], name)
    if not isinstance(command, TyperCommand):
        check_manage(name, arguments)
        return
    node = command.command_tree
    if node.children:
        verb, *arguments = arguments
        assert verb in node.children, f"there is no manage.py {name} {verb}"
        node = node.children[verb]
    node.click_command.make_context(name, list(arguments), django_command=command, supplied_params={})


# --- Links --------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for target in _LINK.findall(re.sub(_FENCE, "", document.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.is_relative_to(ROOT)
        assert file.exists(), f"{name_of(document)} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{name_of(document)} links to {target}"


def anchors(document: Path) -> set[str]:
    """The anchors that headings get."""
    headings = re.findall(r"^#+ (.+)$", re.sub(_FENCE, "", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        seen.add(document)
        for target in _LINK.findall(document.read_text()):
            file = (document.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file not in seen:
                waiting.append(file)
    assert not {name_of(document) for document in DOCUMENTS} - {name_of(document) for document in seen}


# --- Settings --------------------


def documented_settings() -> dict[str, str]:
    """The table in the README: each variable with the default it shows."""
    section = section_of("README.md", "Settings")
    rows = re.findall(r"^\| `([A-Z_]+)` \|([^|]*)\| .+ \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| `")
    return {name: default.strip().strip("`") for name, default in rows}


def test_every_setting_is_documented_and_none_is_invented() -> None:
    assert set(documented_settings()) == set(settings_variables())


@pytest.mark.parametrize(
    "name", sorted(set(settings_variables()) - {"JADWAL_STATE_DIR", "JADWAL_SPOOL_DIR", "BACKUPS_ROOT"})
)
def test_the_documented_default_is_the_real_one(name: str) -> None:
    assert documented_settings()[name] == default_of(name)


def test_the_documented_folders_are_the_real_ones() -> None:
    calls = settings_variables()
    assert ast.unparse(calls["JADWAL_STATE_DIR"].args[1]) == "BASE_DIR / '.local'"
    assert documented_settings()["JADWAL_STATE_DIR"] == ".local"
    assert ast.unparse(calls["BACKUPS_ROOT"].keywords[0].value) == "str(STATE_DIR / 'backups')"
    assert documented_settings()["BACKUPS_ROOT"] == ".local/backups"
    assert ast.unparse(calls["JADWAL_SPOOL_DIR"].keywords[0].value) == "str(STATE_DIR / 'spool')"
    assert documented_settings()["JADWAL_SPOOL_DIR"] == ".local/spool"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_variables_named_in_the_text_exist(document: Path) -> None:
    named = set(re.findall(r"\bJADWAL_[A-Z_]+\b", document.read_text()))
    settings = {name for name in named if not name.startswith(held_secrets.PREFIX)}
    assert settings <= set(settings_variables())


# --- Commands --------------------


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=where) for where, line in dict.fromkeys(shown_commands())]
)
def test_what_is_shown_can_be_typed(line: str) -> None:
    check_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "make nonsense",
        "make up ARGS=--nonsense",
        "make test NONSENSE=1",
        "manage.py nonsense",
        "manage.py jobs nonsense",
        "manage.py jobs list --nonsense",
        "manage.py jobs list --limit many",
        "manage.py jobs show",
        "manage.py schedules create NAME --overlap nonsense",
        "manage.py canary --nonsense",
        "manage.py healthcheck nonsense",
        "docker compose exec nonsense python manage.py canary",
        "docker compose exec web python manage.py nonsense",
        "celery -A scheduler_project worker --nonsense",
        "sh docker/nonsense.sh",
        "curl http://127.0.0.1:8000/",
    ],
)
def test_the_check_of_commands_can_fail(line: str) -> None:
    with pytest.raises((AssertionError, SystemExit, CommandError, click.ClickException, UsageError)):
        check_line(line)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_in_running_text_exist(document: Path) -> None:
    text = re.sub(_FENCE, "", document.read_text())
    for words in re.findall(
        r"`((?:python |\.venv/bin/python )?manage\.py |make |docker compose )([^`]+)`", text
    ):
        line = "".join(words)
        if "..." not in line:
            check_line(line)


def test_every_command_of_ours_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    ours = {name for name, app in get_commands().items() if app in ("jobs", "scheduler_project")}
    ours.discard("shellcompletion")  # django-typer's, in a module of ours that loads it late
    verbs = {
        f"{name} {verb}".strip()
        for name in ours
        for verb in verbs_of(name) or [""]
    }  # fmt: skip
    missing = {words for words in verbs if f"manage.py {words}" not in readme}
    assert missing <= {"seed_demo"}, "what `make up` calls is not for people"


def verbs_of(name: str) -> list[str]:
    command = load_command_class(get_commands()[name], name)
    return list(command.command_tree.children) if isinstance(command, TyperCommand) else []


# --- Code --------------------


def python_blocks() -> list[tuple[str, str]]:
    return [
        (f"{name_of(document)}-{number}", block)
        for document in DOCUMENTS
        for number, block in enumerate(blocks(document, "python"))
    ]


@pytest.mark.parametrize(
    ("where", "code"), [pytest.param(where, code, id=where) for where, code in python_blocks()]
)
def test_code_compiles_and_what_it_takes_from_us_exists(where: str, code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("jobs", "celery")
        ):
            assert node.module in ("jobs.public", "celery"), "domain code uses the door"
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_task_of_the_readme_is_the_one_of_the_guide() -> None:
    readme, guide = (next(blocks(ROOT / name, "python")) for name in ("README.md", "docs/writing-tasks.md"))
    assert readme == guide


def test_what_the_guide_says_of_the_context_is_there() -> None:
    section = section_of("docs/writing-tasks.md", "What a task can ask")
    shown = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    fields = {name for name in JobContext.__dataclass_fields__ if not name.startswith("_")}
    properties = {name for name, value in vars(JobContext).items() if isinstance(value, property)}
    assert shown == fields | properties


def test_files_and_folders_named_in_the_layout_exist() -> None:
    section = section_of("README.md", "Layout")
    parent = ROOT
    lines = re.findall(r"^    (.+)$", section, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        named = re.split(r"\s{3,}", line.strip())[0].split()
        for path in named:
            assert ((parent if line.startswith("  ") else ROOT) / path).exists(), path
        if not line.startswith("  "):
            parent = ROOT / named[0]


def test_paths_in_backquotes_exist() -> None:
    for document in DOCUMENTS:
        text = re.sub(_FENCE, "", document.read_text())
        for path in re.findall(r"`((?:jobs|scheduler_project|docker|requirements)/[\w./]*)`", text):
            assert (ROOT / path).exists(), f"{name_of(document)} names {path}"
        for path in re.findall(r"`((?:engine|runtime|rules|insight)/\w+\.py)`", text):
            assert (ROOT / "jobs" / path).exists(), f"{name_of(document)} names {path}"


def test_mermaid_diagrams_have_a_kind() -> None:
    for document in DOCUMENTS:
        for block in blocks(document, "mermaid"):
            assert block.split()[0] in {"sequenceDiagram", "stateDiagram-v2", "flowchart"}


# --- Style --------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_lines_are_short_and_text_is_plain(document: Path) -> None:
    fenced = False
    for line in document.read_text().splitlines():
        fenced = fenced != line.startswith("```")
        if not fenced and not line.startswith(("|", "    ", "![")):
            assert len(line) <= 120, line
    assert not re.search(r"[\U0001F300-\U0001FAFF\u2600-\u27BF]", document.read_text()), "no pictograms"


def test_the_decisions_are_numbered_and_listed() -> None:
    folder = ROOT / "docs/decisions"
    records = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    index = (folder / "README.md").read_text()
    for number, path in enumerate(records, 1):
        text = path.read_text()
        title = re.match(rf"# {number}\. (.+)\n", text)
        assert title
        assert f"| {number} | [{title[1]}]({path.name}) |" in index
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_yaml_in_the_documents_is_yaml() -> None:
    for document in DOCUMENTS:
        for block in blocks(document, "yaml", "yml"):
            yaml.safe_load(block)
