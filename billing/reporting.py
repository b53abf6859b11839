"""Sending a sales report, once per period.

1. The run of (report, day, zone) is found or made: a unique row.
2. If an earlier attempt of this same job was lost while sending, the mail may have gone out: `in_doubt`.
3. The figures are added up and drawn; several jobs may do so at once, it harms nothing.
4. One job wins the change to `sending` (committed) and hands the mail over; the others say who did.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import EmailMessage

from billing import mailing, report_ledger
from billing.figures import SalesFigures, sales_of
from billing.models import ReportRun
from billing.money import written
from billing.periods import LocalDay

logger = logging.getLogger(__name__)

DAILY_SALES = "daily_sales"


class RefusedReportError(Exception):
    """The mail server will not take the report; trying again cannot help."""


class DoubtfulReportError(Exception):
    """The report may or may not have gone out; a person has to decide."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What became of a request to send a report."""

    run: ReportRun
    sent_now: bool
    figures: dict[str, Any]


def begun_by(job_key: str) -> LocalDay | None:
    """Return the day this job has begun to report on in an earlier attempt, None if it has not."""
    run = ReportRun.objects.filter(report=DAILY_SALES, job_key=job_key).first()
    return LocalDay(run.period_start, run.zone) if run else None


def send_daily_sales(period: LocalDay, recipients: list[str], job_key: str) -> Sending:
    """Send the report of `period` to `recipients` unless it has gone out.

    Raises `mailing.NotTakenError` to be tried again, `RefusedReportError` and `DoubtfulReportError` when
    that cannot help.
    """
    run = report_ledger.run_for(DAILY_SALES, period, job_key)
    if run.status == ReportRun.Status.SENDING and run.job_key == job_key:
        report_ledger.doubted(run, job_key, "The sender was lost while the mail server had the report.")
        run.refresh_from_db()
    if run.status == ReportRun.Status.IN_DOUBT:
        raise DoubtfulReportError(f"{run} may have been sent: {run.error} Decide in the admin.")
    if run.status in (ReportRun.Status.SENT, ReportRun.Status.SENDING):
        logger.info("%s: is %s already, by job %s", run, run.status, run.job_key)
        return Sending(run, False, run.figures)
    figures = sales_of(period)
    # Here, because the PDF library is 8 MB that every beat and every worker would carry.
    from billing.sales_pdf import sales_pdf

    pdf = sales_pdf(figures)
    file = _store(run, pdf, job_key)
    begun = report_ledger.begin(run, job_key, file=file, figures=figures.summary(), recipients=recipients)
    run.refresh_from_db()
    if not begun:
        default_storage.delete(file)
        logger.info("%s: is %s by job %s meanwhile", run, run.status, run.job_key)
        return Sending(run, False, run.figures)
    _hand_over(run, _message(run, figures, pdf), job_key)
    return Sending(run, True, run.figures)


def _store(run: ReportRun, pdf: bytes, job_key: str) -> str:
    """Keep the PDF under a name of this job's own: what another job has sent is never overwritten."""
    name = f"reports/{_file_name(run)}-{sha256(job_key.encode()).hexdigest()[:12]}.pdf"
    default_storage.delete(name)
    return default_storage.save(name, ContentFile(pdf))


def _hand_over(run: ReportRun, message: EmailMessage, job_key: str) -> None:
    try:
        receipt = mailing.hand_over(message)
    except mailing.NotTakenError as exc:
        report_ledger.not_taken(run, job_key, str(exc))
        raise
    except mailing.RefusedError as exc:
        report_ledger.refused(run, job_key, str(exc))
        raise RefusedReportError(f"{run} was refused: {exc}") from exc
    except mailing.DoubtError as exc:
        report_ledger.doubted(run, job_key, str(exc))
        raise DoubtfulReportError(f"{run} may have been sent: {exc} Decide in the admin.") from exc
    report_ledger.sent(run, job_key, receipt.refused)
    run.refresh_from_db()
    for address, why in receipt.refused.items():
        logger.warning("%s: %s was refused: %s", run, address, why)
    logger.info("%s: sent to %s", run, ", ".join(run.recipients))


def _message(run: ReportRun, figures: SalesFigures, pdf: bytes) -> EmailMessage:
    lines = [
        f"{one.currency}: {one.invoices} invoices, {written(one.billed, one.currency)} billed, "
        f"{written(one.received, one.currency)} received"
        for one in figures.currencies
    ] or ["Nothing was billed and nothing was received."]
    domain = settings.DEFAULT_FROM_EMAIL.rstrip(">").rpartition("@")[2] or "localhost"
    message = EmailMessage(
        f"Daily sales report {run.period_start} ({run.zone})",
        "\n".join([f"Sales of {run.period_start}, {run.zone}.", "", *lines, "", "Details are attached."]),
        settings.DEFAULT_FROM_EMAIL,
        run.recipients,
        headers={
            # Stable: a receiver that gets the report twice after all can tell.
            "Message-ID": f"<report-{run.pk}-{run.created_at:%Y%m%d%H%M%S%f}@{domain}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    message.attach(f"{_file_name(run)}.pdf", pdf, "application/pdf")
    return message


def _file_name(run: ReportRun) -> str:
    return f"daily-sales-{run.period_start}-{run.zone.replace('/', '-')}"


def result_of(sending: Sending) -> dict[str, Any]:
    """Return a task's result: the ids and the figures."""
    run = sending.run
    return {
        "report_run": run.pk,
        "day": run.period_start.isoformat(),
        "zone": run.zone,
        "status": run.status,
        "sent_now": sending.sent_now,
        "figures": sending.figures,
        "file": run.file.name,
        "refused": run.refused,
    }
