"""Django and Celery settings.

Every setting that an operator may change is an environment variable (README, "Settings"). Without any,
the servers that `manage.py up` started are used: their addresses are kept in the state folder.
"""

import os
import re
from pathlib import Path
from typing import Any

from scheduler_project.standalone.environment import environment
from scheduler_project.variables import Variables

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(os.environ.get("JADWAL_STATE_DIR", BASE_DIR / ".local"))

for _key, _value in environment(STATE_DIR).items():
    os.environ.setdefault(_key, _value)

env = Variables()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "scheduler_project.apps.LookConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "scheduler_project.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_celery_beat",
    "django_celery_results",
    "auditlog",
    "scheduler_project.apps.ProjectConfig",  # before the next: its `shellcompletion` comes first
    "scheduler_project.apps.CommandLineConfig",
    "jobs",
    "notifications",
    "billing",
    "backups",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "jobs.admin.audit.ActorMiddleware",
    "jobs.api.site.ApiMiddleware",
]

ROOT_URLCONF = "scheduler_project.urls"
WSGI_APPLICATION = "scheduler_project.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database --------------------
# One database holds the truth. The timeouts make sure that no forgotten transaction can hold up the
# schedulers: a claim that cannot get its rows skips them, and one that hangs is ended by the server.
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url("DATABASE_URL", default="postgres://jadwal@127.0.0.1:5432/jadwal"),
}
DATABASES["default"].update(
    CONN_MAX_AGE=env.int("DATABASE_CONN_MAX_AGE", default=600),
    CONN_HEALTH_CHECKS=True,
    OPTIONS={
        **DATABASES["default"].get("OPTIONS", {}),
        "connect_timeout": 5,
        # From the first time on: see jobs/engine/statements.py.
        "prepare_threshold": 0 if env.bool("DATABASE_PREPARE", default=True) else None,
        "options": "-c statement_timeout={} -c lock_timeout={} "
        "-c idle_in_transaction_session_timeout={}".format(
            env.int("DATABASE_STATEMENT_TIMEOUT_MS", default=120_000),
            env.int("DATABASE_LOCK_TIMEOUT_MS", default=30_000),
            env.int("DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS", default=120_000),
        ),
    },
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Time, language, static files --------------------
LANGUAGE_CODE = "en-us"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
# Static files are served straight from the installed packages: nothing to collect before `make up`.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
MEDIA_ROOT = STATE_DIR / "media"

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Security: on wherever the site is served by HTTPS --------------------
HTTPS = env.bool("HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

# --- E-mail --------------------
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="smtp://127.0.0.1:25")
EMAIL_BACKEND: str = EMAIL_CONFIG["EMAIL_BACKEND"]
EMAIL_HOST: str = EMAIL_CONFIG.get("EMAIL_HOST") or ""
EMAIL_PORT: int = EMAIL_CONFIG.get("EMAIL_PORT") or 25
EMAIL_HOST_USER: str = EMAIL_CONFIG.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD: str = EMAIL_CONFIG.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS: bool = EMAIL_CONFIG.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL: bool = EMAIL_CONFIG.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="jadwal@localhost")

# --- Celery --------------------
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
QUEUES = ("default", "notifications", "billing", "backups")

CELERY_BROKER_URL = REDIS_URL
# A silent broker must not hang a web request or a beat: every socket wait is bounded, and a publish is
# tried once, because the reconciler publishes again whatever did not arrive. Two seconds, because connecting
# and asking may both take that long, and a turn of beat must be over within five.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # A broker that refuses is reported at once; kombu would go on trying for seconds in every call.
    "max_retries": 0,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A worker waits for its broker as long as it takes (Celery gives up after a hundred attempts), and asks it
