"""Celery's configuration is remembered, and nothing that changes it is overlooked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings

from jobs.runtime.app import DurableCelery
from jobs.runtime.settled import RememberedSettings

Conf = RememberedSettings


@pytest.fixture
def conf() -> Conf:
    app = DurableCelery("tested", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    assert app.conf.task_default_priority is None
    assert isinstance(app.conf, RememberedSettings)
    return app.conf


@pytest.mark.parametrize(
    "change",
    [
        lambda conf: conf.update(task_default_priority=7),
        lambda conf: conf.update({"task_default_priority": 7}),
        lambda conf: conf.__setitem__("task_default_priority", 7),
        lambda conf: setattr(conf, "task_default_priority", 7),
        lambda conf: conf.add_defaults({"task_default_priority": 7}),
    ],
    ids=["update", "update-mapping", "item", "attribute", "defaults"],
)
def test_a_change_is_seen(conf: Conf, change: Callable[[Conf], Any]) -> None:
    change(conf)
    assert (conf.task_default_priority, conf["task_default_priority"]) == (7, 7)


@pytest.mark.parametrize(
    "undo",
    [
        lambda conf: conf.pop("task_default_priority"),
        lambda conf: conf.__delitem__("task_default_priority"),
        lambda conf: conf.clear(),
    ],
    ids=["pop", "del", "clear"],
)
def test_what_is_taken_back_is_seen(conf: Conf, undo: Callable[[Conf], Any]) -> None:
    conf.task_default_priority = 7
    assert conf.task_default_priority == 7
    undo(conf)
    assert conf.task_default_priority is None


def test_a_setting_that_a_test_overrides_is_seen_while_it_lasts(conf: Conf) -> None:
    with override_settings(CELERY_TASK_DEFAULT_PRIORITY=3):
        assert conf.task_default_priority == 3
    assert conf.task_default_priority is None


def test_a_key_that_is_not_there_is_an_error_each_time(conf: Conf) -> None:
    for _ in range(2):
        with pytest.raises(KeyError):
            conf["no_such_key"]
        with pytest.raises(AttributeError):
            _ = conf.no_such_key


def test_who_is_told_of_a_change_reads_what_is_new(conf: Conf) -> None:
    """Celery's own routes are one of them."""
    assert "billing.*" in conf.task_routes
    heard: list[Any] = []
    conf.bind_to(lambda *_, **__: heard.append(conf.task_routes))
    conf.update(task_routes={"a": "b"})
    assert heard == [{"a": "b"}] == [conf.task_routes]


def test_a_copy_goes_its_own_way(conf: Conf) -> None:
    copied = conf.copy()
    copied.task_default_priority = 7
    assert (conf.task_default_priority, copied.task_default_priority) == (None, 7)


def test_our_defaults_come_after_what_the_project_says(conf: Conf) -> None:
    with override_settings(CELERY_TASK_TIME_LIMIT=11):
        assert conf.task_time_limit == 11
    assert conf.beat_scheduler == "jobs.runtime.beat:DurableScheduler"


def test_a_setting_is_found_by_its_short_name_and_a_change_is_seen(conf: Conf) -> None:
    assert conf.find_value_for_key("extended", "result") is conf.result_extended is True
    assert conf.find_value_for_key("default_priority", "task") is None
    conf.task_default_priority = 7
    assert conf.find_value_for_key("default_priority", "task") == 7
    with pytest.raises(KeyError):
        conf.find_value_for_key("no_such_setting")
