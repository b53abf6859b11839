"""Django settings of the contenders that keep schedules or results in PostgreSQL."""

from urllib.parse import unquote, urlsplit

from benchmarks import kit

_url = urlsplit(kit.postgres_url())

SECRET_KEY = "bench"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_celery_beat",
    "django_celery_results",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port,
        "USER": _url.username,
        "PASSWORD": unquote(_url.password or ""),
        "NAME": _url.path.strip("/"),
        "CONN_MAX_AGE": None,
    }
}
