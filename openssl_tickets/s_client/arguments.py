"""Checks the arguments of a caller, and makes s_client's command line from them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from typing import Any, Literal, TypedDict


class SClientOptions(TypedDict, total=False):
    """The keyword arguments of :class:`SClient`, to annotate functions that pass them on."""

    tls_version: Literal["1.2", "1.3"] | None
    ca_file: str | os.PathLike[str] | None
    server_name: str | None
    sess_in: str | os.PathLike[str] | None
    sess_out: str | os.PathLike[str] | None
    cert_file: str | os.PathLike[str] | None
    key_file: str | os.PathLike[str] | None
    extra_args: Sequence[str]
    program: str | os.PathLike[str]
    timeout: float


class RunOptions(SClientOptions, total=False):
    """The keyword arguments of :func:`run`."""

    send: bytes
    tickets: int
    wait_for: bytes
    check: bool


_VERSIONS = {None: [], "1.2": ["-tls1_2"], "1.3": ["-tls1_3"]}

# Options of s_client that extra_args must not hold, and the reason.
_REFUSED = {
    **dict.fromkeys(("quiet", "brief", "debug"), "the program's output is read here"),
    **dict.fromkeys(("msg", "msgfile", "trace"), "the protocol messages are read here"),
    **dict.fromkeys(
        ("prexit", "showcerts", "tlsextdebug", "keymatexport", "keymatexportlen"),
        "the program prints nothing of it here",
    ),
    "ign_eof": "the program is ended by the end of its input",
    **dict.fromkeys(("adv", "no-interactive"), "what is sent is the program's input, as it is"),
    **dict.fromkeys(("dtls", "dtls1", "dtls1_2", "sctp", "quic"), "only TLS is understood here"),
    "reconnect": "this is one connection: run it again with sess_in",
}


def command_line(
    host: str,
    port: int,
    *,
    tls_version: str | None,
    server_name: str | None,
    extra_args: Sequence[str],
    **files: str | os.PathLike[str] | None,
) -> list[str]:
    """
    Returns the command line of s_client. The arguments are those of :class:`SClient`.

    Raises:
        TypeError, ValueError: an argument has the wrong type, or is out of range.
    """
    check("tls_version", tls_version, (str, type(None)), "a str or None")
    if tls_version not in _VERSIONS:
        raise ValueError(f'tls_version must be "1.2", "1.3" or None, not {tls_version!r}')
    check("server_name", server_name, (str, type(None)), "a str or None")
    if server_name == "":
        raise ValueError("server_name must not be empty: give None to ask for no name")
    if files["key_file"] is not None and files["cert_file"] is None:
        raise ValueError(f"key_file {files['key_file']!r} is of no use without a cert_file")
    options = {
        "-CAfile": "ca_file",
        "-sess_in": "sess_in",
        "-sess_out": "sess_out",
        "-cert": "cert_file",
        "-key": "key_file",
    }
    return [
        *("-connect", address(host, port)),
        *_VERSIONS[tls_version],
        *(["-noservername"] if server_name is None else ["-servername", server_name]),
        *(
            part
            for option, name in options.items()
            if (path := files[name]) is not None
            for part in (option, checked_path(name, path))
        ),
        *_checked_extra_args(extra_args),
    ]


def address(host: str, port: int) -> str:
    check("host", host, str, "a str")
    if not host:
        raise ValueError("host must not be empty: give a name or an address")
    check("port", port, int, "an int")
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be 1 to 65535, not {port}")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def checked_path(name: str, path: str | os.PathLike[str]) -> str:
    check(name, path, (str, os.PathLike), "a str or a path")
    text = os.fspath(path)
    if not text:
        raise ValueError(f"{name} must not be empty")
    return text


def _checked_extra_args(extra_args: Sequence[str]) -> list[str]:
    # A str is also a sequence of str, but a caller never means that.
    is_list = isinstance(extra_args, Sequence) and not isinstance(extra_args, (str, bytes))
    check("extra_args", extra_args, Sequence if is_list else (), "a list of str")
    for argument in extra_args:
        check("an item of extra_args", argument, str, "a str")
        option = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and option in _REFUSED:
            raise ValueError(f"extra_args must not hold {argument}: {_REFUSED[option]}")
    return list(extra_args)


def checked_timeout(timeout: float) -> float:
    check("timeout", timeout, (int, float), "a number of seconds")
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be more than 0 seconds, and finite, not {timeout!r}")
    return min(float(timeout), threading.TIMEOUT_MAX)


def check_count(name: str, count: int) -> None:
    check(name, count, int, "an int")
    if count < 0:
        raise ValueError(f"{name} must be 0 or more, not {count}")


def check_bytes(name: str, data: bytes) -> None:
    check(name, data, bytes, "bytes")


def check(name: str, value: object, types: Any, what: str) -> None:
    """Raises TypeError if *value* is not one of *types*, or if it is a bool."""
    if isinstance(value, bool) or not isinstance(value, types):
        raise TypeError(f"{name} must be {what}, not {type(value).__name__}: {value!r:.80}")
