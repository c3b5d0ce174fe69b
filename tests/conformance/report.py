"""What was seen, as Markdown."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Sequence

import openssl_tickets
from tests.conformance.run import OBSERVERS, Seen
from tests.conformance.table import Case, Outcome, Row

COMMAND = "tox run -e conformance"

_SECTIONS = {
    "answers": (
        "What decrypt answers",
        "The client has no ticket (NONE), or one with this status. The ticket key callback (key) "
        "returns this value when it decrypts, and 1 when it encrypts.",
    ),
    "keys": (
        "What a ticket key callback answers",
        "The client offers no ticket or a valid one. The ticket key callback returns this value. "
        "If decrypt is set, it returns None.",
    ),
    "counts": (
        "How many tickets",
        "num_tickets is set to a number, or not set (default). The page counts the tickets of the "
        "event. Tickets after requests and certificates come in addition to those of the "
        "handshake.",
    ),
}


def markdown(results: Sequence[Seen]) -> str:
    """Returns the whole document."""
    parts = [_header(results)]
    number = 1
    for section, (title, text) in _SECTIONS.items():
        of_section = [seen for seen in results if seen.row.section == section]
        for cannot in (False, True):
            chosen = [seen for seen in of_section if seen.row.cannot is cannot]
            if not chosen:
                continue
            lines = [_line(number + index, seen) for index, seen in enumerate(chosen)]
            number += len(chosen)
            if cannot:
                title, text = f"{title}: what cannot occur", _CANNOT
            parts.append(f"## {title}\n\n{text}\n\n{_HEADS}\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


_CANNOT = (
    "These combinations are impossible. For each one, the nearest possible combination was run, "
    "and behaved as expected."
)

_HEADS = (
    "| row | expected | seen | pyOpenSSL | ssl | s_client | s_server | the manual |\n"
    "|---|---|---|---|---|---|---|---|"
)


def _header(results: Sequence[Seen]) -> str:
    deviations = [text for seen in results for text in seen.deviations]
    program = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True)
    can = [seen for seen in results if not seen.row.cannot]
    cannot = [seen for seen in results if seen.row.cannot]
    lines = [
        "# Conformance",
        "",
        "The command below writes this page from its results, so do not edit it. "
        "`tests/conformance/table.toml` has the expected result of each row, with the sentence of "
        "the manual.",
        "",
        "| | |",
        "|---|---|",
        f"| command | `{COMMAND}` |",
        f"| libssl | {openssl_tickets.OPENSSL_VERSION} |",
        f"| `openssl` program | {' '.join(program.stdout.split()[:5])} |",
        f"| Python | {platform.python_implementation()} {platform.python_version()} |",
        f"| pyOpenSSL | {importlib.metadata.version('pyOpenSSL')} |",
        f"| rows | {len(can)}, and {len(cannot)} for what cannot occur |",
        f"| combinations | {_total(can)}, and {_total(cannot)} that cannot occur |",
    ]
    if left_out := sum(seen.left_out for seen in results):
        lines.append(f"| left out, as this OpenSSL is too old | {left_out} |")
    for observer in OBSERVERS:
        count = sum(seen.tried[observer] for seen in results)
        rows = sum(bool(seen.tried[observer]) for seen in results)
        lines.append(f"| seen by {observer} | {count} combinations, of {rows} rows |")
    lines.append(f"| deviations | {len(deviations)} |")
    lines += [
        "",
        "Each combination belongs to one row. It runs in memory, with a server and a client of "
        "pyOpenSSL (the drop-in) and of the standard `ssl`. Some combinations of each row also run "
        "over loopback, with the real `openssl s_client` as the client. Some combinations without "
        "callbacks also run with the real `openssl s_server`, which does not use this package. All "
        "of them must have the expected result. The columns count the combinations that had it.",
        "",
        "Every combination also checks these rules. Callbacks run only if they are set. decrypt "
        "gets a session and application data only if the status is SUCCESS or SUCCESS_RENEW, and "
        "then always. Both sides agree on whether the session was resumed. OpenSSL's error queue "
        "is empty.",
        "",
        "`generate: 2` says how often generate ran, and `decrypt` lists the statuses that it got. "
        "`ValueError` and `Error` are the exceptions that the program gets.",
    ]
    if deviations:
        lines += ["", "## Deviations", "", "```", *deviations, "```"]
    return "\n".join(lines)


def _total(results: Iterable[Seen]) -> int:
    return sum(seen.combinations for seen in results)


def _line(number: int, seen: Seen) -> str:
    row = seen.row
    observed = [one for observer in OBSERVERS for one in seen.observed[observer]]
    cells = [
        f"**{number}. {row.name}**<br>{_when(row)}",
        expectation(row, seen.expected),
        _shown(observed) if row.cannot else "<br>".join(_texts(observed)),
        *(_agreement(seen, observer) for observer in OBSERVERS),
        _sentence(row),
    ]
    return f"| {' | '.join(cells)} |"


def expectation(row: Row, expected: Sequence[tuple[Case, Outcome]]) -> str:
    """Says what *row* expects of its combinations."""
    return _instead(row) if row.cannot else "<br>".join(_texts(expected))


def _when(row: Row) -> str:
    return "; ".join(f"{axis}: {' / '.join(values)}" for axis, values in row.when.items())


def _instead(row: Row) -> str:
    there_is = ", ".join(f"{axis} {value}" for axis, value in row.expected["instead"].items())
    return f"cannot occur; instead there is {there_is}"


def _shown(outcomes: Sequence[tuple[Case, Outcome]]) -> str:
    """Says what decrypt was shown."""
    shown = {_statuses(outcome.decrypt) for _, outcome in outcomes if outcome.decrypt is not None}
    return f"decrypt: {', '.join(sorted(shown))}" if shown else "decrypt: not asked"


def _agreement(seen: Seen, observer: str) -> str:
    """Says how many of the combinations came to what was expected of them."""
    tried = seen.tried[observer]
    return f"{tried - seen.differ[observer]} of {tried}" if tried else "-"


def _texts(outcomes: Sequence[tuple[Case, Outcome]]) -> list[str]:
    """Says what *outcomes* are; by TLS version or num_tickets, where these make a difference."""
    for axis, name in (("", ""), ("version", "TLS "), ("number", "num_tickets ")):
        groups = _by(axis, outcomes)
        if all(_is_uniform(group) for group in groups.values()):
            return [
                (f"{name}{value}: " if axis else "") + _text([outcome for _, outcome in group])
                for value, group in groups.items()
            ]
    return sorted({_text([outcome]) for _, outcome in outcomes})


def _by(
    axis: str, outcomes: Sequence[tuple[Case, Outcome]]
) -> dict[str, list[tuple[Case, Outcome]]]:
    groups: dict[str, list[tuple[Case, Outcome]]] = {}
    for case, outcome in outcomes:
        groups.setdefault(case.get(axis, ""), []).append((case, outcome))
    return dict(sorted(groups.items(), key=lambda one: (len(one[0]), one[0])))


def _is_uniform(group: Sequence[tuple[Case, Outcome]]) -> bool:
    """Whether these differ only in what the callbacks that are set make different."""
    outcomes = [outcome for _, outcome in group]
    statuses = {case.get("status") for case, _ in group}
    return (
        len({(one.handshake, one.tickets, one.raises) for one in outcomes}) == 1
        and len({one.generate for one in outcomes} - {None}) <= 1
        and len({one.decrypt for one in outcomes} - {None}) <= len(statuses)
    )


def _text(outcomes: Sequence[Outcome]) -> str:
    """Says what *outcomes* are, which differ in what the callbacks saw only."""
    first = outcomes[0]
    words = [first.handshake, "1 ticket" if first.tickets == 1 else f"{first.tickets} tickets"]
    for count in sorted({one.generate for one in outcomes if one.generate is not None}):
        words.append(f"generate: {count}")
    statuses = sorted({_statuses(one.decrypt) for one in outcomes if one.decrypt is not None})
    if statuses:
        words.append(f"decrypt: {', '.join(statuses)}")
    if first.raises:
        words.append(first.raises)
    return "; ".join(words)


def _statuses(statuses: tuple[str, ...]) -> str:
    return " and ".join(statuses) or "not asked"


def _sentence(row: Row) -> str:
    quoted = f"“{row.manual}” {row.page}(3)" if row.manual else ""
    return "<br>".join(text for text in (quoted, row.says) if text)
