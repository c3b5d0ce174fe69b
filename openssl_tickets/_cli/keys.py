"""Makes, shows and rotates ticket key files: ``openssl-tickets keys``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from openssl_tickets._cli.output import complain, words_of
from openssl_tickets._cli.parser import number, parser_of
from openssl_tickets._core.ticket_keys import TicketKey
from openssl_tickets.ticket_key_files import TicketKeyFileWarning, save_ticket_keys
from openssl_tickets.ticket_key_files.files import numbered, read_files
from openssl_tickets.ticket_key_files.formats import FORMATS, Format

_KEEP = 2
_LOCK_TIMEOUT = 10.0  # seconds
# The errors of file systems that cannot lock folders, such as NFS.
_NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})

_DESCRIPTION = """\
Makes, shows and rotates files of TLS session ticket keys for nginx, HAProxy,
Apache, Envoy, and for servers in Python. It prints the names of keys, and never
a key. New files have mode 0600. A file is replaced in one step, and keeps its
owner, its group, and their permissions."""

_EXAMPLES = """\
examples:
  openssl-tickets keys new /etc/nginx/ticket.key
  openssl-tickets keys rotate --keep 2 /etc/nginx/ticket.key && nginx -s reload
  openssl-tickets keys show /etc/nginx/ticket.key
  openssl-tickets keys new --format haproxy /etc/haproxy/tickets.keys

exit status: 0 if all went well; 1 if a file could not be read or written; 2 if
the command line is wrong. If a key was made, the status is 0 even if nobody
reads the output."""

_ROTATE = """\
nginx and Envoy have one key per file. The key in FILE goes to FILE.1, that of
FILE.1 to FILE.2, and so on, and a new key goes into FILE. The server's
configuration names FILE first, then FILE.1 and so on. A key that stays is in a
file at any moment. If a rotation was interrupted, run it again.

HAProxy has one file. Its first line is removed, and a new key is added at the
end. HAProxy encrypts with the last key but one, so the new key encrypts only
after the next rotation. Copy this file to every host before that.

Apache has one key. After a restart, it refuses the older tickets.

A new key has the size of the one before. Tell the server to reload. Servers in
Python that use watch_ticket_keys() notice the change themselves."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    format = FORMATS[options.format]
    if options.aes not in (None, *(layout.aes for layout in format.layouts)):
        parser.error(f"{options.format} has no keys for AES-{options.aes}")
    if options.run is _rotate and options.keep is not None and not format.has_sets:
        count = len(format.roles)
        has = "one key" if count == 1 else f"{count} keys"
        parser.error(f"--keep is of no use for {options.format}, which has {has}")
    with warnings.catch_warnings():
        warnings.simplefilter("always", TicketKeyFileWarning)
        warnings.showwarning = _show_warning
        try:
            with contextlib.nullcontext() if options.run is _show else _locked(options.file):
                files = options.run(options, format)
        except FileExistsError as error:
            complain(f"{words_of(error)}; --force replaces it")
            return 1
        except (OSError, ValueError) as error:
            complain(error)
            return 1
    keys = _told(files, format)
    if options.run is _show and options.json:
        is_read = _say(sys.stdout, json.dumps({"format": options.format, "keys": keys}, indent=2))
    else:
        is_read = _say(sys.stdout, *map("{file}: {name} AES-{aes} {role}".format_map, keys))
    if options.run is _show and not is_read:
        complain("the output could not be written")
        return 1
    # A new key is a success, even if the output could not be written. On an error, a script would
    # not reload the server, and would rotate again.
    if options.run is _rotate and options.format == "apache":
        _say(sys.stderr, "note: after a restart, Apache refuses the tickets of the old key")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("keys", description=_DESCRIPTION, epilog=_EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="new|show|rotate")

    def add(name: str, run: Callable[..., Any], help: str, **more: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, **more)
        command.set_defaults(run=run)
        command.add_argument(
            "--format",
            choices=list(FORMATS),
            default="nginx",
            help="the program that reads the file (default: nginx)",
        )
        command.add_argument(
            "--aes",
            type=int,
            choices=(256, 128),
            help="bits of the AES keys (default: 256; for Apache 128). An nginx file of 48 bytes "
            "is read only with --aes 128, because a cut file of 80 bytes looks the same",
        )
        command.add_argument("file", metavar="FILE", help="the key file")
        return command

    new = add("new", _new, "make a key file", description="Makes a key file with random keys.")
    new.add_argument(
        "--force",
        action="store_true",
        help="replace FILE if it exists, and remove FILE.1, FILE.2, ... of nginx and Envoy",
    )
    add(
        "show",
        _show,
        "print the names of the keys",
        description="Prints the names of the keys in FILE (and FILE.1, FILE.2, ...), and which\n"
        "of them encrypts.",
    ).add_argument(
        "--json",
        action="store_true",
        help="print one JSON object: format, and keys, each with file, name, aes (bits) and role "
        "(encrypts, encrypts next, decrypts)",
    )
    rotate = add(
        "rotate",
        _rotate,
        "put a new key in, and keep older ones",
        description="Adds a new key, and keeps older ones, so that older tickets stay valid.",
        epilog=_ROTATE,
    )
    rotate.add_argument(
        "--keep",
        type=number(0, 999),
        metavar="N",
        help=f"how many older keys stay, for nginx and Envoy (default: {_KEEP}). The files of the "
        "others are removed",
    )
    return parser


