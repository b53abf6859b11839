"""The API as the site mounts it: who is let in, and how large a request may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.security import HttpBearer

from jobs.api import jobs, problems
from jobs.conf import conf
from jobs.engine import auditing, tokens
from jobs.engine.auditing import Actor
from jobs.engine.clock import database_now

ROOT = "/api/"
WRITTEN = 6
"""A request takes at most so many times its payload: JSON may write a letter in six bytes."""
REST = 16 * 1024
"""What is not payload."""


class Bearer(HttpBearer):
    """Lets in whoever shows a valid token, as its user."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Return the token's row, and make its user the request's; None keeps the request out."""
        found = tokens.find(token, database_now())
        if found is not None:
            request.user = found.user
        return found


api = NinjaAPI(
    title="Jadwal",
    version="1",
    description="Jobs: asking for one, looking at it, stopping it.",
    auth=Bearer(),
    urls_namespace="api",
    docs_url=None,  # its page loads scripts from elsewhere
)
api.add_router("/jobs", jobs.router)
problems.install(api)


class ApiMiddleware:
    """Refuses what is too large before it is read, and lets what is done be the token's act.

    Django's own limit (DATA_UPLOAD_MAX_MEMORY_SIZE) is for forms, and answers with a page.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(ROOT):
            return self.get_response(request)
        most = conf().max_payload_bytes * WRITTEN + REST
        if int(request.headers.get("Content-Length") or 0) > most:
            return problems.too_large(
                request,
                f"The request is larger than {most:,} bytes: store the data elsewhere and pass its id.",
            )
        shown = request.headers.get("Authorization", "").partition(" ")[2]
        token = tokens.find(shown, database_now()) if shown else None
        actor = None if token is None else Actor(f"api:{token.name}", token.user_id)
        with auditing.acting(actor):
            return self.get_response(request)
