"""
The page's one chart, drawn with Matplotlib from the page's own table of handshakes.

    python benchmarks/chart.py docs/evidence
"""

from __future__ import annotations

import sys
from pathlib import Path

ALTERNATIVE = (
    "Rates of full and resumed TLS 1.3 handshakes, each against plain C's, by library and by the "
    "language of the ticket callbacks; the first table below has the figures"
)
TABLE = "### ECDSA"
COLOURS = {"full": "#7a8ca3", "resumed": "#1f77b4"}


def rows_of(page: str) -> dict[str, dict[str, list[float]]]:
    """Returns the table's rows: a label, and for each kind of handshake [median, low, high]."""
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
    """Draws what ``benchmarks.md`` in *folder* says into ``benchmarks.svg`` beside it."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    rows = rows_of((folder / "benchmarks.md").read_text())
    # Text stays text, and the same figures make the same file.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "openssl_tickets"}):
        figure, axes = pyplot.subplots(figsize=(7.5, 0.5 * len(rows)), layout="constrained")
        for offset, (handshake, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
            figures = [row[handshake] for row in rows.values()]
            bars = axes.barh(
                [position + offset for position in range(len(rows))],
                [median for median, *_ in figures],
                0.38,
                color=colour,
                label=handshake,
            )
            # As in the table, so that a test can compare them.
            axes.bar_label(bars, [f"{median:.3g}" for median, *_ in figures], padding=2, size=8)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.invert_yaxis()
        axes.set_xlabel("handshakes a second, against plain C's of the same kind (ECDSA)")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / "benchmarks.svg", format="svg", metadata={"Date": None})
        pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
