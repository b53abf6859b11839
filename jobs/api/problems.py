"""Errors of the API: RFC 9457 problem documents, whatever went wrong."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from jobs.engine.payload import PayloadError, PayloadTooLarge
from jobs.engine.permitting import NotPermittedError

MOST_SWALLOWED, CHUNK = 32 * 1024 * 1024, 64 * 1024
"""Bytes of a request that is too large which are read all the same, and how many at a time."""


class Problem(Exception):
    """An answer that is an error: its status, and a sentence that says what to do."""

    def __init__(self, status: HTTPStatus, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, more


def answer(status: HTTPStatus, detail: str, **more: Any) -> HttpResponse:
    """Return a problem document."""
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **more,
    }
    response = HttpResponse(
        json.dumps(document), status=status.value, content_type="application/problem+json"
    )
    if status is HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response


def too_large(request: HttpRequest, detail: str) -> HttpResponse:
    """Return the problem document for a request that is not looked at.

    What the client is still sending is read all the same, within reason: a server that answers and hangs up in
    the middle of it leaves many clients with a broken pipe and no answer.
    """
    left = MOST_SWALLOWED
    while left > 0 and (chunk := request.read(min(CHUNK, left))):
        left -= len(chunk)
    return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def install(api: NinjaAPI) -> None:
    """Let `api` answer every error with a problem document."""

    @api.exception_handler(Problem)
    def _problem(request: HttpRequest, exc: Problem) -> HttpResponse:
        return answer(exc.status, exc.detail, **exc.more)

    @api.exception_handler(PayloadTooLarge)
    def _too_large(request: HttpRequest, exc: PayloadTooLarge) -> HttpResponse:
        return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(exc))

    @api.exception_handler(RequestDataTooBig)
    def _too_big(request: HttpRequest, exc: RequestDataTooBig) -> HttpResponse:
        return too_large(request, "The request is too large: pass an id instead.")

    @api.exception_handler(PayloadError)
    def _payload(request: HttpRequest, exc: PayloadError) -> HttpResponse:
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc))

    @api.exception_handler(NotPermittedError)
    def _not_permitted(request: HttpRequest, exc: NotPermittedError) -> HttpResponse:
        return answer(HTTPStatus.FORBIDDEN, str(exc))

    @api.exception_handler(ValidationError)
    def _invalid(request: HttpRequest, exc: ValidationError) -> HttpResponse:
        errors = [{"where": ".".join(map(str, error["loc"])), "what": error["msg"]} for error in exc.errors]
        return answer(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The request does not have the right form.", errors=errors
        )

    @api.exception_handler(AuthenticationError)
    def _unknown(request: HttpRequest, exc: AuthenticationError) -> HttpResponse:
        return answer(HTTPStatus.UNAUTHORIZED, "Show a valid token: 'Authorization: Bearer jdw_...'.")

    @api.exception_handler(HttpError)
    def _http(request: HttpRequest, exc: HttpError) -> HttpResponse:
        return answer(HTTPStatus(exc.status_code), str(exc))
