"""The admin of billing. What was issued or sent is a log: it can be read, not rewritten."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from billing import report_ledger
from billing.models import Customer, Invoice, InvoiceLine, ReportRun
from billing.money import written


class ReadOnly:
    """Nobody adds, changes or deletes these rows by hand."""

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Customer)
class CustomerAdmin(ModelAdmin):  # type: ignore[misc]
    """People who are billed."""

    list_display = ("name", "email", "time_zone", "created_at")
    search_fields = ("name", "email")


class LineInline(ReadOnly, TabularInline):  # type: ignore[misc]
    """The lines of an invoice."""

    model = InvoiceLine
    fields = ("product", "quantity", "unit_amount", "amount")
    extra = 0


@admin.register(Invoice)
class InvoiceAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    """What was billed."""

    list_display = ("__str__", "customer", "shown_status", "shown_total", "issued_at", "paid_at")
    list_filter = ("status", "currency", "issued_at")
    search_fields = ("number", "customer__name")
    list_select_related = ("customer",)
    ordering = ("-issued_at", "-id")
    inlines = (LineInline,)

    @display(description="total", ordering="total")  # type: ignore[untyped-decorator]
    def shown_total(self, invoice: Invoice) -> str:
        return written(invoice.total, invoice.currency)

    @display(  # type: ignore[untyped-decorator]
        description="status",
        ordering="status",
        label={"paid": "success", "open": "info", "void": "warning", "draft": "info"},
    )
    def shown_status(self, invoice: Invoice) -> tuple[str, str]:
        return invoice.status, invoice.get_status_display()


@admin.register(ReportRun)
class ReportRunAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    """Which reports went out."""

    list_display = (
        "period_start",
        "report",
        "zone",
        "shown_status",
        "invoices",
        "sent_at",
        "download",
        "error",
    )
    list_filter = ("report", "status", "zone")
    actions = ("send_again",)

    @display(  # type: ignore[untyped-decorator]
        description="status",
        ordering="status",
        label={
            "sent": "success",
            "failed": "danger",
            "in_doubt": "warning",
            "sending": "info",
            "pending": "info",
        },
    )
    def shown_status(self, run: ReportRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description="invoices")  # type: ignore[untyped-decorator]
    def invoices(self, run: ReportRun) -> str:
        return str(run.figures.get("invoices", ""))

    @display(description="PDF")  # type: ignore[untyped-decorator]
    def download(self, run: ReportRun) -> str:
        if not run.file:
            return ""
        return format_html('<a href="{}">PDF</a>', reverse("admin:billing_reportrun_pdf", args=[run.pk]))

    def get_urls(self) -> list[URLPattern]:
        pdf = path("<int:pk>/pdf", self.admin_site.admin_view(self.pdf_view), name="billing_reportrun_pdf")
        return [pdf, *super().get_urls()]

    def pdf_view(self, request: HttpRequest, pk: int) -> FileResponse:
        """Send the PDF to who may see the run."""
        run = get_object_or_404(ReportRun.objects.exclude(file=""), pk=pk)
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        return FileResponse(run.file.open("rb"), as_attachment=True, filename=PurePath(str(run.file)).name)

    @admin.action(description="In doubt: allow it to be sent again", permissions=["decide"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[ReportRun]) -> None:
        """Let the next run of the report's job send it."""
        for run in queryset:
            if report_ledger.allow_again(run):
                self.log_change(request, run, "Allowed to be sent again.")
                self.message_user(request, f"{run}: replay its job to send it.")
            else:
                self.message_user(request, f"{run} is not in doubt.", messages.WARNING)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("billing.change_reportrun"))
