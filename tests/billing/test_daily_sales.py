"""The daily sales report: the right day, added up right, mailed once."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing import mailing, report_ledger, tasks
from billing.figures import sales_of
from billing.models import Invoice, InvoiceLine, ReportRun
from billing.periods import LocalDay
from billing.reporting import DoubtfulReportError, RefusedReportError, send_daily_sales
from billing.sales_pdf import sales_pdf
from billing.tasks import daily_sales_report
from jobs.public import Occasion, Permanent
from tests.billing.conftest import Sell
from tests.notifications.mailserver import MailServer, hang_up

BERLIN = "Europe/Berlin"
SHORT_DAY = LocalDay(date(2026, 3, 29), BERLIN)
FINANCE = "finance@example.com"


def test_only_the_local_day_counts(sell: Sell) -> None:
    sell("2026-03-28T23:59:59.999+01:00", 1)
    sell("2026-03-29T00:00:00+01:00", 10)
    sell("2026-03-29T23:59:59.999+02:00", 100)
    sell("2026-03-30T00:00:00+02:00", 1000)

    figures = sales_of(SHORT_DAY)

    assert [(one.currency, one.invoices, one.billed) for one in figures.currencies] == [("EUR", 2, 110)]
    assert figures.trend[-2:] == [(date(2026, 3, 28), 1), (date(2026, 3, 29), 110)]
    assert len(figures.trend) == 14


def test_currencies_are_never_added_together(sell: Sell) -> None:
    sell("2026-03-29T12:00+02:00", 1999, product="Basic")
    sell("2026-03-29T13:00+02:00", 2001, product="Basic", paid_at="2026-03-29T14:00+02:00")
    sell("2026-03-29T12:00+02:00", 5000, "JPY", product="Pro")
    sell("2026-03-29T12:00+02:00", 99, status="void")
    sell("2026-02-01T12:00+01:00", 700, "USD", paid_at="2026-03-29T09:00+02:00")

    figures = sales_of(SHORT_DAY)

    assert figures.summary() == {
        "invoices": 3,
        "currencies": [
            {"currency": "EUR", "invoices": 2, "billed": 4000, "payments": 1, "received": 2001},
            {"currency": "JPY", "invoices": 1, "billed": 5000, "payments": 0, "received": 0},
            {"currency": "USD", "invoices": 0, "billed": 0, "payments": 1, "received": 700},
        ],
    }
    assert [(one.product, one.currency, one.billed) for one in figures.products] == [
        ("Basic", "EUR", 4000),
        ("Pro", "JPY", 5000),
    ]


def test_the_report_is_mailed_once(sell: Sell, mail: MailServer, media: Path) -> None:
    sell("2026-03-29T12:00+02:00", 1999)

    first = daily_sales_report.apply(kwargs={"zone": BERLIN, "day": "2026-03-29"}).get()
    again = daily_sales_report.apply(kwargs={"zone": BERLIN, "day": "2026-03-29"}).get()

    assert (first["status"], first["sent_now"], again["status"], again["sent_now"]) == (
        "sent", True, "sent", False,
    )  # fmt: skip
    assert first["figures"]["currencies"][0]["billed"] == 1999
    [message] = mail.to(FINANCE)
    assert message["Subject"] == "Daily sales report 2026-03-29 (Europe/Berlin)"
    [pdf] = message.iter_attachments()
    assert pdf.get_filename() == "daily-sales-2026-03-29-Europe-Berlin.pdf"
    assert pdf.get_content() == (media / first["file"]).read_bytes()
    assert pdf.get_content().startswith(b"%PDF-")


def test_a_report_per_zone(sell: Sell, mail: MailServer) -> None:
    for zone in (BERLIN, "UTC"):
        daily_sales_report(zone, "2026-03-29")
    assert len(mail.to(FINANCE)) == 2


def test_the_day_is_the_one_before_the_nominal_time(
    sell: Sell, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_one = Occasion("job", datetime(2026, 3, 29, 23, 0, tzinfo=UTC))
    monkeypatch.setattr(tasks, "occasion", lambda: at_one)
    assert daily_sales_report(BERLIN)["day"] == "2026-03-29"


def test_a_retry_after_midnight_reports_the_day_it_began_with(
    sell: Sell, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "occasion", lambda: Occasion("job"))
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 29, 21, 59, tzinfo=UTC))
    mail.on_rcpt[FINANCE] = ["451 later"]
    with pytest.raises(mailing.NotTakenError):
        daily_sales_report(BERLIN)
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 29, 22, 1, tzinfo=UTC))
    assert daily_sales_report(BERLIN)["day"] == "2026-03-28"


@pytest.mark.django_db
def test_put_off_is_tried_again(mail: MailServer) -> None:
    mail.on_data[FINANCE] = ["452 disk full"]
    with pytest.raises(mailing.NotTakenError, match="452 disk full"):
        send_daily_sales(SHORT_DAY, [FINANCE], "job")
    assert send_daily_sales(SHORT_DAY, [FINANCE], "job").sent_now
    assert len(mail.to(FINANCE)) == 1


@pytest.mark.django_db
def test_refused_fails_and_a_later_job_may_try(mail: MailServer) -> None:
    mail.on_rcpt[FINANCE] = ["550 no such user"]
    with pytest.raises(RefusedReportError, match="550 no such user"):
        send_daily_sales(SHORT_DAY, [FINANCE], "job")
    assert ReportRun.objects.get().status == "failed"
    assert send_daily_sales(SHORT_DAY, [FINANCE], "another").sent_now


@pytest.mark.django_db
def test_one_refused_recipient_is_noted_and_the_others_have_it(mail: MailServer) -> None:
    mail.on_rcpt["gone@example.com"] = ["550 no such user"]
    send_daily_sales(SHORT_DAY, ["gone@example.com", FINANCE], "job")
    run = ReportRun.objects.get()
    assert (run.status, run.refused) == ("sent", {"gone@example.com": "550 no such user"})
    assert len(mail.to(FINANCE)) == 1


@pytest.mark.django_db
def test_lost_while_sending_is_in_doubt_until_a_person_decides(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crash:
        crash.setattr(report_ledger, "sent", lambda *_: (_ for _ in ()).throw(SystemExit()))
        with pytest.raises(SystemExit):
            send_daily_sales(SHORT_DAY, [FINANCE], "job")
    assert ReportRun.objects.get().status == "sending"

    for _ in range(2):
        with pytest.raises(DoubtfulReportError, match="Decide in the admin"):
            send_daily_sales(SHORT_DAY, [FINANCE], "job")
    assert len(mail.to(FINANCE)) == 1

    assert report_ledger.allow_again(ReportRun.objects.get())
    assert send_daily_sales(SHORT_DAY, [FINANCE], "job").sent_now
    first, second = mail.to(FINANCE)
    assert first["Message-ID"] == second["Message-ID"]


@pytest.mark.django_db
def test_a_line_that_breaks_after_data_is_in_doubt(mail: MailServer) -> None:
    mail.on_data[FINANCE] = [hang_up]
    with pytest.raises(DoubtfulReportError):
        send_daily_sales(SHORT_DAY, [FINANCE], "job")
    assert ReportRun.objects.get().status == "in_doubt"


@pytest.mark.django_db
def test_of_two_jobs_one_sends(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other has drawn its PDF already when this one takes the run."""
    real = report_ledger.begin

    def beaten(run: ReportRun, job_key: str, **written: Any) -> bool:
        monkeypatch.setattr(report_ledger, "begin", real)
        assert send_daily_sales(SHORT_DAY, [FINANCE], "faster").sent_now
        return real(run, job_key, **written)

    monkeypatch.setattr(report_ledger, "begin", beaten)
    assert not send_daily_sales(SHORT_DAY, [FINANCE], "slower").sent_now
    assert len(mail.to(FINANCE)) == 1
    assert ReportRun.objects.get().job_key == "faster"


