"""
What cannot be supported is refused at import, and told why: sub-interpreters of every kind that
this Python has, free-threaded builds, and an OpenSSL inside the interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

import build_ffi
from openssl_tickets._native import shared_object
from openssl_tickets._native.interpreter import FREE_THREADED, REFUSED
from tests.support import processes

ROOT = str(Path(__file__).parents[2])

# What makes a sub-interpreter and runs `code` in it.
KINDS = {
    "legacy": """
        import _testcapi  # Py_NewInterpreter, as an embedding program does
        assert _testcapi.run_in_subinterp(code) == 0
        """,
    "shared GIL": """
        try:
            import _interpreters as interpreters
            made = interpreters.create("legacy")
        except ImportError:
            import _xxsubinterpreters as interpreters
            made = interpreters.create(isolated=False)
        assert interpreters.run_string(made, code) is None
        interpreters.destroy(made)
        """,
    "own GIL": """
        try:
            import _interpreters as interpreters
            made = interpreters.create("isolated")
        except ImportError:
            import _xxsubinterpreters as interpreters
            made = interpreters.create(isolated=True)
        assert interpreters.run_string(made, code) is None
        interpreters.destroy(made)
        """,
    "concurrent.interpreters": """
        from concurrent import interpreters
        made = interpreters.create()
        made.exec(code)
        made.close()
        """,
    # The first thing that this thread has of Python is then the sub-interpreter.
    "on a thread": """
        import threading
        import _testcapi
        statuses = []
        run = lambda: statuses.append(_testcapi.run_in_subinterp(code))
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert statuses == [0]
        """,
}
NEEDS = {
    "legacy": ["_testcapi"],
    "shared GIL": ["_interpreters", "_xxsubinterpreters"],
    "own GIL": ["_interpreters", "_xxsubinterpreters"],
    "concurrent.interpreters": ["concurrent.interpreters"],
    "on a thread": ["_testcapi"],
}


def has_module(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("first", ["", "import openssl_tickets"], ids=["alone", "after the main"])
@pytest.mark.parametrize("kind", KINDS)
def test_is_refused(kind: str, first: str, tmp_path: Path) -> None:
    """An import in a sub-interpreter raises an ImportError that names the remedy."""
    if not any(has_module(name) for name in NEEDS[kind]):
        pytest.skip(f"this Python has no {' or '.join(NEEDS[kind])}")
    told = tmp_path / "told"
    code = textwrap.dedent(
        f"""
        import json, sys
        sys.path[:] = {sys.path!r}
        seen = []
        for _ in range(2):
            try:
                import openssl_tickets
            except ImportError as error:
                seen.append((str(error), error.name))
            else:
                seen.append("imported")
        try:
            from openssl_tickets import SSL
        except ImportError as error:
            seen.append((str(error), error.name))
        with open({str(told)!r}, "w") as file:
            json.dump(seen, file)
        """
    )
    source = "\n".join([first, f"code = {code!r}", textwrap.dedent(KINDS[kind])])
    processes.run(source)
    assert json.loads(told.read_text()) == [[REFUSED, "openssl_tickets"]] * 3


@pytest.mark.skipif(not has_module("_testcapi"), reason="this Python has no _testcapi")
def test_main_goes_on(server_file: Path) -> None:
    """After a sub-interpreter was refused and is gone, callbacks of the main one run as before."""
    output = processes.run(
        textwrap.dedent(
            f"""
            import sys, _testcapi, threading
            sys.path.append({ROOT!r})
            import openssl_tickets
            from tests.support import stdlib_tls, tls
            code = "import sys; sys.path[:] = " + repr(sys.path)
            code += "\\ntry:\\n import openssl_tickets\\nexcept ImportError: pass"
            assert _testcapi.run_in_subinterp(code) == 0
            seen = []
            same = stdlib_tls.ssl.OPENSSL_VERSION == openssl_tickets.OPENSSL_VERSION
            def shake():
                for module in (tls, stdlib_tls if same else tls):
                    contexts = module.server_context({str(server_file)!r}), module.client_context()
                    openssl_tickets.set_session_ticket_callback(
                        contexts[0], lambda *_: seen.append(None))
                    openssl_tickets.set_num_tickets(contexts[0], 1)
                    module.Pair(*contexts).handshake()
            shake()
            thread = threading.Thread(target=shake)
            thread.start()
            thread.join()
            print(len(seen))
            """
        )
    )
    assert output == "4\n"


def test_free_threaded_build_is_refused() -> None:
    """An import on a free-threaded build raises an ImportError that says so."""
    output = processes.run(
        textwrap.dedent(
            """
            import sys
            if "t" not in sys.abiflags:
                sys.abiflags += "t"  # as it is there
            try:
                import openssl_tickets
            except ImportError as error:
                print(error, "_cffi_backend" in sys.modules)
            """
        )
    )
    assert output == f"{FREE_THREADED} False\n"


# What compresses certificates is not at hand everywhere, and not called.
STATIC = ["-Wl,--whole-archive", "-l:libssl.a", "-l:libcrypto.a", "-Wl,--no-whole-archive"]
STATIC += ["-Wl,--copy-dt-needed-entries,--unresolved-symbols=ignore-all,-z,lazy"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the linker's options are GNU's")
@pytest.mark.parametrize("flags", [[], STATIC], ids=["as usual", "OpenSSL inside"])
@pytest.mark.slow
def test_openssl_inside_the_interpreter(flags: list[str], tmp_path: Path) -> None:
    """An interpreter that offers the symbols of an OpenSSL of its own is refused, and only that."""
    (tmp_path / "python.c").write_text(
        "#include <Python.h>\nint main(int n, char **v) { return Py_BytesMain(n, v); }\n"
    )
    folders = [sysconfig.get_config_var(name) for name in ("LIBDIR", "LIBPL")]
    python = tmp_path / "python"
    command = [*build_ffi.compiler(), "-o", str(python), str(tmp_path / "python.c")]
    command += [f"-I{sysconfig.get_path('include')}", "-Wl,--export-dynamic", *flags]
    command += [f"-L{folder}" for folder in folders] + [f"-Wl,-rpath,{folders[0]}"]
    command += [f"-lpython{sysconfig.get_config_var('LDVERSION')}", "-ldl", "-lm", "-lpthread"]
    linked = subprocess.run(command, capture_output=True, text=True)
    if linked.returncode != 0:
        pytest.skip(f"this machine has no static libraries: {linked.stderr.splitlines()[-2:]}")
    result = subprocess.run(
        [str(python), "-c", "import openssl_tickets; print(openssl_tickets.OPENSSL_VERSION)"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=processes.TIMEOUT,
    )
    if flags:
        reached = f"ImportError: openssl_tickets is linked to {shared_object.our_libssl()}, but "
        assert f"{reached}its calls reach the OpenSSL inside {python}" in result.stderr
        assert "OPENSSL_DIR" not in result.stderr
    else:
        assert (result.returncode, result.stderr, result.stdout[:8]) == (0, "", "OpenSSL ")
