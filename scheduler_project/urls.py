"""URLs: the admin is the console, `/api/` is for programs, `/healthz` for load balancers."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.generic import RedirectView

from jobs.api.site import api


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while this web process can serve; it asks no other service."""
    return HttpResponse("ok", content_type="text/plain")


admin.autodiscover()  # here, and not in every process: see `scheduler_project.apps`

urlpatterns = [
    path("healthz", healthz),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
