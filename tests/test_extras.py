"""What needs an extra says which, if it is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from openssl_tickets._extras import needs_extra
from tests.support.packages import Packages

PYOPENSSL = ("pyopenssl", "openssl")


@pytest.mark.parametrize(
    ("missing", "program"),
    [
        (missing, program)
        for missing in (PYOPENSSL, (*PYOPENSSL, "cryptography"))
        for program in (
            "-c import openssl_tickets.SSL",
            "-c import openssl_tickets; openssl_tickets.use_system_openssl()",
            "-m openssl_tickets demo",
            "-m openssl_tickets run script.py",
            "-m openssl_tickets run -m script",
            "-m openssl_tickets serve --library pyopenssl",
        )
    ]
    + [(("redis",), "-c import openssl_tickets.redis_keys")],
    ids=lambda value: value if isinstance(value, str) else "without " + value[-1],
)
def test_names_the_extra(tmp_path: Path, missing: tuple[str, ...], program: str) -> None:
    """The last line of the error is the command that installs it; commands print just a line."""
    (tmp_path / "script.py").write_text("print('ran')")
    option, _, rest = program.partition(" ")
    arguments = [rest] if option == "-c" else rest.split()
    result = Packages(tmp_path).remove(*missing).python(option, *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    *before, last = result.stderr.splitlines()
    assert f"pip install 'openssl_tickets[{missing[0]}]'" in last
    assert option == "-c" or (not before and last.startswith("error: "))


def test_other_errors_stay() -> None:
    """What is missing of something else is named as it is."""
    with (
        pytest.raises(ModuleNotFoundError, match=r"^No module named 'nothing_of_this_name'$"),
        needs_extra("redis", "redis"),
    ):
        import nothing_of_this_name  # type: ignore[import-not-found]  # noqa: F401
