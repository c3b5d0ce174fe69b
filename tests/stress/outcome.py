"""What a part of the stress run has to say, and how much memory there is in use."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


@dataclass
class Outcome:
    """One row of a table, and what was not as it has to be."""

    row: dict[str, str]
    failures: list[str] = field(default_factory=list)


class Memory(NamedTuple):
    """
    What this process holds.

    *resident* is what the promise is about. The other two tell a leak from noise: they do not move
    by whole pages. *heap* is 0 where the C library does not tell (it is glibc's ``mallinfo2``).
    """

    resident: int  # bytes
    heap: int  # bytes that malloc has given out
    objects: int  # blocks that Python's allocator has given out

    @staticmethod
    def now() -> Memory:
        """Measures, once all garbage is collected."""
        gc.collect()
        return Memory(_resident(), _heap(), sys.getallocatedblocks())

    def since(self, before: Memory) -> Memory:
        return Memory(*(now - then for now, then in zip(self, before, strict=True)))


def _resident() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # at least as much
    return peak if sys.platform == "darwin" else peak * 1024


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    )
    uordblks: int
    hblkhd: int


_mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
if _mallinfo2 is not None:
    _mallinfo2.restype = _Mallinfo2

HEAP_IS_KNOWN = _mallinfo2 is not None


def _heap() -> int:
    if _mallinfo2 is None:
        return 0
    told = _mallinfo2()
    return int(told.uordblks + told.hblkhd)


def kilobytes(count: float) -> str:
    return f"{count / 1000:,.0f} kB"
