"""Running a program as ``python`` does, with pyOpenSSL on the system's libssl."""

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

# What is ahead of the program that multiprocessing gives to a new interpreter.
_FIRST = "from openssl_tickets._system_openssl import run; run.use_system_openssl_in_all(); "

# What ``python`` itself calls; the public functions of runpy do not leave a __main__ behind.
_RUN_MODULE = runpy._run_module_as_main  # type: ignore[attr-defined]


def run_script(path: str, arguments: Sequence[str]) -> None:
    """
    Runs what ``python path arguments`` would, on the system's libssl: a script, or a folder or a
    zip file with a ``__main__.py``; but not a compiled ``.pyc``.

    The program finds itself as ``__main__``, and its own folder first on ``sys.path``. What it
    raises is raised, and its traceback is what ``python`` would print.

    Raises:
        SystemExit: there is no program, with the message and the status of ``python``.
        ImportError: there is no pyOpenSSL.
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
    Runs what ``python -m name arguments`` would, on the system's libssl.

    Raises:
        SystemExit: there is no such module, with the message and the status of ``python``.
        ImportError: there is no pyOpenSSL.
        LibraryMismatchError: see :func:`openssl_tickets.use_system_openssl`.
    """
    use_system_openssl_in_all()  # ahead of the packages that the module is in
    sys.argv[:] = ["-m", *arguments]
    _new_main()
    _as_main(_RUN_MODULE, name, True)


def use_system_openssl_in_all() -> None:
    """
    Calls :func:`openssl_tickets.use_system_openssl` here, and in all that multiprocessing starts.

    A process that it forks has it anyway. ``spawn`` and ``forkserver`` start a new interpreter: it
    does the same ahead of anything else, and so do the processes that it starts.
    """
    use_system_openssl()
    from multiprocessing import util

    start: Any = util.spawnv_passfds
    if getattr(start, "brings_openssl_tickets", False):
        return

    def spawnv_passfds(path: Any, arguments: Sequence[str], descriptors: Any) -> Any:
        # The resource tracker runs nothing of the program.
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
    """Puts a ``__main__`` in place of ours, with what ``python`` puts into its own."""
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    if "__annotations__" in vars(sys.modules["__main__"]):  # until CPython 3.14
        vars(main)["__annotations__"] = {}
    # For good, since threads and exit functions of the program may outlive its last line.
    sys.modules["__main__"] = main
    return main


def _leave_current_folder() -> bool:
    """Takes from ``sys.path`` what ``python -m`` put there; False if it was told to put nothing."""
    safe = getattr(sys.flags, "safe_path", sys.flags.isolated)  # -P is of CPython 3.11
    if not safe:
        del sys.path[0]
    return not safe


def _as_main(run: Callable[..., Any], *arguments: object) -> Any:
    """Calls *run*; the traceback of what it raises begins where that of ``python`` does."""
    try:
        return run(*arguments)
    except BaseException as error:
        theirs, hook = error.__traceback__ and error.__traceback__.tb_next, sys.excepthook
        # Not as it is raised, since all frames that it passes on its way out add to it.
        sys.excepthook = lambda kind, value, _: hook(kind, value.with_traceback(theirs), theirs)
        raise
