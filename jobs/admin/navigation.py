"""The sidebar and the tabs, by what the user may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse, reverse_lazy


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _item(title: str, icon: str, model: str, permission: str, **more: Any) -> dict[str, Any]:
    link = reverse_lazy(f"admin:{model}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _may(permission), **more}


def _is_dead_letters(request: HttpRequest) -> bool:
    return (
        request.path == reverse("admin:jobs_job_changelist") and request.GET.get("status__exact") == "failed"
    )


def _is_jobs(request: HttpRequest) -> bool:
    return request.path.startswith(reverse("admin:jobs_job_changelist")) and not _is_dead_letters(request)


def _dead_letters(request: HttpRequest) -> str:
    return reverse("admin:jobs_job_changelist") + "?status__exact=failed"


def _tab(title: str, status: str) -> dict[str, Any]:
    def link(request: HttpRequest) -> str:
        return reverse("admin:jobs_job_changelist") + (f"?status__exact={status}" if status else "")

    def active(request: HttpRequest) -> bool:
        return request.GET.get("status__exact", "") == status

    return {"title": title, "link": link, "active": active}


PLATFORM = frozenset(
    {"jobs", "auth", "auditlog", "django_celery_beat", "django_celery_results", "contenttypes", "sessions"}
)


def _domain_groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return a group for each domain app that has admin pages the user may see."""
    return [
        {
            "title": app["name"],
            "separator": True,
            "collapsible": True,
            "items": [
                {"title": model["name"], "icon": "table_rows", "link": model["admin_url"]}
                for model in app["models"]
                if model["admin_url"]
            ],
        }
        for app in admin.site.get_app_list(request)
        if app["app_label"] not in PLATFORM
    ]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: the platform first, then the domain apps, then what is seldom needed."""
    return [*DAILY, *_domain_groups(request), *SELDOM]


STATUSES = ("active", "waiting", "delayed", "completed", "failed", "skipped", "cancelled")

DAILY: list[dict[str, Any]] = [
    {
        "items": [
            {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
            _item(
                "Schedules",
                "calendar_month",
                "django_celery_beat_periodictask",
                "django_celery_beat.view_periodictask",
            ),
            _item("Jobs", "work", "jobs_job", "jobs.view_job", active=_is_jobs),
            {
                "title": "Dead letters",
                "icon": "mark_email_unread",
                "link": _dead_letters,
                "active": _is_dead_letters,
                "permission": _may("jobs.view_job"),
            },
            _item("Workers", "memory", "jobs_worker", "jobs.view_worker"),
        ],
    },
    {
        "title": "Records",
        "separator": True,
        "items": [
            _item("Audit log", "history", "auditlog_logentry", "auditlog.view_logentry"),
            _item(
                "Results",
                "fact_check",
                "django_celery_results_taskresult",
                "django_celery_results.view_taskresult",
            ),
            _item("Quarantine", "report", "jobs_quarantine", "jobs.view_quarantine"),
        ],
    },
]

SELDOM: list[dict[str, Any]] = [
    {
        "title": "Access",
        "separator": True,
        "collapsible": True,
        "items": [
            _item("Users", "person", "auth_user", "auth.view_user"),
            _item("Groups", "group", "auth_group", "auth.view_group"),
        ],
    },
    {
        "title": "Advanced",
        "separator": True,
        "collapsible": True,
        "items": [
            *(
                _item(title, icon, f"jobs_{kind}", f"jobs.view_{kind}")
                for title, icon, kind in (
                    ("Calendars", "calendar_month", "calendar"),
                    ("Blackouts", "event_busy", "blackout"),
                    ("Limits", "speed", "limit"),
                )
            ),
            *(
                _item(title, icon, f"django_celery_beat_{kind}", f"django_celery_beat.view_{kind}")
                for title, icon, kind in (
                    ("Crontabs", "calendar_view_week", "crontabschedule"),
                    ("Intervals", "timer", "intervalschedule"),
                    ("One-shots", "event", "clockedschedule"),
                    ("Solar events", "wb_sunny", "solarschedule"),
                )
            ),
        ],
    },
]


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the statuses, as tabs over the list of jobs."""
    items = [_tab("All", ""), *(_tab(status.capitalize(), status) for status in STATUSES)]
    return [{"models": ["jobs.job"], "items": items}]
