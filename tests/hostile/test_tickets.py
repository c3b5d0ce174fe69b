"""Tickets that no server has made are never resumed from."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.hostile import tickets
from tests.hostile.servers import SETTINGS, Setting

pytestmark = pytest.mark.slow

# Of a kind with more than a few cases one in so many is taken, and others with each setting. All of
# them are taken by `python tests/hostile`.
STRIDE = 16
FEW = 10


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_changed_tickets(setting: Setting, server_file: Path) -> None:
    """A ticket that is not the server's own leads to a full handshake or an alert."""
    attack = tickets.Attack(setting, server_file)
    assert tickets.resumes(attack)
    cases = sorted(attack.cases(), key=lambda case: case.kind)
    for _, of_kind in itertools.groupby(cases, lambda case: case.kind):
        many = list(of_kind)
        for case in many if len(many) <= FEW else many[SETTINGS.index(setting) % STRIDE :: STRIDE]:
            attack.offer(case)
    assert tickets.resumes(attack)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_changed_on_the_way(setting: Setting, server_file: Path) -> None:
    """A ticket that is changed in a recorded hello leads to a full handshake."""
    attack = tickets.Attack(setting, server_file)
    for case in list(attack.wire_cases())[SETTINGS.index(setting) % STRIDE :: STRIDE]:
        attack.send(*case)
