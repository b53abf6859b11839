"""What people do to schedules: run now, pause, resume; one in a dialog, or several at once."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from unfold.admin import ModelAdmin
from unfold.enums import ActionVariant

from jobs.admin import audit
from jobs.admin.acting import PauseFields, SubjectForm, act, back, chosen_rows, confirmation, done
from jobs.admin.presenting import job_url, schedule_url, stamp
from jobs.engine import pausing, permitting, triggering
from jobs.engine.compiling import CompileError
from jobs.insight import dashboard
from jobs.models import Schedule

CANNOT_RUN = (CompileError, permitting.NotPermittedError, triggering.RefusedError)
"""Why a schedule is not run now: errors that say it in a sentence."""

ACT_PREFIX = "django_celery_beat_periodictask_"
LIST = "admin:django_celery_beat_periodictask_changelist"


def policies(rows: QuerySet[Schedule] | None = None) -> QuerySet[Schedule]:
    """Return policies with everything that compiling and describing them reads."""
    related = [f"periodic_task__{kind}" for kind in ("crontab", "interval", "clocked", "solar")]
    return (rows if rows is not None else Schedule.objects.all()).select_related(*related)


def _subject(object_id: str) -> dict[str, Any]:
    policy = policies().filter(pk=object_id).first() if object_id.isdigit() else None
    if policy is None:
        return {"subject": "This schedule is gone."}
    row = policy.periodic_task
    detail = f"{row.task} · {dashboard.describe_schedule(policy)}"
    warning = "" if row.enabled else "It is paused." + (f" {policy.pause_note}" if policy.pause_note else "")
    return {"subject": row.name, "detail": detail, "warning": warning}


class ScheduleDialog(SubjectForm):
    """A question about one schedule."""

    describe = staticmethod(_subject)


class StartDialog(ScheduleDialog):
    """A question about an act that makes jobs: it is refused to who may not schedule the task."""

    def refusal(self, object_id: Any) -> str:
        """Return why the user may not, in a sentence; empty where the user may."""
        task = PeriodicTask.objects.filter(pk=object_id).values_list("task", flat=True).first()
        return permitting.refusal(self.request.user, task) if task else ""

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        """Return what the dialog says of its schedule, or why it is refused."""
        said = super().get_before_template_context(request, object_id)
        return {**said, "warning": self.refusal(object_id) or said.get("warning", "")}

    def clean(self) -> dict[str, Any]:
        """Refuse what the user may not."""
        refusal = self.refusal(self.object_id)
        if refusal:
            raise forms.ValidationError(refusal)
        asked: dict[str, Any] = self.cleaned_data
        return asked


class PauseDialog(PauseFields, ScheduleDialog):
    """Asks why, and until when."""


class ScheduleActs(ModelAdmin):  # type: ignore[misc]
    """The acts, and who may do them."""

    actions_row = ("run_now", "pause", "resume")
    actions_detail = ("run_now", "pause", "resume")
    actions = ("run_selected", "pause_selected", "resume_selected")

    def has_run_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may run schedules now."""
        return request.user.has_perm("jobs.run_schedule") and self.has_view_permission(request)

    def has_pause_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may pause and resume schedules."""
        return request.user.has_perm("jobs.pause_schedule") and self.has_view_permission(request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer a pause to what fires, and to resume what is paused."""
        enabled = PeriodicTask.objects.filter(pk=object_id).values_list("enabled", flat=True).first()
        useless = {f"{ACT_PREFIX}{'resume' if enabled else 'pause'}"}
        if StartDialog(request, object_id).refusal(object_id):
            useless |= {f"{ACT_PREFIX}run_now", f"{ACT_PREFIX}resume"}
        offered = super().get_actions_detail(request, object_id)
        return [item for item in offered if item.action_name not in useless]

    @act(
        description="Run now",
        permissions=["run"],
        url_path="run-now",
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": "Run now?",
            "description": "One job is made at once, beside whatever is running. The schedule is not moved.",
            "form_class": StartDialog,
            "form_submit_text": "Run now",
        },
    )
    def run_now(self, request: HttpRequest, form: StartDialog, object_id: str) -> HttpResponse:
        """Make a job of one schedule."""
        policy = _get(object_id)
        try:
            job_id = self._run(request, policy)
        except CANNOT_RUN as exc:
            text = f"{policy.periodic_task.name} cannot run: {exc}"
            return done(request, text, back(request, schedule_url(policy.pk)), level=messages.ERROR)
        return done(request, f"{policy.periodic_task.name} runs now as job {job_id}.", job_url(job_id))

    @act(
        description="Pause",
        permissions=["pause"],
        icon="pause",
        dialog={
            "title": "Pause this schedule?",
            "description": "Times that pass are recorded as skipped: paused. Jobs it has made run on.",
            "form_class": PauseDialog,
            "form_submit_text": "Pause",
        },
    )
    def pause(self, request: HttpRequest, form: PauseDialog, object_id: str) -> HttpResponse:
        """Pause one schedule."""
        policy = _get(object_id)
        changed = self._pause(request, policy, form.cleaned_data)
        text = (
            f"{policy.periodic_task.name} is paused."
            if changed
            else "It was paused already; the note is kept."
        )
        return done(request, text, back(request, schedule_url(policy.pk)))

    @act(
        description="Resume",
        permissions=["pause"],
        icon="resume",
        dialog={
            "title": "Resume this schedule?",
            "description": "It goes on from now; what it missed stays skipped.",
            "form_class": StartDialog,
            "form_submit_text": "Resume",
        },
    )
    def resume(self, request: HttpRequest, form: StartDialog, object_id: str) -> HttpResponse:
        """Resume one schedule."""
        policy = _get(object_id)
        changed = self._resume(request, policy)
        text = f"{policy.periodic_task.name} goes on." if changed else "It was not paused."
        return done(request, text, back(request, schedule_url(policy.pk)))

    @act(description="Run now", permissions=["run"])
    def run_selected(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Make a job of each chosen schedule."""
        page = confirmation(
            self,
            request,
            queryset,
            title="Run these schedules now?",
            text="One job of each is made at once, beside whatever is running. The schedules are not moved.",
            button="Run now",
        )
        if page is not None:
            return page
        ran = 0
        for policy in _permitted(request, queryset):
            try:
                self._run(request, policy)
                ran += 1
            except CANNOT_RUN as exc:
                messages.error(request, f"{policy.periodic_task.name} cannot run: {exc}")
        messages.success(request, f"{ran} job{'s' * (ran != 1)} made.")
        return None

    @act(description="Pause", permissions=["pause"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Pause each chosen schedule."""
        form = PauseFields(request.POST if request.POST.get("confirmed") else None)
        page = confirmation(
            self,
            request,
            queryset,
            title="Pause these schedules?",
            text="Times that pass are recorded as skipped: paused. Jobs they have made run on.",
            button="Pause",
            form=form,
        )
        if page is not None:
            return page
        changed = sum(self._pause(request, policy, form.cleaned_data) for policy in _chosen(queryset))
        messages.success(request, f"{changed} paused.")
        return None

    @act(description="Resume", permissions=["pause"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Resume each chosen schedule."""
        page = confirmation(
            self,
            request,
            queryset,
            title="Resume these schedules?",
            text="They go on from now; what they missed stays skipped.",
            button="Resume",
        )
        if page is not None:
            return page
        changed = sum(self._resume(request, policy) for policy in _permitted(request, queryset))
        messages.success(request, f"{changed} resumed.")
        return None

    def _run(self, request: HttpRequest, policy: Schedule) -> str:
        job_id = triggering.run_now(policy)
        audit.to_history(request, [policy.periodic_task], f"Ran now as job {job_id}.")
        return job_id

    def _pause(self, request: HttpRequest, policy: Schedule, asked: dict[str, Any]) -> bool:
        note, until = asked["note"], asked["until"]
        changed = pausing.pause(policy, note=note, actor=request.user.get_username(), until=until)
        text = "Paused" + (f" until {stamp(until)}" if until else "") + (f": {note}" if note else ".")
        audit.to_history(request, [policy.periodic_task], text)
        return changed

    def _resume(self, request: HttpRequest, policy: Schedule) -> bool:
        changed = pausing.resume(policy)
        if changed:
            audit.to_history(request, [policy.periodic_task], "Resumed.")
        return changed


def _get(object_id: str) -> Schedule:
    return get_object_or_404(policies(), pk=object_id)


def _chosen(queryset: QuerySet[PeriodicTask]) -> list[Schedule]:
    ids = [row.pk for row in chosen_rows(queryset)]
    return list(policies(Schedule.objects.filter(pk__in=ids).order_by("periodic_task__name")))


def _permitted(request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> list[Schedule]:
    """Return the chosen schedules whose tasks the user may schedule, and say why not of the others."""
    found = []
    for policy in _chosen(queryset):
        refusal = permitting.refusal(request.user, policy.periodic_task.task)
        if refusal:
            messages.error(request, f"{policy.periodic_task.name}: {refusal}")
        else:
            found.append(policy)
    return found


def list_url() -> str:
    """Return the address of the list of schedules."""
    return reverse(LIST)
