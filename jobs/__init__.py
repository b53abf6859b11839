"""The platform: schedules become jobs, jobs are run, and every one of them can be accounted for."""
