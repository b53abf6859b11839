"""What is no message is said before Celery sees it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rules.messages import MessageProblem, check


def body(content: Any = ([], {}, {})) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def envelope(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "body": body(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "t", "id": "1", "timelimit": [None, 3.5], "eta": None, "retries": 0},
        "properties": {
            "delivery_tag": "x",
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "default"},
        },
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        place = whole
        for step in way:
            place = place[step]
        place[last.replace("_", "-") if last.startswith("content") else last] = value
    return whole


def test_a_message_passes() -> None:
    check(json.dumps(envelope()).encode())
    check(json.dumps(envelope(body=body((["a\\u0000b", "\U0001f600", 0.5], {}, None)))).encode())


BROKEN = {
    "not JSON": b"hello",
    "truncated": json.dumps(envelope()).encode()[:-20],
    "a JSON number": b"17",
    "a JSON list": b"[1, 2]",
    "bad UTF-8": b'{"a": "\xff\xfe"}',
    "nested": b"[" * 100_000,
    "empty": b"",
    "half a surrogate pair, as it is": json.dumps(envelope()).encode().replace(b'"x"', b'"\xed\xa0\x80"'),
    **{
        name: json.dumps(envelope(**change)).encode()
        for name, change in {
            "body not a list": {"body": body({"a": 1})},
            "body too short": {"body": body([[], {}])},
            "kwargs a list": {"body": body([[], [], {}])},
            "bad base64": {"body": "%%%"},
            "no body": {"body": None},
            "bad time limit": {"headers__timelimit": ["x", None]},
            "negative time limit": {"headers__timelimit": [-1, None]},
            "time limit a text": {"headers__timelimit": "x"},
            "task not a text": {"headers__task": [1]},
            "id not a text": {"headers__id": [1]},
            "no headers": {"headers": None},
            "headers a list": {"headers": []},
            "bad ETA": {"headers__eta": "tomorrow"},
            "stamps": {"headers__stamped_headers": 5},
            "a pickle": {"content_type": "application/x-python-serialize"},
            "no properties": {"properties": None},
            "no delivery info": {"properties__delivery_info": None},
            "no tag": {"properties__delivery_tag": None},
            "compressed": {"headers__compression": "application/x-gzip"},
            "unknown body encoding": {"properties__body_encoding": "rot13"},
            "unknown letters": {"content_encoding": "rot13"},
            "half a surrogate pair": {"properties__delivery_tag": "\ud800"},
            "a NUL": {"headers__id": "1\x00"},
            "a NUL in the body": {"body": body([["\x00"], {}, {}])},
            "a number that is none": {"body": body([[float("nan")], {}, {}])},
            "a number too large": {"body": base64.b64encode(b"[[1e999],{},{}]").decode()},
            "infinite time limit": {"headers__timelimit": [float("inf"), None]},
            "endless time limit": {"headers__timelimit": [10**400, None]},
            "stamps that are no texts": {"headers__stamped_headers": [[1]]},
            "attempt a text": {"headers__jadwal_attempt": "x"},
            "attempt too large": {"headers__jadwal_attempt": 2**31},
            "a worker's own mark": {"headers__jadwal_started": {"job_id": "1"}},
            "id too long": {"headers__id": "x" * 156},
            "task too long": {"headers__task": "x" * 201},
            "queue too long": {"properties__delivery_info": {"exchange": "", "routing_key": "x" * 201}},
            "correlation id a list": {"properties__correlation_id": [1]},
        }.items()
    },
}


@pytest.mark.parametrize("item", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_said(item: bytes) -> None:
    with pytest.raises(MessageProblem):
        check(item)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_nothing_else_is_ever_raised(item: bytes) -> None:
    with pytest.raises(MessageProblem):
        check(item)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["body", "headers", "properties", "content-type", "content-encoding"]), json_values)
@settings(max_examples=300, deadline=None)
def test_one_wrong_part_is_a_problem_or_nothing(part: str, value: Any) -> None:
    whole = {**envelope(), part: value}
    try:
        check(json.dumps(whole).encode())
    except MessageProblem:
        return
    assert isinstance(whole["headers"], dict)
