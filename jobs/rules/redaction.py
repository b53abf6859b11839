"""What must not be shown: values whose names say that they are secrets, and what looks like one in a text.

Two kinds of values are shown to people: JSON (arguments, results), which is masked by the names of its keys,
and text (errors, tracebacks, log lines), which is masked by the values that are known to be secret and by a
few patterns. Neither finds a secret that nothing gives away: a reference keeps one out of both.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jobs.rules.secret_references import REFERENCE, is_reference

MASK = "********"

SENSITIVE = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api_?key|access_?key|authorization|credential|private_?key|cvc"
    r"|card_?number",
    re.IGNORECASE,
)
"""Names of keys whose values are masked. A dash counts as an underscore: `X-Api-Key`."""

SHORTEST_VALUE = 6
"""A value in the arguments is looked for in texts from this length on: a shorter one is part of many words."""

SHORTEST_SECRET = 4
"""A held secret is looked for from this length on. One that is shorter is guessed at once."""

SHORTEST_LINE = 16
"""Of a secret of several lines, such as a key, each line of this length or more is looked for by itself."""


# --- JSON ------------------------------------------------------------------------------------------------------


def is_sensitive(key: object) -> bool:
    """Return whether the value of this key is to be masked."""
    return isinstance(key, str) and SENSITIVE.search(key.replace("-", "_")) is not None


def redact(value: Any) -> Any:
    """Return a copy of a JSON-like value with its secrets masked.

    Masked are the values of sensitive keys, whatever they are, but for references and for nothing at all,
    and what looks like a secret in any other text.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return value if is_reference(value) else {key: _shown(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def _shown(key: Any, value: Any) -> Any:
    if not is_sensitive(key):
        return redact(value)
    return value if value in (None, "", MASK) or is_reference(value) else MASK


def summary(value: Any, length: int = 120) -> str:
    """Return a short redacted representation, for consoles such as Flower."""
    text = repr(redact(value))
    return text if len(text) <= length else text[: length - 1] + "…"


def mask(text: str) -> str:
    """Return a mask in the place of any text at all."""
    return MASK if text else text


def redact_json(text: str) -> str:
    """Return a JSON text with its secrets masked; what is not JSON is masked as text."""
    try:
        value = json.loads(text)
    except ValueError:
        return redact_text(text)
    return json.dumps(redact(value), ensure_ascii=False)


def sensitive_values(value: Any) -> Iterator[str]:
    """Yield the texts under sensitive keys that are long enough to be looked for elsewhere."""
    if is_reference(value):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from sensitive_values(item) if not is_sensitive(key) or is_reference(item) else _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from sensitive_values(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) >= SHORTEST_VALUE and value != MASK:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    else:
        yield from sensitive_values(value)


def literal_secrets(value: Any, path: str = "") -> Iterator[str]:
    """Yield the places of a payload, such as `kwargs.smtp.password`, that hold a secret and no reference."""
    if is_reference(value):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            place = f"{path}.{key}" if path else str(key)
            if is_sensitive(key) and isinstance(item, str) and item not in ("", MASK):
                yield place
            else:
                yield from literal_secrets(item, place)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from literal_secrets(item, f"{path}[{index}]")


class MaskedError(ValueError):
    """A mask stands where a value is to be stored. The message names the place."""


def restore(value: Any, before: Any, path: str = "") -> Any:
    """Return `value`, which a person was shown masked, with what `before` has where a mask stands.

    So what was exported or shown can be given back. Raises `MaskedError` where `before` has nothing there
    that is masked like this.
    """
    if isinstance(value, str) and MASK in value:
        if not isinstance(before, str) or value != redact_text(before):
            raise MaskedError(f"{path} is masked: write the value, or name a secret.")
        return before
    if isinstance(value, dict):
        old = before if isinstance(before, dict) else {}
        return {
            key: _given_back(key, item, old.get(key), f"{path}.{key}" if path else str(key))
            for key, item in value.items()
        }
    if isinstance(value, list):
        # Of a list that has grown or shrunk nobody can tell which item is which.
        rows = before if isinstance(before, list) and len(before) == len(value) else [None] * len(value)
        pairs = zip(value, rows, strict=True)
        return [restore(item, old, f"{path}[{index}]") for index, (item, old) in enumerate(pairs)]
    return value


def _given_back(key: Any, value: Any, before: Any, path: str) -> Any:
    """Return one value of a mapping; whatever is under a sensitive key was shown as one mask."""
    if value == MASK and is_sensitive(key) and before not in (None, "", MASK):
        return before
    return restore(value, before, path)


# --- Text ------------------------------------------------------------------------------------------------------


def forms(values: Iterable[str]) -> tuple[str, ...]:
    """Return the ways in which secret values appear in texts, the longest first: for `redact_text`.

    As they are, as `repr` and JSON write them, as part of an address, and line by line.
    """
    found: set[str] = set()
    for value in values:
        for text in (value, value.strip()):
            found |= {text, repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe=""), quote(text)}
        found |= {line for line in map(str.strip, value.splitlines()) if len(line) >= SHORTEST_LINE}
    return tuple(sorted(filter(None, found), key=lambda text: (-len(text), text)))


def conceal(value: Any, secrets: Mapping[str, str], values: Sequence[str]) -> Any:
    """Return a copy of `value` that may be stored: with references again in the place of secrets.

    `secrets` are names with values, `values` the `forms` of these: a text that contains one is masked there.
    Lists, tuples and dicts are looked into, keys too; other things are left as they are.
    """
    names = {text: name for name, text in secrets.items()}

    def masked(item: Any) -> Any:
        if isinstance(item, str):
            return {REFERENCE: names[item]} if item in names else without(item, values)
        if isinstance(item, dict):
            return {
                without(key, values) if isinstance(key, str) else key: masked(one)
                for key, one in item.items()
            }
        if isinstance(item, list | tuple):
            return [masked(one) for one in item]
        return item

    return masked(value)


def without(text: str, values: Iterable[str]) -> str:
    """Return a text with `values` (`forms` of secrets) masked, and nothing else."""
    for value in values:
        if value in text:
            text = text.replace(value, MASK)
    return text


_WORDS = (
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|cvc"
    r"|card[_-]?number)"
)
_VALUE = (
    r"(?:[bu]?\"(?:[^\"\\\n]|\\.)*\"|[bu]?'(?:[^'\\\n]|\\.)*'"
    r"|(?!\{)[\"']?[^\s\"'&]+?(?=[,;)}\]]{0,8}(?:[\s\"'&]|\Z)))"
)

# Each begins at a word of its own and looks back at most a few characters, so that a long text takes a time
# that grows with its length and no faster, whatever somebody has written into it.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN ([A-Z ]{0,30}PRIVATE KEY)-----(?!\*{8}).*?(?:-----END \1-----|\Z)", re.DOTALL
        ),
        rf"-----BEGIN \1-----{MASK}",
    ),
    # scheme://user:password@host
    (re.compile(r"(://[^\s/?#:@'\"]*):[^\s/?#'\"]+@"), rf"\1:{MASK}@"),
    # Authorization: Bearer ..., also without the name of the header
    (
        re.compile(r"(authorization[\"']?\s*[:=]\s*[bu]?[\"']?(?:[a-z]+\s+)?)[^\s\"',;)}\]]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(Bearer\s+)[A-Za-z0-9._~+/-]{16,}=*"), rf"\1{MASK}"),
    # password=..., "api_key": "...", DB_PASSWORD: ...
    (
        re.compile(
            rf"((?<!\$){_WORDS}(?:[_.-][\w.-]{{0,40}})?[\"']?\s*[:=]\s*){_VALUE}",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # --password ..., also in a list of words
    (
        re.compile(rf"((?<!-)--[\w-]{{0,30}}{_WORDS}[\w-]{{0,30}}[\"']?,?\s+){_VALUE}", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    # Keys by their shape: payment and cloud providers, code hosts, chat, our API, age, JSON web tokens.
    (
        re.compile(
            r"(?<![\w-])(?:[sr]k_(?:live|test)_[0-9A-Za-z]{8,}|whsec_[0-9A-Za-z+/=]{16,}"
            r"|A(?:KIA|SIA)[0-9A-Z]{16}|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
            r"|xox[abeprs]-[\w-]{10,}|jdw_[\w-]{20,}|AIza[\w-]{35}|AGE-SECRET-KEY-1[0-9A-Z]{20,}"
            r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
        ),
        MASK,
    ),
)

_HINTS = (
    "://", "passw", "passphrase", "pwd", "secret", "token", "credential", "api_key", "api-key", "apikey",
    "access_key", "access-key", "accesskey", "private", "cvc", "card", "authorization", "bearer", "k_live_",
    "k_test_", "whsec_", "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox",
    "jdw_", "aiza", "eyj",
)  # fmt: skip
"""A text with none of these, in small letters, matches none of the patterns: most lines are done with here."""


def redact_text(text: str, values: Sequence[str] = ()) -> str:
    """Return a text with the secrets in it masked: `values` (`forms` of them) and what looks like one."""
    text = without(text, values)
    small = text.lower()
    if not any(hint in small for hint in _HINTS):
        return text
    for pattern, masked in _PATTERNS:
        text = pattern.sub(masked, text)
    return text
