"""The typed stubs of the compiled modules; tests/typing/native.py has what mypy makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from openssl_tickets._native import _libssl
from openssl_tickets._system_openssl import _pyopenssl
from tests.support import stubs


@pytest.mark.parametrize("path", stubs.stubs(), ids=lambda path: path.name)
def test_is_what_the_declarations_say(path: Path) -> None:
    """The stub that is checked in is the one that `python -m tests.support.stubs` writes."""
    assert path.read_text() == stubs.stubs()[path]


@pytest.mark.parametrize("module", [_libssl, _pyopenssl])
def test_has_all_that_the_module_has(module: object) -> None:
    """What the built module offers, on any OpenSSL, is in its stub."""
    stub = next(text for path, text in stubs.stubs().items() if path.stem in str(module))
    for name in dir(vars(module)["lib"]):
        assert f"    def {name}(" in stub or f"    {name}: " in stub


@pytest.mark.parametrize(
    ("declaration", "line"),
    [
        ("int f(void);", "def f(self) -> int: ..."),
        ("void f(A *from, int in);", "def f(self, from_: Pointer[A], in_: int, /) -> None: ..."),
        ("A *f(A **);", "def f(self, _0: Pointer[Pointer[A]], /) -> Pointer[A]: ..."),
        ("int f(const char *s);", "def f(self, s: Pointer[char] | bytes, /) -> int: ..."),
        ("char f(const char **s);", "def f(self, s: Pointer[Pointer[char]], /) -> bytes: ..."),
        ("void *f(void *p);", "def f(self, p: Pointer[Any] | bytes, /) -> Pointer[void]: ..."),
        (
            "void f(size_t (*call)(const void *));",
            "def f(self, call: Pointer[Callable[[Pointer[void]], int]], /) -> None: ...",
        ),
        ("#define F ...", "F: int"),
        ('extern "Python+C" int f(A *a);', "f: Pointer[Callable[[Pointer[A]], int]]"),
    ],
)
def test_line_of_a_declaration(declaration: str, line: str, tmp_path: Path) -> None:
    """Each declaration has its line."""
    path = tmp_path / "declarations.h"
    path.write_text(f"typedef ... A;\n{declaration}\n")
    assert stubs.Stub([path]).lib == [f"    {line}"]


def test_unknown_declaration_is_refused(tmp_path: Path) -> None:
    """What the stub would say nothing of is an error."""
    path = tmp_path / "declarations.h"
    path.write_text("extern int variable;\n")
    with pytest.raises(NotImplementedError, match="a declaration of the kind variable: variable"):
        stubs.Stub([path])
