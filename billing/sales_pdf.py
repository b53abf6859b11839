"""The daily sales report as a PDF. Pure: figures in, bytes out."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Table, TableStyle

from billing.figures import CurrencyFigures, ProductFigures, SalesFigures
from billing.money import major_units, written

INK, MUTED = colors.HexColor("#1e293b"), colors.HexColor("#64748b")
ACCENT, SOFT = colors.HexColor("#4f46e5"), colors.HexColor("#c7d2fe")
LINE, BAND = colors.HexColor("#e2e8f0"), colors.HexColor("#f8fafc")
MARGIN = 20 * mm
WIDTH = A4[0] - 2 * MARGIN


def sales_pdf(figures: SalesFigures) -> bytes:
    """Return the report. The same figures give the same bytes."""
    regular, bold = _fonts()
    story: list[Flowable] = [*_heading(figures, regular, bold)]
    if figures.currencies:
        story += [_cards(one, regular, bold) for one in figures.currencies]
    else:
        story.append(_text("Nothing was billed and nothing was received on this day.", regular, 11))
    if figures.trend:
        title = f"Billed in {figures.trend_currency}, the last {len(figures.trend)} days"
        story += [_title(title, bold), _chart(figures, regular)]
    if figures.products:
        story += [_title("By product", bold), _product_table(figures.products, regular, bold)]
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN - 6,  # the padding of reportlab's frame
        rightMargin=MARGIN - 6,
        topMargin=18 * mm,
        bottomMargin=22 * mm,
        title=f"Daily sales report {figures.period.day.isoformat()}",
        author="Jadwal",
        invariant=1,
    )
    document.build(story, canvasmaker=_NumberedCanvas)
    return buffer.getvalue()


@cache
def _fonts() -> tuple[str, str]:
    """Register fonts that know more than Latin: DejaVu where it is installed, else reportlab's own Vera."""
    for regular, bold in (("DejaVuSans", "DejaVuSans-Bold"), ("Vera", "VeraBd")):
        try:
            for name in (regular, bold):
                pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
        except TTFError:
            continue
        return regular, bold
    return "Helvetica", "Helvetica-Bold"


class _NumberedCanvas(Canvas):
    """Writes `page x of y` once y is known."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802  (reportlab's name)
        self._pages.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined]

    def save(self) -> None:
        for page in self._pages:
            self.__dict__.update(page)
            self._footer(len(self._pages))
            super().showPage()
        super().save()

    def _footer(self, pages: int) -> None:
        self.setStrokeColor(LINE)
        self.line(MARGIN, 16 * mm, A4[0] - MARGIN, 16 * mm)
        self.setFont(_fonts()[0], 7.5)
        self.setFillColor(MUTED)
        self.drawString(MARGIN, 11 * mm, "Jadwal · daily sales report")
        self.drawRightString(A4[0] - MARGIN, 11 * mm, f"page {self.getPageNumber()} of {pages}")


def _text(words: str, font: str, size: float, color: Any = INK, **options: Any) -> Paragraph:
    style = ParagraphStyle(
        font, fontName=font, fontSize=size, leading=size * 1.35, textColor=color, **options
    )
    return Paragraph(escape(words), style)


def _title(words: str, font: str) -> Paragraph:
    return _text(words, font, 12, spaceBefore=9 * mm, spaceAfter=3 * mm, keepWithNext=1)


def _heading(figures: SalesFigures, regular: str, bold: str) -> list[Flowable]:
    period = figures.period
    hours = (period.end - period.start).total_seconds() / 3600
    span = f"{period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} UTC"
    return [
        _text("Daily sales report", bold, 20),
        _text(f"{period.day:%A, %d %B %Y}", regular, 12, ACCENT, spaceBefore=1 * mm),
        _text(f"{period.zone}: {span} ({hours:g} hours)", regular, 8.5, MUTED, spaceAfter=7 * mm),
    ]


def _cards(one: CurrencyFigures, regular: str, bold: str) -> Flowable:
    average = written(round(one.billed / one.invoices), one.currency) if one.invoices else "–"
    cells = [
        ("Billed", written(one.billed, one.currency)),
        ("Invoices", f"{one.invoices}"),
        ("Average invoice", average),
        (f"Received ({one.payments} payments)", written(one.received, one.currency)),
    ]
    rows = [
        [_text(label, regular, 7.5, MUTED) for label, _ in cells],
        [_text(value, bold, 11) for _, value in cells],
    ]
    table = Table(rows, colWidths=[WIDTH * share for share in (0.29, 0.14, 0.26, 0.31)])
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), BAND),
                ("BOX", (0, 0), (-1, -1), 0.6, LINE),
                ("LINEBEFORE", (0, 0), (0, -1), 2.5, ACCENT),
                ("TOPPADDING", (0, 0), (-1, 0), 6),
                ("BOTTOMPADDING", (0, -1), (-1, -1), 7),
                ("LEFTPADDING", (0, 0), (-1, -1), 9),
            ]
        )
    )
    table.spaceAfter = 2.5 * mm
    return table


def _chart(figures: SalesFigures, font: str) -> Drawing:
    drawing = Drawing(WIDTH, 58 * mm)
    chart = VerticalBarChart()
    chart.x, chart.y = round(15 * mm), round(9 * mm)
    chart.width, chart.height = round(WIDTH - 17 * mm), round(46 * mm)
    chart.data = [[major_units(billed, figures.trend_currency) for _, billed in figures.trend]]
    chart.barSpacing, chart.groupSpacing = 0, 7
    chart.bars[0].strokeColor = None
    for column, _ in enumerate(figures.trend):
        chart.bars[(0, column)].fillColor = ACCENT if column == len(figures.trend) - 1 else SOFT
        chart.bars[(0, column)].strokeColor = None
    days = chart.categoryAxis
    days.categoryNames = [f"{day:%d %b}" for day, _ in figures.trend]
    days.labels.fontName, days.labels.fontSize, days.labels.fillColor = font, 6.5, MUTED
    days.labels.dy = -4
    days.strokeColor, days.visibleTicks = LINE, False
    amounts = chart.valueAxis
    amounts.valueMin = 0
    amounts.valueMax = None if any(chart.data[0]) else 1
    amounts.labelTextFormat = lambda value: f"{value:,.0f}"
    amounts.labels.fontName, amounts.labels.fontSize, amounts.labels.fillColor = font, 6.5, MUTED
    amounts.strokeColor, amounts.visibleTicks = None, False
    amounts.visibleGrid, amounts.gridStrokeColor, amounts.gridStrokeWidth = True, LINE, 0.5
    drawing.add(chart)
    return drawing


def _product_table(products: list[ProductFigures], regular: str, bold: str) -> Table:
    head = ["Product", "Currency", "Quantity", "Billed"]
    rows: list[list[Any]] = [head] + [
        [
            _text(one.product, regular, 8.5),
            one.currency,
            f"{one.quantity:,}",
            written(one.billed, one.currency),
        ]
        for one in products
    ]
    shares = (0.46, 0.14, 0.14, 0.26)
    table = Table(rows, colWidths=[WIDTH * share for share in shares], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), regular, 8.5),
                ("FONT", (0, 0), (-1, 0), bold, 8),
                ("TEXTCOLOR", (0, 0), (-1, 0), MUTED),
                ("TEXTCOLOR", (0, 1), (-1, -1), INK),
                ("ALIGN", (2, 0), (-1, -1), "RIGHT"),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.8, MUTED),
                ("LINEBELOW", (0, 1), (-1, -1), 0.4, LINE),
                ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, BAND]),
            ]
        )
    )
    return table
