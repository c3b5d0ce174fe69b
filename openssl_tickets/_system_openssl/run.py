"""Running a program as ``python`` does, with pyOpenSSL on the system's libssl."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from typing import Any

from openssl_tickets._system_openssl.stand_in import use_system_openssl


def run_script(path: str, arguments: Sequence[str]) -> None:
    """
    Runs what ``python path arguments`` would, on the system's libssl: a script, or a folder or a
    zip file with a ``__main__.py``; but not a compiled ``.pyc``.

    The program finds itself as ``__main__``, and its own folder first on ``sys.path``. What it
    raises is raised.

    Raises:
        OSError: *path* cannot be read.
        ImportError: *path* is a folder or a zip file without ``__main__``; or there is no
            pyOpenSSL.
        LibraryMismatchError: see :func:`openssl_tickets.use_system_openssl`.
    """
    sys.argv[:] = [path, *arguments]
    file = os.path.join(os.getcwd(), path)
    finder: Any = pkgutil.get_importer(file)
    if finder is not None:
        _leave_current_folder()
        sys.path.insert(0, file)
        _run_spec(finder.find_spec("__main__"), f"__main__ in {path!r}")
        return
    loader = SourceFileLoader("__main__", file)
    code = loader.source_to_code(loader.get_data(file), file)
    if _leave_current_folder():
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    _run(code, __file__=file, __loader__=loader, __spec__=None, __package__=None, __cached__=None)


def run_module(name: str, arguments: Sequence[str]) -> None:
    """
    Runs what ``python -m name arguments`` would, on the system's libssl.

    Raises:
        ImportError: there is no such module, or it is a package without ``__main__``; or there is
            no pyOpenSSL.
        LibraryMismatchError: see :func:`openssl_tickets.use_system_openssl`.
    """
    sys.argv[:] = ["-m", *arguments]
    use_system_openssl()  # ahead of the packages that the module is in
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"
        spec = importlib.util.find_spec(name)
    if spec is not None:
        sys.argv[0] = str(spec.origin)
    _run_spec(spec, f"module {name!r}")


def _leave_current_folder() -> bool:
    """Takes from ``sys.path`` what ``python -m`` put there; False if it was told to put nothing."""
    safe = getattr(sys.flags, "safe_path", sys.flags.isolated)  # -P is of CPython 3.11
    if not safe:
        del sys.path[0]
    return not safe


def _run_spec(spec: ModuleSpec | None, what: str) -> None:
    if spec is None:
        raise ImportError(f"there is no {what}")
    loader: Any = spec.loader
    code = loader.get_code(spec.name) if hasattr(loader, "get_code") else None
    if code is None:
        raise ImportError(f"there is no Python code in the {what}")
    _run(
        code,
        __file__=spec.origin,
        __loader__=loader,
        __spec__=spec,
        __package__=spec.parent,
        __cached__=spec.cached,
    )


def _run(code: types.CodeType, **attributes: Any) -> None:
    use_system_openssl()
    main = types.ModuleType("__main__")
    vars(main).update(attributes)
    # For good, since threads and exit functions of the program may outlive its last line.
    sys.modules["__main__"] = main
    exec(code, vars(main))  # noqa: S102 (it is what this is for)
