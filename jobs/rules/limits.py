"""From the one timeout a person gives to Celery's two limits (SEMANTICS 26)."""

GRACE_SHARE, GRACE_LEAST, GRACE_MOST = 0.1, 1.0, 10.0


def limits(timeout: float | None) -> tuple[float | None, float | None]:
    """Return the hard and the soft limit, in seconds, for `timeout`; two Nones for none.

    At `timeout` the soft limit raises inside the task, so that its traceback shows where the time went. A
    task that swallows it is killed a moment later: a tenth of the timeout, from one to ten seconds.
    """
    if not timeout:
        return None, None
    return timeout + min(GRACE_MOST, max(GRACE_LEAST, timeout * GRACE_SHARE)), timeout
