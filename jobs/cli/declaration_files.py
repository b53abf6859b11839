"""Files that declare schedules: YAML or JSON, one document or several, one file or a folder of them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jobs.cli.failures import usage
from jobs.engine.entries import Entry, Problem
from jobs.rules.declaration import DeclarationError, read_declaration, read_document

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(slots=True)
class Declared:
    """What the files declare, and what is wrong with them."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    managers: set[str] = field(default_factory=set)


def read_files(paths: Sequence[str], manager: str | None) -> Declared:
    """Return what the files declare. `manager` owns what names no manager; another one is a problem.

    Raises `Failure` (usage) for a path that cannot be read.
    """
    declared = Declared(managers={manager} if manager else set())
    for source, text in _texts(paths):
        try:
            found = _documents(source, text)
        except (ValueError, yaml.YAMLError) as error:
            declared.problems.append(Problem(source, _sentence(error)))
            continue
        for number, raw in enumerate(found, 1):
            where = source if len(found) == 1 else f"{source}, document {number}"
            _read_document(declared, where, raw, manager)
    return declared


def dump(documents: Sequence[Any]) -> str:
    """Return documents as YAML that reads back as the same values, in this and in other programs."""
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n")


def _texts(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path == "-":
            yield "standard input", sys.stdin.read()
            continue
        for file in _files(Path(path)):
            try:
                yield str(file), file.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                raise usage(f"The file {str(file)!r} cannot be read: {reason}.") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise usage(f"The folder {str(path)!r} has no files that end in {', '.join(SUFFIXES)}.")
    return found


def _documents(source: str, text: str) -> list[Any]:
    if source.endswith(".json"):
        found = [json.loads(text, object_pairs_hook=_unique)]
    else:
        # `yaml.load_all` with a subclass of the safe loader: it makes plain values only.
        found = list(yaml.load_all(text, Loader=_Loader))
    if len(found) == 1 and isinstance(found[0], dict) and list(found[0]) == ["items"]:
        found = found[0]["items"] if isinstance(found[0]["items"], list) else found  # `export --json`
    return [raw for raw in found if raw is not None]


def _read_document(declared: Declared, where: str, raw: object, manager: str | None) -> None:
    try:
        document = read_document(raw)
    except DeclarationError as error:
        declared.problems += [Problem(where, sentence) for sentence in error.problems]
        return
    owner = document.manager or manager
    if owner is None:
        sentence = "Say who owns these schedules: `manager: NAME` in the file, or --manager NAME."
        declared.problems.append(Problem(where, sentence))
    elif manager is not None and owner != manager:
        sentence = f"The file is of the manager {owner!r}, and --manager is {manager!r}."
        declared.problems.append(Problem(where, sentence))
    declared.managers |= {owner} if owner else set()
    for number, item in enumerate(document.schedules, 1):
        name = item.get("name") if isinstance(item, dict) else None
        entry = f"{where}: entry {number}" + (f" ({name})" if isinstance(name, str) and name else "")
        try:
            declared.entries.append(Entry(entry, owner or "", read_declaration(item)))
        except DeclarationError as error:
            declared.problems += [Problem(entry, sentence) for sentence in error.problems]


def _sentence(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"Line {mark.line + 1}, column {mark.column + 1}: {error.problem}."
    return f"It cannot be read: {' '.join(str(error).split())}."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"the key {min(twice)!r} stands there twice")
    return dict(pairs)


class _Loader(yaml.SafeLoader):
    """YAML as version 1.2 reads it: `on` and `no` are text, `1:30` is no number, a date is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; a key that stands there twice is refused."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]  # type: ignore[no-untyped-call]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                problem = f"the key {key!r} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.value[index][0].start_mark)
        return super().construct_mapping(node, deep=deep)


_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = {
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "tag:yaml.org,2002:int": (r"^[-+]?[0-9]+$", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", "-+.0123456789",
    ),
    "tag:yaml.org,2002:null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    _MERGE: (r"^(?:<<)$", "<"),
}  # fmt: skip

_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))  # type: ignore[no-untyped-call]
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


class _Dumper(yaml.SafeDumper):
    """Writes lists below their key indented, and no anchors. Text that YAML 1.1 would misread is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


for _tag, (_pattern, _first) in _NUMBERS.items():
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
