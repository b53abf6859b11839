"""Events for consoles (Flower, `celery events`): told once, or not at all."""

from __future__ import annotations

import logging
from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

from jobs.engine.doorbell import BROKER_ERRORS, doorbell

logger = logging.getLogger(__name__)


class DurableEvents(Events):  # type: ignore[misc]
    """Celery's events, by a dispatcher that holds nobody up."""

    dispatcher_cls = "jobs.runtime.events:OneTryDispatcher"


class OneTryDispatcher(EventDispatcher):  # type: ignore[misc]
    """Publishes an event once, and leaves a broker that has just failed alone.

    Celery's own tries the heartbeat of a worker again and again, in the worker's main loop. While the broker is
    silent nothing else happens there: no time limit is kept, no end of a job is noticed, and no stop.
    """

    def _publish(self, event: Any, producer: Any, routing_key: str, **_: Any) -> None:
        if doorbell.is_muted():
            return
        self.buffer_while_offline = False  # what nobody could see then is of no use later
        try:
            super()._publish(event, producer, routing_key)
        except BROKER_ERRORS as exc:
            logger.warning("consoles do not hear of %s: %s", routing_key, doorbell.mute(exc))
