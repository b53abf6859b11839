"""`app.control`: revoking reaches the rows, whether or not a worker listens."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from celery.app.control import TERM_SIGNAME, Control
from celery.utils.functional import maybe_list
from django.db import transaction

from jobs.engine import cancelling
from jobs.engine.cancelling import Order
from jobs.models import Job
from jobs.rules.states import LIVE


class DurableControl(Control):  # type: ignore[misc]
    """Celery's remote control, whose revoking cancels jobs."""

    def revoke(
        self,
        task_id: Any,
        destination: Any = None,
        terminate: bool = False,
        signal: Any = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Cancel tasks by id, or by a list of ids: those that have not started, within the caller's transaction.

        Workers are told on commit; who wants their answers (`reply=True`) has them told at once. A running
        task is stopped with `terminate` only.
        """
        ids = [str(one) for one in maybe_list(task_id) or []]
        answered = bool(kwargs.get("reply"))
        cancelling.revoke(Order(ids, bool(terminate), signal, maybe_list(destination)), silent=answered)
        if not answered:
            return None
        return super().revoke(ids, destination=destination, terminate=terminate, signal=signal, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: Any = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Cancel tasks by their stamps; workers that run now also refuse those that come later."""
        cancelling.revoke(Order(_stamped(headers), bool(terminate), signal), silent=True)
        tell = partial(super().revoke_by_stamped_headers, headers, destination, terminate, signal, **kwargs)
        if kwargs.get("reply"):
            return tell()
        transaction.on_commit(lambda: tell(), robust=True)
        return None


def _stamped(headers: Mapping[str, Any]) -> list[str]:
    """Return the jobs that may still do something and have one of these stamps."""
    wanted = {stamp: set(maybe_list(values)) for stamp, values in headers.items()}
    live = Job.objects.filter(status__in=LIVE, headers__stamps__has_any_keys=list(wanted))
    return [
        job_id
        for job_id, stamps in live.values_list("id", "headers__stamps").iterator()
        if any(wanted[stamp].intersection(maybe_list(stamps.get(stamp)) or ()) for stamp in wanted)
    ]
