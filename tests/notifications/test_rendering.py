"""The words of a mail: in the reader's zone and language, escaped where it is HTML, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError

from notifications.models import Recipient, Template
from notifications.rendering import Reader, RenderError, check, render


def test_times_and_dates_are_the_readers() -> None:
    words = render(
        subject="{{ scheduled_for|date:'j F H:i' }}",
        text="x",
        html="",
        reader=Reader("a@b.c", locale="de", time_zone="Europe/Berlin"),
        context={},
        scheduled_for=datetime(2026, 3, 28, 23, 30, tzinfo=UTC),
    )
    assert words.subject == "29 März 00:30"


@pytest.mark.parametrize("source", ["{% if %}", "{{ a|nothing }}", "{% load static %}", "{% end %}"])
def test_a_text_that_cannot_be_read_is_refused(source: str) -> None:
    with pytest.raises(RenderError):
        check(source)


def test_a_text_reaches_no_file() -> None:
    with pytest.raises(RenderError, match="TemplateDoesNotExist"):
        render(
            subject="s", text="{% include 'admin/base.html' %}", html="", reader=Reader("a@b.c"), context={},
            scheduled_for=None,
        )  # fmt: skip


def test_the_admin_form_says_what_is_wrong() -> None:
    with pytest.raises(ValidationError) as caught:
        Template(code="x", subject="s", text="{% if %}").clean()
    assert "text" in caught.value.message_dict


@pytest.mark.django_db
def test_an_address_is_one_recipient_in_any_case() -> None:
    Recipient.objects.create(email="ann@example.com")
    with pytest.raises(ValidationError, match="already exists"):
        Recipient(email="Ann@Example.COM").full_clean()
