"""What people do to jobs: replay or discard the failed, cancel the live; one, several, or all that match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.enums import ActionVariant

from jobs.admin import audit
from jobs.admin.acting import SubjectForm, act, back, chosen_rows, confirmation, done
from jobs.admin.presenting import job_url
from jobs.engine import cancelling, replaying
from jobs.models import Job
from jobs.rules.states import Status

MOST_MATCHING = 10_000
BATCH = 500


def _subject(object_id: str) -> dict[str, Any]:
    job = Job.objects.filter(pk=object_id).first()
    if job is None:
        return {"subject": "This job is gone."}
    detail = f"{job.schedule_name or job.trigger} · {job.status} · attempt {job.attempt}"
    return {"subject": job.task, "detail": detail, "warning": job.error}


class JobDialog(SubjectForm):
    """A question about one job."""

    describe = staticmethod(_subject)


class MatchingDialog(SubjectForm):
    """A question about all dead letters that the filters of the list leave."""

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        """Return how many there are, and the filters."""
        count = getattr(request, "matching_count", 0)
        number = f"{count:,}" if count < MOST_MATCHING else f"The newest {MOST_MATCHING:,}"
        chosen = [
            f"{name}: {value}" for name, value in request.GET.items() if value and name != "status__exact"
        ]
        return {
            "subject": f"{number} failed job{'s' * (count != 1)}",
            "detail": " · ".join(chosen) or "no filter",
        }


class JobActs(ModelAdmin):  # type: ignore[misc]
    """The acts, and who may do them."""

    actions_row = ("replay", "discard", "cancel")
    actions_detail = ("replay", "discard", "cancel")
    actions = ("replay_selected", "discard_selected", "cancel_selected")

    def has_replay_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may replay failed jobs."""
        return request.user.has_perm("jobs.retry_job") and self.has_view_permission(request)

    def has_discard_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may discard failed jobs."""
        return request.user.has_perm("jobs.discard_job") and self.has_view_permission(request)

    def has_cancel_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may cancel live jobs."""
        return request.user.has_perm("jobs.cancel_job") and self.has_view_permission(request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer what can be done to a job in its state."""
        status = Job.objects.filter(pk=object_id).values_list("status", flat=True).first()
        possible = {"failed": {"replay", "discard"}}.get(status or "", set())
        if status in {Status.DELAYED, Status.WAITING, Status.ACTIVE}:
            possible = {"cancel"}
        offered = super().get_actions_detail(request, object_id)
        return [item for item in offered if item.action_name.removeprefix("jobs_job_") in possible]

    # --- one ---------------------------------------------------------------------------------------------

    @act(
        description="Replay",
        permissions=["replay"],
        icon="replay",
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": "Replay this job?",
            "description": "It runs again under the same id, with a fresh allowance of attempts.",
            "form_class": JobDialog,
            "form_submit_text": "Replay",
        },
    )
    def replay(self, request: HttpRequest, form: JobDialog, object_id: str) -> HttpResponse:
        """Replay one failed job."""
        return self._one(request, object_id, self._replay, "replayed", "only a failed job can be replayed")

    @act(
        description="Discard",
        permissions=["discard"],
        icon="delete_sweep",
        dialog={
            "title": "Discard this dead letter?",
            "description": "It will not run. Its history stays.",
            "form_class": JobDialog,
            "form_submit_text": "Discard",
        },
    )
    def discard(self, request: HttpRequest, form: JobDialog, object_id: str) -> HttpResponse:
        """Discard one failed job."""
        return self._one(request, object_id, self._discard, "discarded", "only a failed job can be discarded")

    @act(
        description="Cancel",
        permissions=["cancel"],
        icon="cancel",
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Cancel this job?",
            "description": "If it is running, its worker is told to stop it. It is not tried again.",
            "form_class": JobDialog,
            "form_submit_text": "Cancel the job",
        },
    )
    def cancel(self, request: HttpRequest, form: JobDialog, object_id: str) -> HttpResponse:
        """Cancel one live job."""
        return self._one(request, object_id, self._cancel, "cancelled", "only a live job can be cancelled")

    def _one(
        self,
        request: HttpRequest,
        object_id: str,
        act: Callable[[HttpRequest, Sequence[Job]], int],
        past: str,
        refusal: str,
    ) -> HttpResponse:
        job = get_object_or_404(Job, pk=object_id)
        url = back(request, job_url(job.id))
        if act(request, [job]):
            return done(request, f"{job.task} {job.id} is {past}.", url)
        return done(request, f"{job.id} is {job.status}: {refusal}.", url, level=messages.ERROR)

    # --- several -----------------------------------------------------------------------------------------

    @act(description="Replay (failed ones)", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Replay the failed ones of the chosen jobs."""
        text = "The failed ones among these run again under the same ids, with a fresh allowance of attempts."
        return self._several(request, queryset, self._replay, "Replay", text)

    @act(description="Discard (failed ones)", permissions=["discard"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Discard the failed ones of the chosen jobs."""
        text = "The failed ones among these will not run. Their history stays."
        return self._several(request, queryset, self._discard, "Discard", text)

    @act(description="Cancel (live ones)", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Cancel the live ones of the chosen jobs."""
        text = "The live ones among these are cancelled; the workers of running ones are told to stop them."
        return self._several(request, queryset, self._cancel, "Cancel the jobs", text)

    def _several(
        self,
        request: HttpRequest,
        queryset: QuerySet[Job],
        act: Callable[[HttpRequest, Sequence[Job]], int],
        button: str,
        text: str,
    ) -> HttpResponse | None:
        page = confirmation(self, request, queryset, title=f"{button}?", text=text, button=button)
        if page is not None:
            return page
        rows = chosen_rows(queryset)
        count = act(request, rows)  # type: ignore[arg-type]
        messages.success(request, f"{button}: {count} of {len(rows)} job{'s' * (len(rows) != 1)}.")
        return None

    # --- all that match ------------------------------------------------------------------------------------

    @act(
        permissions=["replay"],
        dialog={
            "title": "Replay all that match?",
            "description": "They run again under the same ids, with a fresh allowance of attempts.",
            "form_class": MatchingDialog,
            "form_submit_text": "Replay all",
        },
    )
    def replay_matching(self, request: HttpRequest, form: MatchingDialog) -> HttpResponse:
        """Replay every dead letter that the filters in the address leave."""
        return self._matching(request, self._replay, "replayed")

    @act(
        permissions=["discard"],
        dialog={
            "title": "Discard all that match?",
            "description": "They will not run. Their history stays.",
            "form_class": MatchingDialog,
            "form_submit_text": "Discard all",
        },
    )
    def discard_matching(self, request: HttpRequest, form: MatchingDialog) -> HttpResponse:
        """Discard every dead letter that the filters in the address leave."""
        return self._matching(request, self._discard, "discarded")

    def get_urls(self) -> list[URLPattern]:
        """Add the acts on all that match."""
        wrap = self.admin_site.admin_view
        own = [
            path("replay-matching/", wrap(self._counting("replay_matching")), name="jobs_replay_matching"),
            path("discard-matching/", wrap(self._counting("discard_matching")), name="jobs_discard_matching"),
        ]
        return [*own, *super().get_urls()]

    def _counting(self, name: str) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            try:
                count = len(self._matching_ids(request))
            except IncorrectLookupParameters:
                return HttpResponseBadRequest("These filters make no sense.")
            request.matching_count = count  # type: ignore[attr-defined]
            return getattr(self, name)(request)  # type: ignore[no-any-return]

        return view

    def _matching_ids(self, request: HttpRequest) -> list[str]:
        rows = self.get_changelist_instance(request).queryset.filter(status=Status.FAILED)
        return list(rows.values_list("id", flat=True)[:MOST_MATCHING])

    def _matching(
        self, request: HttpRequest, act: Callable[[HttpRequest, Sequence[Job]], int], past: str
    ) -> HttpResponse:
        ids, count = self._matching_ids(request), 0
        for start in range(0, len(ids), BATCH):
            count += act(request, list(Job.objects.filter(id__in=ids[start : start + BATCH])))
        url = f"{reverse('admin:jobs_job_changelist')}?status__exact=failed"
        return done(request, f"{count:,} job{'s' * (count != 1)} {past}.", url)

    # --- the acts themselves -------------------------------------------------------------------------------

    def _replay(self, request: HttpRequest, jobs: Sequence[Job]) -> int:
        moved = set(replaying.replay([job.id for job in jobs]))
        return _written(request, jobs, moved, "Replayed.")

    def _discard(self, request: HttpRequest, jobs: Sequence[Job]) -> int:
        moved = set(replaying.discard([job.id for job in jobs]))
        return _written(request, jobs, moved, "Discarded.")

    def _cancel(self, request: HttpRequest, jobs: Sequence[Job]) -> int:
        live = [job for job in jobs if not job.is_terminal]
        cancelling.cancel([job.id for job in live])
        after = Job.objects.filter(id__in=[job.id for job in live])
        moved = {job.id for job in after if job.status == Status.CANCELLED or job.cancel_requested_at}
        return _written(request, live, moved, "Cancelled.")


def _written(request: HttpRequest, jobs: Sequence[Job], moved: set[str], text: str) -> int:
    audit.to_history(request, [job for job in jobs if job.id in moved], text)
    return len(moved)
