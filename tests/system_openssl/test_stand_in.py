"""
The proof that pyOpenSSL and this package are on one libssl, and the way to get there.

Each test runs a program in a process of its own, since what is imported first decides. With
pyOpenSSL from the package index cryptography brings its own OpenSSL, and a pyOpenSSL of a Linux
distribution is on the system's already; the tests hold for both, and say where they differ.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets._native import shared_object


def run(program: str) -> Any:
    """Runs *program*, which must print nothing but its result as JSON, and returns the result."""
    result = subprocess.run(
        [sys.executable, "-I", "-c", "import json\n" + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def same_libssl() -> bool:
    """Whether pyOpenSSL by itself is on the libssl that this package is linked to."""
    return bool(
        run(
            """
            from OpenSSL import SSL
            from openssl_tickets._native import shared_object
            # By their files: two copies may be of one version.
            file = shared_object.file_of(SSL._lib.TLS_method())
            print(json.dumps(file == shared_object.our_libssl()))
            """
        )
    )


def test_import_loads_only_what_it_needs() -> None:
    """The package loads neither of the libraries whose objects it takes, and nothing slow."""
    loaded = run(
        """
        import sys
        names = ("OpenSSL", "cryptography", "ssl", "typing", "re", "logging", "sqlite3", "inspect")
        for name in names:
            sys.modules.pop(name, None)  # the interpreter's start, or json, may have loaded it
        import openssl_tickets
        try: openssl_tickets.get_num_tickets(3)
        except TypeError: pass
        print(json.dumps([name for name in names if name in sys.modules]))
        """
    )
    assert loaded == []


def test_objects_of_another_libssl_are_refused(same_libssl: bool) -> None:
    """Contexts and connections of another libssl are refused by every function, untouched."""
    results = run(
        """
        from OpenSSL import SSL
        import openssl_tickets as t
        context = SSL.Context(SSL.TLS_METHOD)
        connection = SSL.Connection(context, None)
        results = []
        for call in (
            lambda: t.get_num_tickets(context),
            lambda: t.set_num_tickets(context, 1),
            lambda: t.get_num_tickets(connection),
            lambda: t.set_num_tickets(connection, 1),
            lambda: t.new_session_ticket(connection),
            lambda: t.get_session(connection),
            lambda: t.set_session_ticket_callback(context, lambda *_: None, lambda *_: None),
            lambda: len(t.resume_sessions(context)),
        ):
            try:
                results.append(repr(call()))
            except t.LibraryMismatchError as error:
                results.append(str(error))
            except t.Error as error:
                results.append("Error")
        print(json.dumps(results))
        """
    )
    if same_libssl:
        assert results == ["2", "None", "2", "None", "Error", "None", "None", "0"]
        return
    for message in results:
        first, second = message.splitlines()
        assert openssl_tickets.OPENSSL_VERSION in first
        assert first.count("OpenSSL ") >= 2
        assert f"(in {shared_object.our_libssl()})" in first
        assert "use_system_openssl()" in second


def test_puts_pyopenssl_on_the_systems_libssl() -> None:
    """After use_system_openssl(), pyOpenSSL is on the libssl that this package is linked to."""
    version, number = run(
        """
        import openssl_tickets
        openssl_tickets.use_system_openssl()
        openssl_tickets.use_system_openssl()
        from OpenSSL import SSL
        context = SSL.Context(SSL.TLS_METHOD)
        openssl_tickets.set_num_tickets(context, 7)
        version = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
        print(json.dumps([version, openssl_tickets.get_num_tickets(context)]))
        """
    )
    assert (version, number) == (openssl_tickets.OPENSSL_VERSION, 7)


def test_too_late(same_libssl: bool) -> None:
    """Where pyOpenSSL is imported on another libssl already, it says so and what to do."""
    for module in ("OpenSSL", "OpenSSL.crypto"):
        for attempt in ("openssl_tickets.use_system_openssl()", "from openssl_tickets import SSL"):
            result = run(
                f"""
                import {module}
                import openssl_tickets
                try:
                    {attempt}
                except openssl_tickets.LibraryMismatchError as error:
                    print(json.dumps(str(error)))
                else:
                    print("null")
                """
            )
            if same_libssl:
                assert result is None
            else:
                assert "before OpenSSL is first imported" in result


def test_cryptography_keeps_its_own_openssl() -> None:
    """cryptography itself is left on the OpenSSL that it brings, and its binding as it was."""
    program = """
        from cryptography.hazmat.backends.openssl.backend import backend
        from cryptography.hazmat.bindings.openssl.binding import Binding
        print(json.dumps([
            backend.openssl_version_text(), Binding.__module__, Binding().lib.__name__,
            Binding().ffi.string(Binding().lib.OpenSSL_version(0)).decode(),
        ]))
        """
    untouched = run(program)
    assert run("import openssl_tickets.SSL\n" + textwrap.dedent(program)) == untouched


def test_from_two_threads_at_once() -> None:
    """Several threads may call it, and import pyOpenSSL, at once."""
    results = run(
        """
        import threading
        import openssl_tickets
        barrier = threading.Barrier(6)
        results = []
        def work(number):
            barrier.wait()
            openssl_tickets.use_system_openssl()
            from OpenSSL import SSL
            results.append(openssl_tickets.get_num_tickets(SSL.Context(SSL.TLS_METHOD)))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(json.dumps(results))
        """
    )
    assert results == [2] * 6


@pytest.mark.parametrize(
    "module", ["cryptography.x509", "cryptography.hazmat.bindings.openssl.binding"]
)
def test_while_another_thread_imports_pyopenssl(module: str) -> None:
    """It waits for another thread's import of pyOpenSSL, and then it is done or too late."""
    result = run(
        f"""
        import sys, threading
        import openssl_tickets
        reached, further = threading.Event(), threading.Event()
        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r} and threading.current_thread() is thread:
                    reached.set()
                    further.wait(60)
        sys.meta_path.insert(0, Slow())
        thread = threading.Thread(target=lambda: __import__("OpenSSL.SSL"))
        thread.start()
        reached.wait(60)
        threading.Timer(0.5, further.set).start()
        try:
            openssl_tickets.use_system_openssl()
            print(json.dumps("done"))
        except openssl_tickets.LibraryMismatchError:
            print(json.dumps("too late"))
        """
    )
    assert result in ("done", "too late")


