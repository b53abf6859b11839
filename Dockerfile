# One image for everything of ours: web, beat, the workers, Flower and the one-shot migration.
#
# Debian 13 (trixie) has PostgreSQL 17 in its own archive, so `pg_dump` comes from there. It must not be
# older than the server it dumps: docker-compose.yml runs PostgreSQL 17, and a test holds the two together.

FROM python:3.11-slim-trixie AS build

RUN python -m venv /opt/venv
COPY requirements/base.txt /tmp/base.txt
# Wheels only, each with its hash: nothing is compiled, so no compiler is needed.
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --require-hashes -r /tmp/base.txt

FROM python:3.11-slim-trixie

RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/*

# The folders are made here so that a new named volume gets their owner.
RUN groupadd --gid 10001 jadwal \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/jadwal --no-create-home --shell /usr/sbin/nologin jadwal \
    && install --directory --owner jadwal --group jadwal --mode 0750 \
        /var/lib/jadwal /var/lib/jadwal/static /var/lib/jadwal/backups /var/lib/jadwal/flower \
        /var/lib/jadwal/spool

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=scheduler_project.settings \
    JADWAL_STATE_DIR=/var/lib/jadwal

COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY scheduler_project ./scheduler_project
COPY jobs ./jobs
COPY notifications ./notifications
COPY billing ./billing
COPY backups ./backups
RUN python -m compileall -q .

USER 10001:10001
EXPOSE 8000

# Static files are served from the installed packages (WhiteNoise with finders): there is nothing to collect.
CMD ["gunicorn", "scheduler_project.wsgi", "--bind=0.0.0.0:8000", "--workers=2", "--threads=8", \
     "--worker-class=gthread", "--worker-tmp-dir=/dev/shm", "--no-control-socket", "--access-logfile=-"]
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 \
    CMD ["python", "manage.py", "healthcheck", "web"]
