"""Makes the policy from the options, or from the functions of a Python file."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from openssl_tickets import ReceivedTicket, TicketReturn, TicketStatus

ANSWERS: dict[str, TicketReturn | None] = {
    "default": None,
    **{answer.name.lower().replace("_", "-"): answer for answer in TicketReturn},
}
_USES = (None, TicketReturn.USE, TicketReturn.USE_RENEW)


class Policy(NamedTuple):
    generate: Callable[[Any, Any], Any] | None
    decrypt: Callable[[Any, ReceivedTicket, Any], Any] | None
    data: Any


def policy_of(options: argparse.Namespace, usage_error: Callable[[str], NoReturn]) -> Policy:
    """Returns the policy that *options* name. *usage_error* ends the command if there is none."""
    generate = decrypt = data = None
    if options.policy is not None:
        names = _load(options.policy, usage_error)
        generate, decrypt, data = (names.get(name) for name in ("generate", "decrypt", "data"))
        for name, function in (("generate", generate), ("decrypt", decrypt)):
            if function is not None and not callable(function):
                usage_error(f"--policy {options.policy}: its {name} is not a function")
        if generate is None and decrypt is None:
            usage_error(f"--policy {options.policy}: it defines neither generate nor decrypt")
    if options.appdata is not None:
        if generate is not None:
            usage_error("--appdata is of no use with a --policy that defines generate")
        generate = _fixed(options.appdata)
    if options.answer is not None:
        if decrypt is not None:
            usage_error("--answer is of no use with a --policy that defines decrypt")
        decrypt = _fixed_answer(ANSWERS[options.answer])
    return Policy(generate, decrypt, data)


def _load(path: str, usage_error: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Runs a Python file, with its folder first on the path, and returns its names."""
    file = os.path.abspath(path)
    spec = importlib.util.spec_from_file_location("policy", file)
    if spec is None or spec.loader is None:
        usage_error(f"--policy {path}: it is not a Python file, FILE.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(file))
    sys.modules["policy"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Only the lines of the policy file, without our own frames.
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
        ]
        where = f", line {frames[-1].lineno}" if frames else ""
        what = "".join(traceback.format_exception_only(error)).strip()
        usage_error(f"--policy {path} does not load{where}: {what}")
    return vars(module)


def _fixed(appdata: bytes) -> Callable[[Any, Any], bytes]:
    return lambda connection, data: appdata


def _fixed_answer(
    answer: TicketReturn | None,
) -> Callable[[Any, ReceivedTicket, Any], TicketReturn | None]:
    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        if ticket.status == TicketStatus.EMPTY:  # a TLS 1.2 client asks for its first ticket
            return None
        # A ticket that cannot be decrypted cannot be used, so OpenSSL decides.
        return None if ticket.appdata is None and answer in _USES else answer

    return decrypt
