"""The page's one chart, drawn with Matplotlib: full and resumed handshakes against plain C's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.handshakes import BASE, Variant

ALTERNATIVE = (
    "Rates of full and resumed TLS 1.3 handshakes against full ones in plain C, by library and by "
    "the language of the ticket callbacks; the tables below have the figures"
)
COLOURS = {"full": "#7a8ca3", "resumed": "#1f77b4"}


def write(path: Path, rates: Mapping[Variant, tuple[float, float, float]]) -> None:
    """Draws *rates* (lower quartile, median, upper quartile) into the SVG file at *path*."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    rates = {BASE: (1.0, 1.0, 1.0), **rates}
    groups = list(dict.fromkeys((each.library, each.callbacks) for each in rates))
    # Text stays text, and the same figures make the same file.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "openssl_tickets"}):
        figure, axes = pyplot.subplots(figsize=(7.5, 4.2), layout="constrained")
        for offset, (handshake, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
            bars = [rates[Variant(*group, handshake)] for group in groups]
            axes.barh(
                [position + offset for position in range(len(groups))],
                [median for _, median, _ in bars],
                0.38,
                xerr=[
                    [median - low for low, median, _ in bars],
                    [high - median for _, median, high in bars],
                ],
                color=colour,
                error_kw={"elinewidth": 1, "capsize": 2},
                label=handshake,
            )
        axes.set_yticks(
            range(len(groups)),
            [
                f"{library}, callbacks in {callbacks}" if callbacks != "none" else library
                for library, callbacks in groups
            ],
        )
        axes.invert_yaxis()
        axes.set_xlabel("handshakes a second, against full ones in plain C (ECDSA)")
        axes.legend(loc="lower right", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)
