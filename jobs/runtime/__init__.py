"""Where Celery plugs in: application, outbox, task, worker, result backend, beat."""