def test_again_after_a_failure() -> None:
    """Where pyOpenSSL cannot be imported, each call says so; later it is on the libssl."""
    results = run(
        """
        import sys
        import openssl_tickets
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "OpenSSL.crypto":
                    raise ImportError("broken")
        sys.meta_path.insert(0, Broken())
        results = []
        for _ in range(3):
            try:
                openssl_tickets.use_system_openssl()
                results.append("done")
            except ImportError as error:
                results.append(str(error))
            if len(results) == 2:
                del sys.meta_path[0]
        from OpenSSL import SSL
        results.append(openssl_tickets.get_num_tickets(SSL.Context(SSL.TLS_METHOD)))
        print(json.dumps(results))
        """
    )
    assert results == ["broken", "broken", "done", 2]


def test_lib_is_a_module_whose_attributes_can_be_replaced(same_libssl: bool) -> None:
    """As on the wheel, functions of pyOpenSSL's ``lib`` can be replaced, and put back."""
    seen = run(
        """
        from openssl_tickets import SSL
        lib = SSL._lib
        original = lib.SSL_CTX_new
        calls = []
        lib.SSL_CTX_new = lambda method: calls.append(1) or original(method)
        SSL.Context(SSL.TLS_METHOD)
        lib.SSL_CTX_new = original
        SSL.Context(SSL.TLS_METHOD)
        del lib.SSL_CTX_new
        print(json.dumps([type(lib).__name__, len(calls), hasattr(lib, "SSL_CTX_new")]))
        """
    )
    assert seen == ["module", 1, False]


def test_what_is_not_bound_says_so(same_libssl: bool) -> None:
    """An AttributeError says that a name is not bound, and asks for a report."""
    if same_libssl:
        pytest.skip("pyOpenSSL is on its own binding of the system's libssl here")
    message, there, group_name = run(
        """
        from openssl_tickets import SSL
        try: SSL._lib.SSL_no_such_function
        except AttributeError as error: message = str(error)
        there = hasattr(SSL._lib, "SSL_get0_group_name")
        try: SSL._lib.SSL_get0_group_name
        except AttributeError as error: group_name = str(error)
        else: group_name = None
        print(json.dumps([message, there, group_name]))
        """
    )
    assert "no 'SSL_no_such_function'" in message
    assert "25.0 to 26.4" in message
    assert "Please report this" in message
    # OpenSSL 3.2 has it, and an older one is called by its name.
    assert there == (openssl_tickets.OPENSSL_VERSION >= "OpenSSL 3.2")
    assert there or openssl_tickets.OPENSSL_VERSION in group_name


