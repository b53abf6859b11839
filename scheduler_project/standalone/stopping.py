"""`manage.py down`: ask the supervisor to stop, and see that it did."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from .errors import TIMED_OUT, StandaloneError
from .layout import State
from .processes import wait_until

KILL_SECONDS = 15.0


def stop_instance(state: State, timeout: float) -> bool:
    """Stop the instance in order; False when none ran.

    After `timeout` seconds the supervisor is told again, which makes it kill what is left. Raises
    StandaloneError (timed out) when even that does not end it.
    """
    owner = state.supervisor()
    if owner is None:
        if state.root.exists() and state.report():
            with state.hold():
                state.end_leftovers()
        return False
    for patience in (timeout, KILL_SECONDS):
        with suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGTERM)
        if wait_until(lambda: not owner.alive(), patience):
            return True
    raise StandaloneError(
        f"the supervisor (pid {owner.pid}) does not end: kill -9 {owner.pid} ends it and its children",
        TIMED_OUT,
    )