def test_a_long_report_has_numbered_pages(sell: Sell) -> None:
    for number in range(80):
        sell("2026-03-29T12:00+02:00", 100 + number, product=f"Łódź <№ {number}> & co")
    pdf = sales_pdf(sales_of(SHORT_DAY))
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 4
    assert pdf == sales_pdf(sales_of(SHORT_DAY))


@pytest.mark.django_db
def test_an_empty_day_is_a_report_too() -> None:
    assert sales_pdf(sales_of(SHORT_DAY)).startswith(b"%PDF-")


@pytest.mark.django_db
@pytest.mark.parametrize(("zone", "day"), [("Mars/Phobos", None), ("UTC", "2026-02-30")])
def test_nonsense_is_a_permanent_error(zone: str, day: str | None) -> None:
    with pytest.raises(Permanent, match="no such day"):
        daily_sales_report(zone, day)


def test_the_database_refuses_sums_that_do_not_add_up(sell: Sell) -> None:
    invoice = sell("2026-03-29T12:00+02:00", 100)
    with pytest.raises(IntegrityError), transaction.atomic():
        InvoiceLine.objects.create(invoice=invoice, product="x", quantity=2, unit_amount=5, amount=11)
    with pytest.raises(IntegrityError), transaction.atomic():
        Invoice.objects.filter(pk=invoice.pk).update(status="paid")