def test_old_ciphers_as_cryptography_has_them(same_libssl: bool) -> None:
    """pyOpenSSL can encrypt keys with old ciphers if cryptography can, and not if it is told."""
    program = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        {hide}
        from openssl_tickets import SSL
        from OpenSSL import crypto
        key = crypto.PKey(); key.generate_key(crypto.TYPE_RSA, 1024)
        try:
            pem = crypto.dump_privatekey(crypto.FILETYPE_PEM, key, "blowfish", b"secret")
            crypto.load_privatekey(crypto.FILETYPE_PEM, pem, b"secret")
            print("true")
        except crypto.Error:
            print("false")
        """
    assert run(program.format(hide="")) is True
    if not same_libssl:
        without = program.format(hide="os.environ['CRYPTOGRAPHY_OPENSSL_NO_LEGACY'] = '1'")
        assert run(without) is False


@pytest.mark.parametrize("tested", [((1, 0), (24, 9)), ((99, 0), (99, 9)), None])
def test_untested_version_warns_once(tested: object, same_libssl: bool) -> None:
    """A pyOpenSSL outside of the tested range works, and one warning says what it may lack."""
    texts, number = run(
        f"""
        import warnings
        import openssl_tickets
        from openssl_tickets._system_openssl import stand_in as system_openssl
        system_openssl.TESTED_PYOPENSSL = {tested!r} or system_openssl.TESTED_PYOPENSSL
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            openssl_tickets.use_system_openssl()
            openssl_tickets.use_system_openssl()
        from openssl_tickets import SSL
        number = SSL.Context(SSL.TLS_METHOD).get_num_tickets()
        print(json.dumps([[f"{{w.category.__name__}} {{w.message}}" for w in caught], number]))
        """
    )
    assert number == 2
    if tested is None or same_libssl:
        assert texts == []
    else:
        (text,) = texts
        assert text.startswith("RuntimeWarning pyOpenSSL ")
        assert "has not been tested on the system's libssl" in text


def test_others_are_not_given_our_binding(same_libssl: bool) -> None:
    """Who asks cryptography for its binding while pyOpenSSL is imported gets cryptography's."""
    during, after = run(
        """
        import sys
        from openssl_tickets import use_system_openssl
        from openssl_tickets._native import shared_object

        def ask():
            from cryptography.hazmat.bindings.openssl.binding import Binding
            asked.append(Binding)
            return shared_object.file_of(Binding().lib.TLS_method())

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "OpenSSL.crypto":
                    seen.append(ask())

        seen, asked = [], []
        sys.meta_path.insert(0, Finder())
        use_system_openssl()
        kept = asked[0]
        seen.append(shared_object.file_of(kept().lib.TLS_method()))
        print(json.dumps([seen, ask()]))
        """
    )
    assert during == [after, after]
    assert (after == shared_object.our_libssl()) == same_libssl


def test_without_pyopenssl() -> None:
    """Without pyOpenSSL the package works, and what needs pyOpenSSL says that it is missing."""
    result = run(
        """
        import sys
        sys.modules["OpenSSL"] = None
        import openssl_tickets
        try:
            openssl_tickets.use_system_openssl()
        except ImportError as error:
            print(json.dumps(str(error)))
        """
    )
    assert "OpenSSL" in result


@pytest.mark.slow
def test_imported_again() -> None:
    """A context of a package that was imported anew is not given another one's callbacks."""
    reused = run(
        f"""
        import sys
        sys.path.append({str(Path(__file__).parents[2])!r})
        import trustme, tempfile, pathlib
        from openssl_tickets import SSL, TicketReturn
        from tests.support import tls
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "server.pem")
            issued = trustme.CA().issue_cert("localhost")
            file.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
            first = tls.server_context(file)
            client = tls.client_context()
            first.set_session_ticket_callback(None, lambda *_: TicketReturn.IGNORE_RENEW)
            session = tls.Pair(first, client).handshake().session()
            for name in list(sys.modules):
                if name.split(".")[0] == "openssl_tickets":
                    del sys.modules[name]
            import OpenSSL.SSL, openssl_tickets
            second = tls.server_context(file, context_class=OpenSSL.SSL.Context)
            openssl_tickets.set_session_ticket_callback(second, None, lambda *_: None)
            sys.unraisablehook = lambda unraisable: None
            pair = tls.Pair(first, client, session)
            try:
                pair.handshake()
            except SSL.Error:
                pass
            print(json.dumps(pair.reused))
        """
    )
    assert reused is False
