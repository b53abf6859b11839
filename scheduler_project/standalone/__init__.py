"""`manage.py up`: a real PostgreSQL, a real Redis and every Jadwal process on one machine.

Everything listens on 127.0.0.1, every secret is a 0600 file under the state folder, and nothing
outlives the supervisor. `servers` is the part that tests use on its own.
"""
