"""
Draws the chart of the page, from the page's table of handshakes.

    python benchmarks/chart.py docs/evidence
"""

from __future__ import annotations

import sys
from pathlib import Path

ALTERNATIVE = (
    "Rates of full and resumed TLS 1.3 handshakes, each against plain C's, by library and by the "
    "language of the ticket callbacks; the first table below has the figures"
)
EMBEDDED = "```{raw} html\n:file: benchmarks.svg\n```"
TABLE = "### ECDSA"
COLOURS = {"full": "#7a8ca3", "resumed": "#1f77b4"}


def rows_of(page: str) -> dict[str, dict[str, list[float]]]:
    """Returns the table's rows by their labels. Each handshake has [median, low, high]."""
    rows = {}
    for line in page.partition(f"{TABLE}\n")[2].strip().partition("\n\n")[0].splitlines()[2:]:
        library, callbacks, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        label = library if callbacks == "none" else f"{library}, callbacks in {callbacks}"
        rows[label] = {
            handshake: [
                float(word)
                for word in cell.replace("(", "").replace(")", "").split(" ")
                if word != "to"
            ]
            for handshake, cell in zip(COLOURS, cells, strict=False)
        }
    return rows


def draw(folder: Path) -> None:
    """Draws ``benchmarks.svg`` in *folder* from the table in ``benchmarks.md``."""
    (folder / "benchmarks.svg").write_text(svg(rows_of((folder / "benchmarks.md").read_text())))


WIDTH, ROW, BAR = 480, 60, 15  # of the picture, a row and a bar. A phone shows 3/4 of the size.


def svg(rows: dict[str, dict[str, list[float]]]) -> str:
    """Returns the picture. In a page it uses the theme's colours and font."""
    longest = max(row[handshake][0] for row in rows.values() for handshake in COLOURS)
    scale = (WIDTH - 70) / longest
    bars, names, values = [], [], []
    for number, label in enumerate(rows):
        names.append(f'<text x="0" y="{44 + ROW * number}">{label}</text>')
    for place, (handshake, colour) in enumerate(COLOURS.items()):
        bars.append(f'<rect x="{110 * place}" y="4" width="15" height="15" fill="{colour}"/>')
        names.append(f'<text x="{110 * place + 22}" y="17">{handshake}</text>')
        for number, row in enumerate(rows.values()):
            median = row[handshake][0]  # a test compares it with the table
            y = 50 + ROW * number + (BAR + 1) * place
            bars.append(
                f'<rect x="0" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            values.append(f'<text x="{median * scale + 6:.1f}" y="{y + 13}">{median:.3g}</text>')
    names.append('<text x="230" y="17">handshake rate; plain C is 1</text>')
    height = 50 + ROW * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{ALTERNATIVE}" style="max-width: 560px; width: 100%; height: auto; '
        "color: var(--color-foreground-primary, currentColor); font-family: inherit; "
        'font-size: 15px">',
        *bars,
        '<g fill="currentColor">',
        *names,
        *values,
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
