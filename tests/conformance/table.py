"""The table's rows, and which combination each is for."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("table.toml")

Case = Mapping[str, str]  # a combination: a value for each axis of its section

_VERSIONS = ("1.2", "1.3")
_LIBRARIES = ("pyOpenSSL", "ssl")
_CALLBACKS = ("none", "generate", "decrypt", "both")
ANSWERS = ("ABORT", "IGNORE", "IGNORE_RENEW", "USE", "USE_RENEW")

# What there is to combine, by section. The first value of an axis stands for the others where a
# program is shown one of them only.
AXES: dict[str, dict[str, tuple[str, ...]]] = {
    "answers": {
        "version": _VERSIONS,
        "library": _LIBRARIES,
        "status": ("NONE", "EMPTY", "NO_DECRYPT", "SUCCESS", "SUCCESS_RENEW"),
        "returns": ("None", *ANSWERS),
        "callbacks": _CALLBACKS,
        "key": ("none", "0", "1", "2"),
    },
    "keys": {
        "version": _VERSIONS,
        "library": _LIBRARIES,
        "ticket": ("none", "good"),
        "encrypts": ("-1", "0", "1", "2"),
        "decrypts": ("-1", "0", "1", "2"),
        "callbacks": _CALLBACKS,
    },
    "counts": {
        "version": _VERSIONS,
        "library": _LIBRARIES,
        "event": (
            "full",
            "resumed",
            "1 request",
            "1 request, read",
            "1 request, write",
            "2 requests, write",
            "1 request, do_handshake",
            "2 requests, do_handshake",
            "certificate after full",
            "certificate after full, 3 set before",
            "certificate after resumed",
            "certificate after resumed, 3 set before",
        ),
        "number": ("default", "0", "1", "2", "10"),
        "callbacks": _CALLBACKS,
    },
}


class TableError(Exception):
    """The table is not one row for each combination."""


@dataclass(frozen=True)
class Outcome:
    """What came of a combination, or is to come of it."""

    #: "full" or "resumed"; or the fatal alert that the client got, as "alert internal_error".
    handshake: str
    #: How many tickets the client received; after the handshake, in the section "counts".
    tickets: int
    #: How often ``generate`` ran; None where it is not set.
    generate: int | None
    #: The statuses that ``decrypt`` was shown; None where it is not set.
    decrypt: tuple[str, ...] | None
    #: The exception that the program got, by its type's name.
    raises: str | None


@dataclass(frozen=True)
class Row:
    """A row: a rule, and the combinations that it is for."""

    section: str
    name: str
    manual: str  # the manual's sentence; empty where it has none
    page: str
    says: str  # in our words: what the manual does not say, or why a combination cannot occur
    since: tuple[int, ...]  # the version of OpenSSL that it needs
    cannot: bool  # whether its combinations cannot occur
    when: Mapping[str, tuple[str, ...]]
    but: tuple[str, ...]  # rows whose combinations are not this row's
    expected: Mapping[str, Any]

    def meets(self, case: Case) -> bool:
        return all(case[axis] in values for axis, values in self.when.items())

    def outcome(self, case: Case) -> Outcome:
        """Returns what the row expects of *case*."""
        tickets = self._number("tickets", case)
        generate = self._number("generate", case) if "generate" in self.expected else tickets
        statuses = self._of_version("decrypt", case, _status_of(case))
        return Outcome(
            handshake=self.expected["handshake"],
            tickets=tickets,
            generate=generate if case["callbacks"] in ("generate", "both") else None,
            decrypt=tuple(statuses) if case["callbacks"] in ("decrypt", "both") else None,
            raises=self.expected.get("raises"),
        )

    def instead(self, case: Case) -> dict[str, str]:
        """Returns the combination that there is instead of *case*, which cannot occur."""
        return {**case, **self.expected["instead"]}

    def _number(self, name: str, case: Case) -> int:
        number = self._of_version(name, case)
        return int(case["number"] if number == "N" else number)

    def _of_version(self, name: str, case: Case, default: Any = None) -> Any:
        value = self.expected.get(name, default)
        return value[case["version"]] if isinstance(value, dict) else value


def _status_of(case: Case) -> list[str]:
    status = case.get("status", "NONE")
    return [] if status == "NONE" else [status]


class Table:
    """
    All rows, each combination with the one that it is of.

    A combination that cannot occur is of the row that says so, and rows that expect something are
    only for those that can.

    Raises:
        TableError: a combination is of no row or of two, or a row is of no combination; or what
            there is instead of one cannot occur either.
    """

    def __init__(self, path: Path = TABLE) -> None:
        self.rows = [
            _row(section, entry) for section in AXES for entry in _read(path).get(section, [])
        ]
        self._row_of: dict[tuple[str, tuple[str, ...]], Row] = {}
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise TableError("two rows have the same name")
        wrong: list[str] = []
        for section in AXES:
            for case in cases(section):
                wrong += self._add(section, case)
        used = {row.name for row in self._row_of.values()}
        wrong += [f"{row.name!r} is of no combination" for row in self.rows if row.name not in used]
        if wrong:
            raise TableError("\n".join(wrong))
        for section in AXES:
            for case in cases(section):
                self.expected(section, case)

    def _add(self, section: str, case: Case) -> Iterator[str]:
        rows = [row for row in self.rows if row.section == section and row.meets(case)]
        names = {row.name for row in rows}
        rows = [row for row in rows if not names.intersection(row.but)]
        rows = [row for row in rows if row.cannot] or rows
        if len(rows) == 1:
            self._row_of[section, tuple(case.values())] = rows[0]
        else:
            yield f"{section} {show(case)} is of {[row.name for row in rows] or 'no row'}"

    def row(self, section: str, case: Case) -> Row:
        """Returns the row that *case* is of."""
        return self._row_of[section, tuple(case[axis] for axis in AXES[section])]

    def expected(self, section: str, case: Case) -> Outcome:
        """
        Returns what is to come of *case*, or where it cannot occur, of what there is instead.

        Raises:
            TableError: what there is instead cannot occur either.
        """
        for _ in AXES[section]:
            row = self.row(section, case)
            if not row.cannot:
                return row.outcome(case)
            case = row.instead(case)
        raise TableError(f"{section} {show(case)} has nothing that it can be instead")


def cases(section: str) -> Iterator[dict[str, str]]:
    """Yields every combination of *section*."""
    axes = AXES[section]
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def show(case: Case) -> str:
    return ", ".join(f"{axis} {value}" for axis, value in case.items())


def _read(path: Path) -> dict[str, Any]:
    # In the standard library from 3.11 on.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    with open(path, "rb") as file:
        return dict(toml.load(file))


_TEXTS = {"name", "manual", "page", "says", "since"}
_EXPECTED = {"handshake", "tickets", "generate", "decrypt", "raises", "instead"}


def _row(section: str, entry: dict[str, Any]) -> Row:
    name = entry["name"]
    unknown = entry.keys() - _TEXTS - _EXPECTED - {"when", "but"}
    if unknown:
        raise TableError(f"{name!r} has {sorted(unknown)}")
    if bool(entry.get("manual")) != bool(entry.get("page")) or not (
        entry.get("manual") or entry.get("says")
    ):
        raise TableError(f"{name!r} has no sentence of the manual, with its page, nor our words")
    return Row(
        section=section,
        name=name,
        manual=" ".join(entry.get("manual", "").split()),
        page=entry.get("page", ""),
        says=" ".join(entry.get("says", "").split()),
        since=tuple(int(part) for part in entry.get("since", "3.0.0").split(".")),
        cannot="instead" in entry,
        when=_condition(section, name, entry["when"]),
        but=tuple(entry.get("but", [])),
        expected={key: value for key, value in entry.items() if key in _EXPECTED},
    )


def _condition(section: str, name: str, when: dict[str, Any]) -> Mapping[str, tuple[str, ...]]:
    condition = {
        axis: (values,) if isinstance(values, str) else tuple(values)
        for axis, values in when.items()
    }
    for axis, values in condition.items():
        if not set(values) <= set(AXES[section].get(axis, ())):
            raise TableError(f"{name!r}: {axis} cannot be {', '.join(values)}")
    return condition