# Each command returns the keys that are now in each file.

_Files = dict[str, list[TicketKey]]


def _new(options: argparse.Namespace, format: Format) -> _Files:
    secret_len = format.layout(options.aes).secret_len
    return _save(options, [_random_key(secret_len) for _ in format.roles], options.force)


def _show(options: argparse.Namespace, format: Format) -> _Files:
    return read_files(format, (options.file,), options.aes, stacklevel=2)


def _rotate(options: argparse.Namespace, format: Format) -> _Files:
    keys = [key for found in _show(options, format).values() for key in found]
    new = _random_key(len(keys[0].aes_key))
    if format.has_sets:
        # An interrupted rotation leaves a key in two files.
        kept = list(dict.fromkeys(keys))[: _KEEP if options.keep is None else options.keep]
        return _save(options, [new, *kept])
    # The key that was next encrypts from now on, and the one that encrypted only decrypts.
    return _save(options, [*keys[1:2], new, *keys[:-2]])


def _save(options: argparse.Namespace, keys: list[TicketKey], overwrite: bool = True) -> _Files:
    save_ticket_keys(options.format, options.file, keys, overwrite=overwrite)
    if FORMATS[options.format].has_sets:
        return {numbered(options.file, place): [key] for place, key in enumerate(keys)}
    return {options.file: keys}


@contextlib.contextmanager
def _locked(file: str) -> Iterator[None]:
    """
    Locks the folder of *file*, so that one process at a time writes files in it.

    Raises:
        TimeoutError: another process held the lock for more than 10 seconds.
        OSError: the folder cannot be opened or locked.
    """
    folder = os.open(os.path.dirname(os.path.realpath(file)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(
                        f"somebody else has locked the folder of {file} for more than "
                        f"{_LOCK_TIMEOUT:g} seconds: nothing was done"
                    ) from None
                time.sleep(0.05)
                continue
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            break
        yield
    finally:
        os.close(folder)


def _random_key(secret_len: int) -> TicketKey:
    if secret_len == 32:
        return TicketKey.generate()
    return TicketKey(os.urandom(16), os.urandom(secret_len), os.urandom(secret_len))


def _told(files: _Files, format: Format) -> list[dict[str, Any]]:
    """Returns what may be printed about the keys in *files*: no secrets."""
    return [
        {"file": file, "name": key.name.hex(), "aes": 8 * len(key.aes_key), "role": role}
        for place, (file, keys) in enumerate(files.items())
        for role, key in zip(("decrypts",) if place else format.roles, keys, strict=True)
    ]


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(sys.stderr, f"warning: {message}")


def _say(stream: TextIO | None, *lines: str) -> bool:
    """Prints *lines*, and returns whether they were written."""
    if stream is None:  # it was closed before this program started
        return False
    try:
        for line in lines:
            # The name of a file may be in any encoding.
            encoding = stream.encoding or "utf-8"
            print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream)
        stream.flush()
    except OSError:
        # Otherwise the rest of the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True
