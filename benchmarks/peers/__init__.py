"""One file per contender.

A queue, `q_<name>.py`: `VENV` (the set of requirements it runs in), `LABEL`, `SETTINGS` (a sentence per
shape), `commands(shape)` (the argv of its workers), `prepare()` (an empty queue, a migrated database) and
`Client` with `one(sent_at)` and, where there is a bulk call, `many(count)`. Optional: `MAX_JOBS`, `ENV`,
and `settled(count)`, asked after a drain: raises unless every job is recorded as done.

A scheduler, `sched_<name>.py`: `VENV`, `LABEL`, `setup()`, `seed(specs, burst)` (with `burst`, all are due
at once), and `Bench` with `tick()` (one turn; seconds to sleep, more than 0 when nothing is due),
`dispatched()`, `loaded()`, `edit_one()`, `make_due(count)`, `flush_state()`, `close()` and
`EDIT_IS_RELOAD`. For the measurements with real processes: `BROKER` (Redis database and key of the
messages), `commands()` (the argv of one beat), and where the product can be told a time to come,
`arm(at)`: all schedules fall due at that instant, and `ready(database_url)`, how many beats are at work.
`ALL_WORK`: whether several beats share the work. `EXTRA`: messages that are no schedule's. Optional:
`edit_in_force()`, the seconds from an edit's commit until a running beat has taken it over.
"""
