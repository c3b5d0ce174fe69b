"""What the benchmarks share: rounds in which each variant has its turn, and ratios with spread."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Mapping


def measure(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """
    Calls each of *variants* once in each of the *rounds*, in random order.

    Returns:
        What the variants returned, by name: seconds for one operation, say.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
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
    """Divides value by value, each by that of the same round."""
    return [a / b for a, b in zip(dividends, divisors, strict=True)]


def spread(values: list[float], form: str) -> str:
    """Returns the median and the quartiles of *values*, each formatted as *form* says."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:{form}} ({low:{form}} to {high:{form}})"
