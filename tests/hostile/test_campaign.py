"""The counting of all cases: what does not end well is counted."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from tests.hostile import campaign

pytestmark = pytest.mark.slow


def test_what_does_not_end_well(server_file: Path) -> None:
    """A crash, a hang and a failure are counted, and the cases behind them are taken."""
    ends = collections.Counter(
        campaign.run(campaign.Task("planted", 0, str(server_file), case_time=0.5))
    )
    failed = [end for end in ends if end[1].startswith(campaign.FAILED)]
    assert ["ZeroDivisionError" in outcome for _, outcome in failed] == [True]
    del ends[failed[0]]
    assert ends == {
        ("planted", ""): 2,
        ("planted", campaign.CRASH): 1,
        ("planted", campaign.HANG): 1,
    }
