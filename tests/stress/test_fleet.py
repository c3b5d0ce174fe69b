"""The simulated fleet in a small size, and that it finds what it is there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes

pytest.importorskip("redis")

from tests.stress import fleet

pytestmark = pytest.mark.slow

FLEET = Path(__file__).with_name("fleet.py")


def test_small(tmp_path: Path) -> None:
    """The command shows what is lost, and writes its page and the chart."""
    result = subprocess.run(
        [
            *(sys.executable, str(FLEET), "--hosts", "50", "--clients", "2000"),
            *("--write", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=4 * processes.TIMEOUT,
    )
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "fleet.md").read_text()
    assert page.strip() in result.stdout
    picture = (tmp_path / "fleet.svg").read_text()
    assert picture == fleet.svg(fleet.rows_of(page))
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[1][0].isdigit():
            rows[cells[0]] = [float(cell.removesuffix(" %")) for cell in cells[1:]]
    assert len(rows) == 7
    assert rows["libssl's own keys"][0] > 95
    # The phases are: all, calm, partition, pause, rolling restart.
    for name in ("Redis, period 1 min", "Redis, period 30 min"):
        assert rows[name][1] == rows[name][3] == rows[name][4] == 0
    assert rows["Redis, period 1 min"][2] > rows["Redis, period 30 min"][2] == 0
    assert rows["derived, period 5 min"][1] == rows["derived, period 5 min"][4] == 0
    assert rows["derived, period 1 min"][1] > 0
    assert rows["the same, `accept_for` without the clocks"][1] > 0
    assert rows["key files, copied within 10 s"][2] > 1


def test_finds_a_wrong_rule() -> None:
    """If a key were dropped before its tickets end, the simulation would show losses."""
    program = f"""
import sys
sys.path.append({str(FLEET.parents[2])!r})
from tests.stress import fleet
fleet.prepare()
class Hasty(fleet.SimulatedHost):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._stay = 60.0
fleet.SimulatedHost = Hasty
(result,) = fleet.results(50, 2000, [fleet.InRedis])
print(result.share("calm") > 0)
"""
    assert processes.run(program) == "True\n"


def test_chart_of_the_page() -> None:
    """The chart in the documentation shows the figures of the page's last table."""
    folder = FLEET.parents[2] / "docs" / "evidence"
    rows = fleet.rows_of((folder / "fleet.md").read_text())
    assert len(rows) == 7
    assert all(len(figures) == len(fleet.PHASES) for figures in rows.values())
    assert (folder / "fleet.svg").read_text() == fleet.svg(rows)
