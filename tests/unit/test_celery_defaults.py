"""The defaults of a `DurableCelery` application: enough for a project that says nothing itself."""

from __future__ import annotations

from django.conf import settings

from jobs.runtime.app import DurableCelery
from jobs.runtime.defaults import CELERY


def test_this_project_says_nothing_else() -> None:
    for name, value in CELERY.items():
        assert getattr(settings, f"CELERY_{name.upper()}") == value, name


def test_what_the_project_says_comes_first() -> None:
    app = DurableCelery("elsewhere", set_as_current=False)
    app.config_from_object(
        {"CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT": 7.0, "CELERY_TASK_TIME_LIMIT": 11}, namespace="CELERY"
    )
    assert (app.conf.worker_soft_shutdown_timeout, app.conf.task_time_limit) == (7.0, 11)
    assert app.conf.worker_pool == "jobs.runtime.pool:DurablePool"


def test_an_application_has_them_and_may_say_otherwise() -> None:
    app = DurableCelery("elsewhere", set_as_current=False)
    app.conf.update(result_extended=False)
    assert app.conf.result_backend == "jobs.runtime.results:DurableBackend"
    assert app.conf.task_time_limit == 3600
    assert app.conf.broker_transport_options["max_retries"] == 0
    assert app.conf.result_extended is False
    assert app.conf.task_default_queue == "celery", "the queue that a project has stays its queue"
