"""What is stored. Querysets choose rows; only `jobs.engine` changes the state of jobs."""

from jobs.models.beat import Beat
from jobs.models.calendar import Blackout, Calendar
from jobs.models.job import Attempt, Job, JobLog
from jobs.models.limit import Limit
from jobs.models.schedule import Schedule
from jobs.models.token import ApiToken
from jobs.models.worker import Quarantine, Worker

__all__ = [
    "ApiToken",
    "Attempt",
    "Beat",
    "Blackout",
    "Calendar",
    "Job",
    "JobLog",
    "Limit",
    "Quarantine",
    "Schedule",
    "Worker",
]
