"""All that the installed pyOpenSSL uses of OpenSSL is bound; so a new release is noticed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import OpenSSL
import pytest

from openssl_tickets._system_openssl import stand_in as system_openssl

pytestmark = pytest.mark.skipif(
    tuple(map(int, OpenSSL.__version__.split(".")[:2])) < system_openssl.TESTED_PYOPENSSL[0],
    reason=f"our binding is for newer ones than pyOpenSSL {OpenSSL.__version__}",
)

# Which of the module-level names of pyOpenSSL's source are the binding's two halves.
LIBS = {"_lib", "lib"}
FFIS = {"_ffi", "ffi"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(Path(OpenSSL.__file__).parent.glob("*.py")):
        yield path.name, ast.parse(path.read_text())


def is_one_of(node: ast.AST, names: set[str]) -> bool:
    """Whether *node* is ``name``, or ``something.name`` as in ``OpenSSL._util.lib``."""
    return (isinstance(node, ast.Name) and node.id in names) or (
        isinstance(node, ast.Attribute) and node.attr in names
    )


def names_used() -> dict[str, str]:
    """Returns each attribute of ``lib`` that pyOpenSSL names, with where it does so."""
    found: dict[str, str] = {}
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_one_of(node.value, LIBS):
                found.setdefault(node.attr, f"{file}:{node.lineno}")
            elif (
                isinstance(node, ast.Call)
                and is_one_of(node.func, {"getattr", "hasattr"})
                and is_one_of(node.args[0], LIBS)
                and isinstance(node.args[1], ast.Constant)
            ):
                found.setdefault(str(node.args[1].value), f"{file}:{node.lineno}")
    return found


def types_used() -> dict[str, str]:
    """Returns each C type that pyOpenSSL names to ``ffi``, with where it does so."""
    found: dict[str, str] = {}
    for file, tree in sources():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and is_one_of(node.func.value, FFIS)
                and node.func.attr in {"new", "cast", "callback"}
                and isinstance(node.args[0], ast.Constant)
            ):
                found.setdefault(str(node.args[0].value), f"{file}:{node.lineno}")
    return found


@pytest.fixture(scope="module")
def binding() -> Any:
    return system_openssl.SystemBinding()


def test_the_source_is_understood() -> None:
    """The names are really found: about as many as there are in 25.0 to 26.4."""
    assert len(names_used()) > 350
    assert len(types_used()) > 20


def test_every_name_is_bound(binding: Any) -> None:
    """Each function, constant and switch that pyOpenSSL names is there, or its switch says no."""
    lacking = {
        name
        for switch, names in system_openssl._CONDITIONAL_NAMES.items()
        if not getattr(binding.lib, switch)
        for name in names
    }
    missing = {
        name: where
        for name, where in names_used().items()
        if not hasattr(binding.lib, name) and name not in lacking
    }
    assert missing == {}


def test_every_type_is_known(binding: Any) -> None:
    """Each type that pyOpenSSL makes, casts to or calls back with is declared."""
    unknown = {}
    for name, where in types_used().items():
        # A callback may be given as a function's type, where the others give a pointer to one.
        pointer = " *" if name.endswith("_cb") else ""
        try:
            binding.ffi.typeof(name + pointer)
        except binding.ffi.error as error:
            unknown[name] = f"{where}: {error}"
    assert unknown == {}
