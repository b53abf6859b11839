"""Fixtures of the tests of notifications."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from notifications.models import Template
from tests.notifications.mailserver import MailServer, running


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    """A mail server that Django sends by."""
    with running() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_TIMEOUT = 5
        yield server


@pytest.fixture
def welcome(db: None) -> Template:
    """A template with both kinds of text."""
    return Template.objects.create(
        code="welcome",
        subject="Hello {{ recipient.name }}",
        text="Dear {{ recipient.name }}, from {{ who }}.",
        html="<p>Dear {{ recipient.name }}, from {{ who }}.</p>",
    )
