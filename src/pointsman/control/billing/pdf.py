"""PDF: a sheet as PDF, with ReportLab, which is the extra `billing`. The same sheet and font give the same bytes.

Fonts are embedded. That of the library has the letters of Western Europe; a name with others asks for a font of the operator's.
Nothing is printed as a box or a question mark: a character that the font does not have is an error that names it.
"""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import Any

from pointsman.control.billing.sheet import Sheet
from pointsman.core.billing import digest
from pointsman.core.invoice import NoLibrary, Refused

MISSING = "PDF needs a library that is not installed: pip install 'pointsman[billing]', or pip install reportlab"
MARGIN = 48.0  # points
PADDING = 6.0  # of the library's frame
SIZE, SMALL = 8.0, 7.0
MOST_SHOWN = 8  # characters that a font does not have


def pdf_of(sheet: Sheet, font: str = "") -> bytes:
    """Return the whole document. `font`: path of a TrueType file; "": the library's own. Raise NoLibrary, Refused."""
    try:
        from reportlab.lib.pagesizes import A4
        from reportlab.platypus import SimpleDocTemplate
    except ImportError:
        raise NoLibrary(MISSING) from None
    body, bold = _fonts(font)
    _check(sheet, body, font)
    _check(sheet, bold, font)
    title = f"{sheet.title} {sheet.number}".strip()
    file = io.BytesIO()
    made = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=title,
        author=sheet.issuer[0] if sheet.issuer else "",
        creator="pointsman",
        producer="pointsman",
        invariant=1,
    )

    def foot(canvas: Any, page: Any) -> None:
        canvas.saveState()
        canvas.setFont(body.fontName, SMALL)
        canvas.drawRightString(A4[0] - MARGIN, MARGIN / 2, f"{title} · page {page.page}")
        canvas.restoreState()

    made.build(
        _story(sheet, body.fontName, bold.fontName, made.width - 2 * PADDING), onFirstPage=foot, onLaterPages=foot
    )
    return file.getvalue()


def _fonts(given: str) -> tuple[Any, Any]:
    """Return the fonts for text and for what is bold."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    files = (given, given) if given else ("Vera.ttf", "VeraBd.ttf")
    made = []
    for kind, file in zip(("text", "bold"), files, strict=True):
        try:
            font = TTFont(f"{kind} {digest(file.encode())}", file)  # the library never gives a name to another font
        except (TTFError, OSError) as error:
            raise Refused(f"{given or file} cannot be used as a font: {error}") from None
        pdfmetrics.registerFont(font)
        made.append(font)
    return made[0], made[1]


def _check(sheet: Sheet, font: Any, given: str) -> None:
    cells = [cell for row in sheet.rows for cell in row] + [
        part for pair in (*sheet.head, *sheet.sums) for part in pair
    ]
    texts = (sheet.title, sheet.number, sheet.warning, sheet.end, *sheet.issuer, *sheet.customer, *cells)
    missing = sorted({c for text in texts for c in text if c != "\n" and ord(c) not in font.face.charToGlyph})
    if missing:
        shown = " ".join(f"{c} (U+{ord(c):04X})" for c in missing[:MOST_SHOWN])
        name = Path(given).name if given else "the font that comes with the library"
        raise Refused(
            f"{name} has not {shown}: set billing.font to a TrueType file that has them, such as DejaVuSans.ttf of the "
            "package fonts-dejavu-core"
        )


def _story(sheet: Sheet, body: str, bold: str, width: float) -> list[Any]:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph, Spacer

    text = ParagraphStyle("text", fontName=body, fontSize=SIZE, leading=SIZE * 1.4)
    title = ParagraphStyle("title", fontName=bold, fontSize=SIZE * 2, leading=SIZE * 3)
    warning = ParagraphStyle("warning", parent=text, borderWidth=0.7, borderColor="#aa6600", borderPadding=4)

    def lines(parts: tuple[str, ...], first: str) -> Any:
        return Paragraph("<br/>".join([f"<b>{first}</b>", *map(escape, parts)]).replace("<b>", f'<font name="{bold}">')
                         .replace("</b>", "</font>"), text)  # fmt: skip

    head = tuple(f"{name}: {value}" for name, value in sheet.head)
    story: list[Any] = [Paragraph(escape(f"{sheet.title} {sheet.number}".strip()), title)]
    story += [_parties([lines(head, "Facts"), lines(sheet.issuer, "From"), lines(sheet.customer, "To")], width)]
    story += [Spacer(1, 14)]
    if sheet.warning:
        story += [Paragraph(escape(sheet.warning), warning), Spacer(1, 14)]
    if sheet.rows:
        story.append(_lines(sheet, body, bold, width, text))
    story += [Spacer(1, 10), _sums(sheet, body, bold)]
    if sheet.end:
        story += [Spacer(1, 14), Paragraph(escape(sheet.end).replace("\n", "<br/>"), text)]
    return story


def _parties(cells: list[Any], width: float) -> Any:
    from reportlab.platypus import Table

    style: list[Any] = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
    return Table([cells], colWidths=[width / 3] * 3, style=style, hAlign="LEFT")


def _lines(sheet: Sheet, body: str, bold: str, width: float, text: Any) -> Any:
    """Return the table; its second column has the room that the others leave, and is broken where it has to be."""
    from reportlab.pdfbase.pdfmetrics import stringWidth
    from reportlab.platypus import LongTable, Paragraph

    titles = [one.removeprefix("> ") for one in sheet.columns]
    gap = 8.0
    widths = [
        max(
            stringWidth(titles[i], bold, SMALL), *(stringWidth(row[i], body, SMALL) for row in sheet.rows)
        ) + gap
        for i in range(len(titles))
    ]  # fmt: skip
    widths[1] = max(60.0, width - sum(widths) + widths[1])
    narrow = text.clone("narrow", fontSize=SMALL, leading=SMALL * 1.25, splitLongWords=1)
    rows: list[list[Any]] = [titles]
    for row in sheet.rows:
        fits = stringWidth(row[1], body, SMALL) + gap <= widths[1]
        rows.append([row[0], row[1] if fits else Paragraph(escape(row[1]), narrow), *row[2:]])
    style: list[Any] = [
        ("FONT", (0, 0), (-1, -1), body, SMALL),
        ("FONT", (0, 0), (-1, 0), bold, SMALL),
        ("LINEBELOW", (0, 0), (-1, -1), 0.3, "#bbbbbb"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), gap / 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), gap / 2),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
    style += [("ALIGN", (i, 0), (i, -1), "RIGHT") for i, one in enumerate(sheet.columns) if one.startswith("> ")]
    return LongTable(rows, colWidths=widths, repeatRows=1, style=style, hAlign="LEFT")


def _sums(sheet: Sheet, body: str, bold: str) -> Any:
    from reportlab.platypus import Table

    style: list[Any] = [
        ("FONT", (0, 0), (-1, -1), body, SIZE),
        ("FONT", (0, -1), (-1, -1), bold, SIZE),
        ("ALIGN", (1, 0), (1, -1), "RIGHT"),
        ("LINEABOVE", (0, -1), (-1, -1), 0.7, "#111111"),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ]
    return Table([list(row) for row in sheet.sums], style=style, hAlign="RIGHT")
