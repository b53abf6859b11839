"""A report's PDF is for those who may see the run."""

from __future__ import annotations

from datetime import date

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from billing.periods import LocalDay
from billing.reporting import send_daily_sales
from tests.notifications.mailserver import MailServer


@pytest.mark.django_db
def test_the_pdf_is_for_those_who_may_see_it(mail: MailServer, admin_client: Client) -> None:
    run = send_daily_sales(LocalDay(date(2026, 3, 29), "UTC"), ["finance@example.com"], "job").run
    url = f"/admin/billing/reportrun/{run.pk}/pdf"

    answer = admin_client.get(url)
    assert b"".join(answer.streaming_content).startswith(b"%PDF-")  # type: ignore[attr-defined]
    assert url.encode() in admin_client.get("/admin/billing/reportrun/").content

    assert Client().get(url).status_code == 302
    clerk = Client()
    clerk.force_login(get_user_model().objects.create_user("clerk", is_staff=True))
    assert clerk.get(url).status_code == 403
