"""What the platform needs of Celery's settings: the defaults of a `DurableCelery` application.

A project's own settings come before them; `manage.py doctor --migrate` says which of those do harm.
"""

from __future__ import annotations

from typing import Any

CELERY: dict[str, Any] = {
    "result_backend": "jobs.runtime.results:DurableBackend",
    "result_extended": True,
    "result_expires": None,  # results go with their jobs
    "beat_scheduler": "jobs.runtime.beat:DurableScheduler",
    "worker_pool": "jobs.runtime.pool:DurablePool",
    "worker_consumer": "jobs.runtime.consumer:DurableConsumer",
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    # A broker that is silent, or refuses, must not hang a caller: what was not sent is sent later.
    "broker_transport_options": {
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "max_retries": 0,
    },
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "task_publish_retry": False,
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 30.0,
    "worker_enable_soft_shutdown_on_idle": False,
    "worker_lost_wait": 1.0,
    "task_time_limit": 3600,
    "task_soft_time_limit": 3540,
    # The worker keeps its database connection between tasks, and looks at its health before each.
    "db_reuse_max": 1_000_000_000,
}
