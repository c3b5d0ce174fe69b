"""Runs a program as ``python`` does, with pyOpenSSL on the system's libssl."""

from __future__ import annotations

import builtins
import os
import pkgutil
import runpy
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from typing import Any

from openssl_tickets._system_openssl.stand_in import use_system_openssl

# This code goes before the code that multiprocessing gives to a new interpreter.
_FIRST = "from openssl_tickets._system_openssl import run; run.use_system_openssl_in_all(); "

# ``python`` itself calls this function. The public functions of runpy leave no __main__ behind.
_RUN_MODULE = runpy._run_module_as_main  # type: ignore[attr-defined]


def run_script(path: str, arguments: Sequence[str]) -> None:
    """
    Runs a program as ``python path arguments`` does, with pyOpenSSL on the system's libssl.

    The program is a script, or a folder or a zip file with a ``__main__.py``. A compiled ``.pyc``
    is not supported. The program's module is ``__main__``, and its folder is first on ``sys.path``.
    Its exceptions are raised, and their traceback is the one that ``python`` would print.

    Args:
        path: the program.
        arguments: its ``sys.argv[1:]``.

    Raises:
        SystemExit: there is no such program. The message and the status are those of ``python``.
        ImportError: pyOpenSSL is not installed.
        LibraryMismatchError: see :func:`openssl_tickets.use_system_openssl`.
    """
    use_system_openssl_in_all()
    sys.argv[:] = [path, *arguments]
    file = os.path.join(os.getcwd(), path)
    main = _new_main()
    if pkgutil.get_importer(file) is not None:
        _leave_current_folder()
        sys.path.insert(0, file)
        _as_main(_RUN_MODULE, "__main__", False)
        return
    loader = SourceFileLoader("__main__", file)
    try:
        source = loader.get_data(file)
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        print(f"{sys.executable}: can't open file {file!r}: {reason}", file=sys.stderr)
        sys.exit(2)
    if _leave_current_folder():
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    vars(main).update(__file__=file, __loader__=loader)
    if sys.version_info < (3, 15):
        vars(main).update(__cached__=None)
    code = _as_main(compile, source, file, "exec", 0, True)
    _as_main(exec, code, vars(main))


def run_module(name: str, arguments: Sequence[str]) -> None:
    """
    Runs a module as ``python -m name arguments`` does, with pyOpenSSL on the system's libssl.

    Args:
        name: the module.
        arguments: its ``sys.argv[1:]``.

    Raises:
        SystemExit: there is no such module. The message and the status are those of ``python``.
        ImportError: pyOpenSSL is not installed.
        LibraryMismatchError: see :func:`openssl_tickets.use_system_openssl`.
    """
    use_system_openssl_in_all()  # before runpy imports the packages that contain the module
    sys.argv[:] = ["-m", *arguments]
    _new_main()
    _as_main(_RUN_MODULE, name, True)


def use_system_openssl_in_all() -> None:
    """
    Calls :func:`openssl_tickets.use_system_openssl` here, and in all multiprocessing processes.

    A forked process inherits it. ``spawn`` and ``forkserver`` start a new interpreter, which calls
    this function before anything else. So the processes that it starts do the same.
    """
    use_system_openssl()
    from multiprocessing import util

    start: Any = util.spawnv_passfds
    if getattr(start, "brings_openssl_tickets", False):
        return

    def spawnv_passfds(path: Any, arguments: Sequence[str], descriptors: Any) -> Any:
        # The resource tracker does not run the program's code.
        new = [
            _FIRST + argument
            if before == "-c" and "resource_tracker import" not in argument
            else argument
            for before, argument in zip(["", *arguments], arguments, strict=False)
        ]
        return start(path, new, descriptors)

    vars(spawnv_passfds)["brings_openssl_tickets"] = True
    util.spawnv_passfds = spawnv_passfds  # type: ignore[assignment]


def _new_main() -> types.ModuleType:
    """Replaces our ``__main__`` module with a new one, like the one that ``python`` makes."""
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    if "__annotations__" in vars(sys.modules["__main__"]):  # until CPython 3.14
        vars(main)["__annotations__"] = {}
    # It stays there, because threads and exit functions may run after the program's last line.
    sys.modules["__main__"] = main
    return main


def _leave_current_folder() -> bool:
    """Removes the folder that ``python -m`` put on ``sys.path``; returns False if there is none."""
    safe = getattr(sys.flags, "safe_path", sys.flags.isolated)  # -P came with CPython 3.11
    if not safe:
        del sys.path[0]
    return not safe


def _as_main(run: Callable[..., Any], *arguments: object) -> Any:
    """Calls *run*, and cuts our own frames from the traceback of an exception."""
    try:
        return run(*arguments)
    except BaseException as error:
        theirs, hook = error.__traceback__ and error.__traceback__.tb_next, sys.excepthook
        # The hook cuts the traceback, because each frame that the exception passes adds to it.
        sys.excepthook = lambda kind, value, _: hook(kind, value.with_traceback(theirs), theirs)
        raise