# every few seconds. One that is there but takes nothing, because it is full, is waited for in the same way.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_WORKER_CONSUMER = "jobs.runtime.consumer:DurableConsumer"
CELERY_TASK_PUBLISH_RETRY = False
CELERY_RESULT_BACKEND = "jobs.runtime.results:DurableBackend"
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_EXPIRES = None  # pruning follows the retention of jobs, see jobs/engine/pruning.py
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_BEAT_SCHEDULER = "jobs.runtime.beat:DurableScheduler"
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = True
# Each domain app has a queue of its own, named like the app.
CELERY_TASK_ROUTES = {f"{app}.*": {"queue": app} for app in QUEUES if app != "default"}
# Early acknowledgement without prefetch: nothing is ever stranded in `unacked`, and a job that is lost
# with its worker is found by its row.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = False  # jobs/runtime/intake.py decides how many messages are taken
# Flower, or whoever watches, turns task events on while it looks; nobody else pays for them.
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.float("JADWAL_SHUTDOWN_GRACE", default=30.0)
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = False
CELERY_WORKER_POOL = "jobs.runtime.pool:DurablePool"
CELERY_WORKER_HIJACK_ROOT_LOGGER = True
CELERY_WORKER_LOST_WAIT = 1.0
CELERY_TASK_TIME_LIMIT = env.int("JADWAL_TIME_LIMIT", default=3600)
CELERY_TASK_SOFT_TIME_LIMIT = env.int("JADWAL_SOFT_TIME_LIMIT", default=3540)
# The worker keeps its database connection between tasks; jobs/runtime checks its health before each.
CELERY_DB_REUSE_MAX = 1_000_000_000

# --- Jadwal: the platform's own settings, read in jobs/conf.py --------------------
JADWAL = {
    "HEARTBEAT_SECONDS": env.float("JADWAL_HEARTBEAT_SECONDS", default=10.0),
    "LEASE_SECONDS": env.float("JADWAL_LEASE_SECONDS", default=45.0),
    "SWEEP_SECONDS": env.float("JADWAL_SWEEP_SECONDS", default=5.0),
    "RECONCILE_SECONDS": env.float("JADWAL_RECONCILE_SECONDS", default=10.0),
    "PUBLISH_GRACE_SECONDS": env.float("JADWAL_PUBLISH_GRACE_SECONDS", default=5.0),
    "SPOOL_DIR": env.str("JADWAL_SPOOL_DIR", default=str(STATE_DIR / "spool")),
    "MEMORY_LIMIT_MB": env.int("JADWAL_MEMORY_LIMIT_MB", default=0),
    "MAX_ATTEMPTS": env.int("JADWAL_MAX_ATTEMPTS", default=5),
    "ADOPT_FOREIGN": env.bool("JADWAL_ADOPT_FOREIGN", default=True),
    "SCHEDULABLE": env.list("JADWAL_SCHEDULABLE", default=[]),
    "MAX_PAYLOAD_BYTES": env.str("JADWAL_MAX_PAYLOAD_BYTES", default="1048576"),
    "MAX_RESULT_BYTES": env.str("JADWAL_MAX_RESULT_BYTES", default="1048576"),
    # Text, and misspelt names too: the system check says in a sentence what is wrong (jobs/checks.py).
    "RETENTION_DAYS": {
        **{
            _name[1].lower(): _value
            for _key, _value in os.environ.items()
            if (_name := re.fullmatch(r"JADWAL_RETENTION_(\w+)_DAYS", _key))
        },
        "completed": env.str("JADWAL_RETENTION_COMPLETED_DAYS", default="7"),
        "cancelled": env.str("JADWAL_RETENTION_CANCELLED_DAYS", default="30"),
        "skipped": env.str("JADWAL_RETENTION_SKIPPED_DAYS", default="30"),
        "failed": env.str("JADWAL_RETENTION_FAILED_DAYS", default="90"),
        "quarantine": env.str("JADWAL_RETENTION_QUARANTINE_DAYS", default="90"),
    },
    "FLOWER_URL": env.str("JADWAL_FLOWER_URL", default=""),
    "SECRETS_DIR": env.str("JADWAL_SECRETS_DIR", default=""),
}

# --- The domain apps --------------------
BACKUPS_ROOT = Path(env.str("BACKUPS_ROOT", default=str(STATE_DIR / "backups")))
PG_BIN = env.str("JADWAL_PG_BIN", default="")  # folder of pg_dump and pg_restore; empty: PATH
REPORTS_RECIPIENTS: list[str] = env.list("REPORTS_RECIPIENTS", default=["finance@example.com"])

# --- Logging --------------------
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "class": "jobs.runtime.masking.MaskingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
}

# --- The admin: see jobs/admin/ --------------------
from scheduler_project.unfold import UNFOLD  # noqa: E402, F401

# django-auditlog writes who changed what; the state of jobs has its own ledger.
AUDITLOG_INCLUDE_ALL_MODELS = False

# Here, so that all of them are named at once; no process starts with a value that nobody meant.
env.refuse_bad_ones()
