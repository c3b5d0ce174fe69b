"""The conformance table covers every combination, and the command fails where it is wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import openssl_tickets
from tests.conformance.__main__ import PAGE, main
from tests.conformance.report import expectation
from tests.conformance.table import AXES, TABLE, Case, Outcome, Table, TableError, cases

pytestmark = pytest.mark.slow


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], Path]:
    """``changed(old, new)`` is a copy of the table with *old*, which is in it once, replaced."""

    def changed(old: str, new: str) -> Path:
        text = TABLE.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path = tmp_path / "table.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return changed


@pytest.fixture(scope="module")
def table() -> Table:
    return Table()


def entry(name: str) -> str:
    """Returns the lines of the row with this name."""
    found = re.search(
        rf'^\[\[\w+\]\]\nname = "{re.escape(name)}"\n.*?(?=\n\n|\Z)',
        TABLE.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None
    return found[0]


class TestTable:
    def test_every_combination_is_of_one_row(self, table: Table) -> None:
        """Each combination has its row, each row one, and of each something is expected."""
        used = Counter(table.row(section, case).name for section in AXES for case in cases(section))
        assert used.keys() == {row.name for row in table.rows}
        for section in AXES:
            for case in cases(section):
                assert table.expected(section, case).tickets >= 0

    def test_has_the_combinations_of_the_issue(self) -> None:
        """The axes have every value that is to be shown."""
        answers, counts = AXES["answers"], AXES["counts"]
        assert answers["version"] == counts["version"] == ("1.2", "1.3")
        assert answers["library"] == counts["library"] == ("pyOpenSSL", "ssl")
        assert {"EMPTY", "NO_DECRYPT", "SUCCESS", "SUCCESS_RENEW"} <= set(answers["status"])
        assert set(answers["returns"]) == {
            "None",
            "ABORT",
            "IGNORE",
            "IGNORE_RENEW",
            "USE",
            "USE_RENEW",
        }
        assert answers["callbacks"] == ("none", "generate", "decrypt", "both")
        assert answers["key"] == ("none", "0", "1", "2")
        assert {"0", "1", "2", "10"} <= set(counts["number"])

    def test_each_row_has_a_sentence(self, table: Table) -> None:
        """A row quotes the manual and names the page, or says that the manual does not say it."""
        for row in table.rows:
            if row.manual:
                assert row.page.startswith("SSL_"), row.name
            else:
                assert "manual does not say" in row.says, row.name

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (entry("EMPTY"), "", "returns None, .* is of no row"),
            (
                entry("EMPTY"),
                entry("EMPTY") + "\n\n" + entry("EMPTY").replace('"EMPTY"\n', '"again"\n', 1),
                r"is of \['EMPTY', 'again'\]",
            ),
            (
                'when = { status = "EMPTY", returns = "None" }',
                'when = { version = "1.3", status = "EMPTY", returns = "None" }',
                "'EMPTY' is of no combination",
            ),
            ('name = "EMPTY"', 'name = "ABORT"', "two rows have the same name"),
            ('status = "EMPTY", returns', 'status = "FULL", returns', "status cannot be FULL"),
            ('status = "EMPTY", returns', 'state = "EMPTY", returns', "state cannot be EMPTY"),
            (
                re.search(r"page = .*", entry("EMPTY"), re.DOTALL)[0],  # type: ignore[index]
                "",
                "'EMPTY' has no sentence",
            ),
            (
                entry("EMPTY in TLS 1.3"),
                entry("EMPTY in TLS 1.3").replace('"NONE"', '"EMPTY"'),
                "has nothing that it can be instead",
            ),
        ],
        ids=lambda value: value[:30] if isinstance(value, str) else None,
    )
    def test_refused(
        self, changed: Callable[[str, str], Path], old: str, new: str, message: str
    ) -> None:
        """A table that is not one row for each combination is refused, and it is said why."""
        with pytest.raises(TableError, match=message):
            Table(changed(old, new))


class TestCommand:
    def test_succeeds(self, capsys: pytest.CaptureFixture[str]) -> None:
        """It runs a row in memory and with both programs, and writes what it has seen."""
        assert main(["--row", "EMPTY"]) == 0
        written = capsys.readouterr()
        assert written.err == "1 rows, 32 combinations, 0 deviations\n"
        (line,) = re.findall(r"^\| \*\*1\. EMPTY\*\*.*$", written.out, re.MULTILINE)
        cells = line.split(" | ")
        assert cells[1] == cells[2] == "full; 1 ticket; generate: 1; decrypt: EMPTY"
        assert cells[3:7] == ["16 of 16", "16 of 16", "2 of 2", "3 of 3"]

    @pytest.mark.parametrize(
        ("name", "right", "wrong", "observers"),
        [
            ("EMPTY", "tickets = 1", "tickets = 2", ["pyOpenSSL", "ssl", "s_client", "s_server"]),
            ("EMPTY", '"full"', '"resumed"', ["pyOpenSSL", "ssl", "s_client", "s_server"]),
            ("EMPTY", "tickets = 1", "tickets = 1\ngenerate = 0", ["pyOpenSSL", "ssl", "s_client"]),
            (
                "its key: -1",
                "internal_error",
                "handshake_failure",
                ["pyOpenSSL", "ssl", "s_client"],
            ),
            ("its key: -1", "decrypt = []", 'decrypt = ["SUCCESS"]', ["ssl", "s_client"]),
            (
                "SUCCESS in TLS 1.3 by itself",
                "SUCCESS_RENEW",
                "NO_DECRYPT",
                ["pyOpenSSL", "ssl", "s_client"],
            ),
        ],
    )
    def test_fails(
        self,
        changed: Callable[[str, str], Path],
        capsys: pytest.CaptureFixture[str],
        name: str,
        right: str,
        wrong: str,
        observers: list[str],
    ) -> None:
        """Where the table is wrong, the exit status says so, and each deviation is listed."""
        table = changed(entry(name), entry(name).replace(right, wrong))
        assert main(["--table", str(table), "--row", name]) == 1
        written = capsys.readouterr()
        assert "## Deviations" in written.out
        for observer in observers:
            assert f"{name!r}, by {observer}: version 1." in written.err
        assert "there was Outcome(" in written.err

    def test_leaves_out_what_is_too_new(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What an older OpenSSL does not do is not run, and counted apart."""
        monkeypatch.setattr(openssl_tickets, "OPENSSL_VERSION", "OpenSSL 3.0.2 15 Mar 2022")
        assert main(["--row", "one request, then do_handshake"]) == 0
        written = capsys.readouterr().out
        assert "| left out, as this OpenSSL is too old | 40 |" in written
        assert "| seen by pyOpenSSL | 0 combinations, of 0 rows |" in written

    def test_unknown_row(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A row that is not there is said to be missing."""
        assert main(["--row", "no such"]) == 2
        assert "no such" in capsys.readouterr().err


class TestPage:
    def test_agrees_with_the_table(self, table: Table) -> None:
        """The committed page has every row of the table and no other, as the table has it now."""
        text = PAGE.read_text(encoding="utf-8")
        cells = {
            found[1]: found[0].split(" | ")
            for found in re.finditer(r"^\| \*\*\d+\. (.*?)\*\*<br>.*$", text, re.MULTILINE)
        }
        expected: dict[str, list[tuple[Case, Outcome]]] = {row.name: [] for row in table.rows}
        for section in AXES:
            for case in cases(section):
                name = table.row(section, case).name
                expected[name].append((case, table.expected(section, case)))
        assert cells.keys() == expected.keys()
        for row in table.rows:
            assert cells[row.name][1] == expectation(row, expected[row.name])
            assert row.manual in cells[row.name][-1]
            assert row.says in cells[row.name][-1]

    def test_has_seen_all(self, table: Table) -> None:
        """It was written by a run of all combinations, and all came to what was expected."""
        text = PAGE.read_text(encoding="utf-8")
        cannot = Counter(
            table.row(section, case).cannot for section in AXES for case in cases(section)
        )
        assert f"| combinations | {cannot[False]}, and {cannot[True]} that cannot occur |" in text
        assert "| deviations | 0 |" in text
        agreements = re.findall(r" (\d+) of (\d+) (?=\|)", text)
        assert len(agreements) > 3 * len(table.rows)
        assert all(same == tried for same, tried in agreements)
