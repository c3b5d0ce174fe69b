"""What a callback costs: resumptions with callbacks, compared to none in the same round."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.handshakes import decrypt, generate, python_callbacks
from benchmarks.libraries import LIBRARIES, Install, c_callbacks, make_certificates, nothing
from benchmarks.limits import bare_callbacks, empty_callbacks
from benchmarks.measure import measure, ratios, spread, table
from openssl_tickets import set_session_ticket_callback

INSTALLS: dict[str, Install] = {
    "none": nothing,
    "none again": nothing,
    "C": c_callbacks,
    "empty": empty_callbacks,
    "bare": bare_callbacks,
    "Python": python_callbacks,
    "Python, generate only": lambda context: set_session_ticket_callback(context, generate),
    "Python, decrypt only": lambda context: set_session_ticket_callback(context, None, decrypt),
}


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections."""
    rounds, times = max(4, round(600 * scale)), 10
    certificates = make_certificates(folder)
    rows = []
    for name, library in LIBRARIES.items():
        variants = {
            callbacks: library(certificates, install) for callbacks, install in INSTALLS.items()
        }
        seconds = measure(
            {
                callbacks: partial(variant.seconds, variant.session, times)
                for callbacks, variant in variants.items()
            },
            rounds,
        )
        none = seconds.pop("none")
        for callbacks, values in seconds.items():
            costs = [(ours - theirs) * 1e6 for ours, theirs in zip(values, none, strict=True)]
            rows.append(
                [name, callbacks, spread(ratios(none, values), ".4f"), spread(costs, ".1f")]
            )
        for base in ("C", "bare"):
            python = spread(ratios(seconds[base], seconds["Python"]), ".4f")
            rows.append([name, f"Python, against {base}", python, ""])
    yield (
        "## Callbacks\n\n"
        f"TLS 1.3 resumptions (ECDSA), {rounds} rounds of {times} for each row, compared to no "
        "callback in the same round: medians (quartiles). `none again` shows the noise. `empty` "
        "and `bare` are callbacks in Python without this package. The first do nothing. The second "
        "call the program's functions straight away: no layer on cffi can be faster.\n\n"
        + table(("library", "callbacks", "rate", "microseconds for a resumption"), rows)
    )
