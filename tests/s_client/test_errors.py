"""What cannot be done, and arguments that make no sense."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import s_client
from openssl_tickets.s_client import SClient
from tests.support import processes
from tests.support.shell import free_port

Server = Callable[..., AbstractContextManager[int]]


def test_refused_connection() -> None:
    """A port on which nothing listens is a ConnectionRefusedError that names it."""
    port = free_port()
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port} was refused") as error:
        s_client.run("127.0.0.1", port, check=False)
    assert isinstance(error.value, s_client.SClientRefused)
    assert "connect:errno=" in error.value.output


@pytest.mark.parametrize("program", ["no-such-openssl", "/no/such/openssl", __file__])
def test_missing_program(program: str) -> None:
    """A program that is missing or not executable is a FileNotFoundError that names it."""
    with pytest.raises(FileNotFoundError, match=re.escape(repr(program))) as error:
        s_client.run("127.0.0.1", 4433, program=program)
    assert isinstance(error.value, s_client.SClientNotFound)
    assert error.value.output == ""


@pytest.mark.skipif(
    sys.version_info < (3, 11, 4), reason="subprocess.Popen itself leaves files open (gh-87474)"
)
def test_no_files_left() -> None:
    """If the process may open no more files, the error says so, and none stays open."""
    program = """
        import contextlib, os, resource
        from openssl_tickets import s_client

        with contextlib.suppress(s_client.SClientRefused):
            s_client.run("127.0.0.1", PORT)
        open_files = len(os.listdir("/dev/fd"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        for more in range(8):
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files + more, limits[1]))
            try:
                s_client.run("127.0.0.1", PORT)
            except OSError as error:
                assert "Too many open files" in str(error), error
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert len(os.listdir("/dev/fd")) == open_files
        print("done")
    """
    output = processes.run(textwrap.dedent(program).replace("PORT", str(free_port())))
    assert output == "done\n"


def test_program_ends_before_it_connects(tmp_path: Path) -> None:
    """An argument or a file that the program refuses is an error with what it said."""
    with pytest.raises(s_client.SClientEnded, match="before a connection") as error:
        s_client.run("127.0.0.1", 4433, extra_args=["-no-such-option"], check=False)
    assert "-no-such-option" in error.value.output
    with pytest.raises(s_client.SClientError, match="No such file"):
        s_client.run("127.0.0.1", 4433, sess_in=tmp_path / "missing.pem")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"host": b"localhost"}, TypeError, "host must be a str, not bytes"),
        ({"host": ""}, ValueError, "host must not be empty"),
        ({"port": "443"}, TypeError, "port must be an int, not str: '443'"),
        ({"port": True}, TypeError, "port must be an int, not bool"),
        ({"port": 0}, ValueError, "port must be 1 to 65535, not 0"),
        ({"port": 65536}, ValueError, "port must be 1 to 65535, not 65536"),
        ({"tls_version": "1.1"}, ValueError, "tls_version must be .*, not '1.1'"),
        ({"tls_version": 1.3}, TypeError, "tls_version must be a str or None, not float: 1.3"),
        ({"tickets": -1}, ValueError, "tickets must be 0 or more, not -1"),
        ({"tickets": 1.0}, TypeError, "tickets must be an int, not float"),
        ({"send": "text"}, TypeError, "send must be bytes, not str: 'text'"),
        ({"wait_for": "text"}, TypeError, "wait_for must be bytes, not str: 'text'"),
        ({"server_name": b"a"}, TypeError, "server_name must be a str or None, not bytes"),
        ({"server_name": ""}, ValueError, "server_name must not be empty"),
        ({"ca_file": 1}, TypeError, "ca_file must be a str or a path, not int: 1"),
        ({"sess_in": ""}, ValueError, "sess_in must not be empty"),
        ({"key_file": "key.pem"}, ValueError, "key_file 'key.pem' is of no use without"),
        ({"program": None}, TypeError, "program must be a str or a path, not None"),
        ({"extra_args": "-4"}, TypeError, "extra_args must be a list of str, not str: '-4'"),
        ({"extra_args": [4]}, TypeError, "an item of extra_args must be a str, not int: 4"),
        *(
            ({"extra_args": [option]}, ValueError, f"extra_args must not hold {option}: [a-z]")
            for option in (
                *("-quiet", "--quiet", "-brief", "-debug", "-msg", "-msgfile=x", "-trace"),
                *("-reconnect", "-ign_eof", "-adv", "-no-interactive", "-prexit", "-showcerts"),
                *("-tlsextdebug", "-keymatexport", "-keymatexportlen"),
                *("-dtls", "-dtls1", "-dtls1_2", "-sctp", "-quic"),
            )
        ),
        ({"timeout": "5"}, TypeError, "timeout must be a number of seconds, not str: '5'"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds, and finite, not 0"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 .* not nan"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad argument is refused before anything is started, with its name and value."""
    with pytest.raises(error, match=message):
        s_client.run(**{"host": "127.0.0.1", "port": 4433, **arguments})


def test_bad_arguments_of_steps(s_server: Server) -> None:
    """A bad argument of a step is refused, and the connection goes on."""
    with s_server() as port, SClient("127.0.0.1", port) as client:
        with pytest.raises(TypeError, match="data must be bytes, not str"):
            client.send("text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="data must not be empty"):
            client.wait_for(b"")
        with pytest.raises(ValueError, match="count must be 0 or more, not -1"):
            client.wait_for_tickets(-1)
        assert len(client.wait_for_tickets(2)) == 2
