"""Acts that change something: asked for by POST, confirmed in a dialog or on a page, and written down.

A GET only ever shows the question. One object is asked about in a dialog (`dialog=` of unfold), many on a
page between the list and the act.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminExpandableTextareaWidget

from jobs.admin.fields import WallTimeField
from jobs.admin.timing_entry import instant
from jobs.engine.editing import EditError, check_future

Act = TypeVar("Act", bound=Callable[..., Any])

MOST = 1000
"""An act on more objects than this is a job for the command line, or for "all matching"."""


def act(**options: Any) -> Callable[[Act], Act]:
    """Return unfold's `@action` with a type: it checks the permissions, and asks where there is a dialog."""
    return cast("Callable[[Act], Act]", action(**options))


class SubjectForm(BaseDialogForm):  # type: ignore[misc]
    """A dialog that shows what it is about."""

    form_before_template = "jobs/dialog_subject.html"
    describe: Callable[[str], dict[str, Any]] = staticmethod(lambda object_id: {})

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        """Return what the dialog says of its object."""
        return self.describe(str(object_id)) if object_id else {}


class PauseFields(forms.Form):
    """Why, and until when."""

    note = forms.CharField(
        required=False,
        max_length=500,
        label="Note",
        widget=UnfoldAdminExpandableTextareaWidget(attrs={"rows": 2}),
        help_text="Why: whoever is on call reads it.",
    )
    until = WallTimeField(
        required=False,
        label="Until",
        help_text=f"It resumes by itself then ({settings.TIME_ZONE}). Blank: when somebody resumes it.",
    )

    def clean_until(self) -> datetime | None:
        """Return the instant, which is to come."""
        wall: datetime | None = self.cleaned_data["until"]
        if wall is None:
            return None
        try:
            until = instant(wall, settings.TIME_ZONE)
            check_future(until)
        except EditError as exc:
            local = datetime.now(ZoneInfo(settings.TIME_ZONE))
            raise forms.ValidationError(f"This has passed; it is {local:%Y-%m-%d %H:%M} now.") from exc
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return until


def done(request: HttpRequest, text: str, url: str, *, level: int = messages.SUCCESS) -> HttpResponse:
    """Say what was done, and go on at `url`; htmx, which sent the dialog, is told to go there too."""
    messages.add_message(request, level, text)
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return redirect(url)


def back(request: HttpRequest, fallback: str) -> str:
    """Return the page of this site a dialog was opened on."""
    current = request.headers.get("HX-Current-URL", "")
    host = f"{request.scheme}://{request.get_host()}/"
    return current.removeprefix(host.rstrip("/")) if current.startswith(host) else fallback


def confirmation(
    admin: ModelAdmin,
    request: HttpRequest,
    queryset: QuerySet[Any],
    *,
    title: str,
    text: str,
    button: str,
    form: forms.Form | None = None,
) -> TemplateResponse | None:
    """Return the page that asks; None when it has been answered, and the form on it is right."""
    if request.POST.get("confirmed") == "yes" and (form is None or form.is_valid()):
        return None
    chosen = list(queryset[: MOST + 1])
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "opts": admin.opts,
        "text": text,
        "button": button,
        "chosen": chosen[:20],
        "count": len(chosen),
        "more": max(len(chosen) - 20, 0),
        "too_many": len(chosen) > MOST,
        "most": MOST,
        "form": form,
        "action": request.POST.get("action"),
        "selected": [str(item.pk) for item in chosen],
        "checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "jobs/confirm.html", context)


def chosen_rows(queryset: QuerySet[Any]) -> list[Model]:
    """Return the rows of a bulk act, at most `MOST`."""
    return list(queryset[:MOST])
