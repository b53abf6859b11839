"""What is stored. Querysets choose rows; only `jobs.engine` changes the state of jobs."""

from jobs.models.job import Attempt, Job, JobLog
from jobs.models.schedule import Schedule
from jobs.models.worker import Quarantine, Worker

__all__ = ["Attempt", "Job", "JobLog", "Quarantine", "Schedule", "Worker"]
