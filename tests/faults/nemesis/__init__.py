"""`python -m tests.faults.nemesis`: an hour of random faults, and the oracle's judgement at its end.

    python -m tests.faults.nemesis --minutes 60 --seed 7

It has a PostgreSQL and a Redis of its own. The same seed gives the same plan (`plan`); what the machine makes
of it differs from run to run. `stage` has the processes and does the acts, `caller` and `load` are the work,
`judging` looks at what is left.
"""
