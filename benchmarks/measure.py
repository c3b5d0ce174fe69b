"""What the benchmarks share: rounds with all variants, and ratios with their spread."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def measure(variants: Mapping[Name, Callable[[], float]], rounds: int) -> dict[Name, list[float]]:
    """
    Calls each of *variants* once in each of the *rounds*, in random order.

    A noisy machine slows all variants of a round alike, so only the ratios within a round count.
    (pyperf cannot do this, because it measures one command at a time.)

    Returns:
        The results of the variants by name, for example seconds for one operation.
    """
    times: dict[Name, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for name in random.sample(list(variants), len(variants)):
                times[name].append(variants[name]())
            if turn % 10 == 0:
                gc.collect()
    finally:
        gc.enable()
    return times


def ratios(dividends: list[float], divisors: list[float]) -> list[float]:
    """Divides the values of each round by each other."""
    return [a / b for a, b in zip(dividends, divisors, strict=True)]


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Returns the lower quartile, the median and the upper quartile."""
    low, median, high = statistics.quantiles(values, n=4)
    return low, median, high


def spread(values: list[float], form: str) -> str:
    """Returns the median and the quartiles of *values*, each formatted as *form* says."""
    low, median, high = quartiles(values)
    return f"{median:{form}} ({low:{form}} to {high:{form}})"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table in Markdown. All columns but the first are aligned to the right."""
    names = list(header)
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
