"""Makes, shows and rotates ticket key files: ``python -m openssl_tickets keys``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from openssl_tickets._core.ticket_keys import TicketKey
from openssl_tickets.ticket_key_files import (
    HAPROXY_KEYS,
    TicketKeyFileWarning,
    encode_apache_key,
    encode_envoy_key,
    encode_haproxy_keys,
    encode_nginx_key,
    load_apache_keys,
    load_envoy_keys,
    load_nginx_keys,
    read_haproxy_keys,
    write_key_file,
)

_KEEP = 2
_LOCK_TIMEOUT = 10.0  # seconds
# File systems that have no locks on folders, as NFS.
_NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})

_DESCRIPTION = """\
Makes, shows and rotates files of TLS session ticket keys, for nginx, HAProxy, Apache, Envoy, and
for servers in Python. Only names of keys are ever printed. Files are written with mode 0600, and
replaced as a whole."""

_EXAMPLES = """\
examples:
  python -m openssl_tickets keys new /etc/nginx/ticket.key
  python -m openssl_tickets keys rotate --keep 2 /etc/nginx/ticket.key && nginx -s reload
  python -m openssl_tickets keys show /etc/nginx/ticket.key
  python -m openssl_tickets keys new --format haproxy /etc/haproxy/tickets.keys

exit status: 0, or 1 if a file could not be read or written, or 2 for a wrong command line."""

_ROTATE = """\
nginx and Envoy have one key per file: the key in FILE goes to FILE.1, that of FILE.1 to FILE.2, and
so on, and a new one into FILE. The server's configuration names FILE first, then FILE.1 and so on,
as soon as they are there. At no time is a key missing that is to stay, and what was broken off may
be begun anew.

HAProxy has one file: its first line goes, and a new key comes last. HAProxy encrypts with the last
but one, so the new key encrypts only after the rotation after this: by then every host should have
this file.

Apache has one key: after it has restarted, tickets that it has issued before are of no use.

A new key is of the size of the one before. Tell the server to reload; servers in Python that use
watch_ticket_keys() notice by themselves."""


class _Format(NamedTuple):
    load: Callable[[str], list[TicketKey]]
    encode: Callable[[list[TicketKey]], bytes]
    roles: tuple[str, ...]
    has_more_files: bool = False
    secret_lens: tuple[int, ...] = (32, 16)


_ENCRYPTS, _DECRYPTS = "encrypts", "decrypts"

_FORMATS = {
    "nginx": _Format(
        load_nginx_keys, lambda keys: encode_nginx_key(*keys), (_ENCRYPTS,), has_more_files=True
    ),
    "haproxy": _Format(
        read_haproxy_keys, encode_haproxy_keys, (_ENCRYPTS, "encrypts next", _DECRYPTS)
    ),
    "apache": _Format(
        load_apache_keys, lambda keys: encode_apache_key(*keys), (_ENCRYPTS,), secret_lens=(16,)
    ),
    "envoy": _Format(
        load_envoy_keys,
        lambda keys: encode_envoy_key(*keys),
        (_ENCRYPTS,),
        has_more_files=True,
        secret_lens=(32,),
    ),
}


FORMATS = tuple(_FORMATS)


def load_keys(first: str, format: str) -> list[TicketKey]:
    """
    Returns the keys in the file *first*, and in *first*.1, *first*.2 and so on where the *format*
    has one key per file: what encrypts comes first, and a key that is there twice once.

    Raises:
        OSError, ValueError: a file could not be read.
    """
    program = _FORMATS[format]
    files = _files(first) if program.has_more_files else [first]
    return list(dict.fromkeys(key for file in files for key in program.load(file)))


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.program = _FORMATS[options.format]
    with warnings.catch_warnings():
        warnings.simplefilter("always", TicketKeyFileWarning)
        warnings.showwarning = _show_warning
        try:
            options.run(options, parser.error)
        except FileExistsError as error:
            print(f"error: {error}; --force replaces it", file=sys.stderr)
            return 1
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets keys",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="new|show|rotate")

    def add(name: str, run: Callable[..., None], help: str, **more: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=help, formatter_class=argparse.RawDescriptionHelpFormatter, **more
        )
        command.set_defaults(run=run)
        command.add_argument(
            "--format",
            choices=list(_FORMATS),
            default="nginx",
            help="the program that reads it; their files differ (default: nginx)",
        )
        command.add_argument("file", metavar="FILE")
        return command

    new = add("new", _new, "make a key file", description="Makes a key file with random keys.")
    new.add_argument(
        "--aes",
        type=int,
        choices=(256, 128),
        help="bits of the key for AES (default: 256; for Apache 128)",
    )
    new.add_argument("--force", action="store_true", help="replace FILE where there is one")
    add(
        "show",
        _show,
        "print the names of the keys",
        description="Prints the names of the keys in FILE (and FILE.1, FILE.2, ...), and which of "
        "them encrypts.",
    )
    rotate = add(
        "rotate",
        _rotate,
        "put a new key in, and keep older ones",
        description="Puts a new key in, and keeps older ones, so that tickets stay good.",
        epilog=_ROTATE,
    )
    rotate.add_argument(
        "--keep",
        type=_number,
        metavar="N",
        help=f"how many older keys of nginx's or Envoy's stay (default: {_KEEP}); the files of "
        "those that go are removed",
    )
    return parser


def _number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1000:
        raise argparse.ArgumentTypeError("from 0 to 999")
    return number


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _new(options: argparse.Namespace, usage_error: Callable[[str], None]) -> None:
    program: _Format = options.program
    secret_len = (options.aes or 8 * program.secret_lens[0]) // 8
    if secret_len not in program.secret_lens:
        usage_error(f"{options.format} has no keys for AES-{options.aes}")
    keys = [_random_key(secret_len) for _ in program.roles]
    with _locked(options.file):
        write_key_file(options.file, program.encode(keys), overwrite=options.force)
    _print(options.file, program.roles, keys)


def _show(options: argparse.Namespace, usage_error: Callable[[str], None]) -> None:
    _print_all(options.file, options.program)


def _rotate(options: argparse.Namespace, usage_error: Callable[[str], None]) -> None:
    program: _Format = options.program
    if options.keep is not None and not program.has_more_files:
        usage_error(
            f"--keep is of no use for haproxy, whose file has {HAPROXY_KEYS} keys"
            if options.format == "haproxy"
            else "--keep is of no use for apache, which has one key"
        )
    with _locked(options.file):
        if program.has_more_files:
            _rotate_files(options.file, program, _KEEP if options.keep is None else options.keep)
        elif options.format == "haproxy":
            encrypting, following, _ = program.load(options.file)
            new = _random_key(len(encrypting.aes_key))
            write_key_file(options.file, program.encode([following, new, encrypting]))
        else:
            program.load(options.file)
            write_key_file(options.file, program.encode([_random_key(16)]))
    _print_all(options.file, program)
    if options.format == "apache":
        print("note: tickets of the key before are of no use after a restart", file=sys.stderr)


def _rotate_files(first: str, program: _Format, keep: int) -> None:
    """
    Moves the keys one file on, the oldest first, so that each is in a file at any time.

    Broken off, it leaves a key in two files; where it is begun anew, that counts as one.
    """
    files = _files(first)
    keys = list(dict.fromkeys(key for file in files for key in program.load(file)))
    kept = [_random_key(len(keys[0].aes_key)), *keys[:keep]]
    for number, key in reversed(list(enumerate(kept))):
        write_key_file(_numbered(first, number), program.encode([key]))
    # Looked for anew: a gap may just have been filled.
    for file in reversed(_files(first)[len(kept) :]):
        os.unlink(file)


def _files(first: str) -> list[str]:
    """Returns FILE, FILE.1, and so on, as far as they are there."""
    files = [first]
    while os.path.lexists(following := _numbered(first, len(files))):
        files.append(following)
    return files


def _numbered(first: str, number: int) -> str:
    return f"{first}.{number}" if number else first


@contextlib.contextmanager
def _locked(file: str) -> Iterator[None]:
    """Lets one process at a time write the files in the folder of *file*."""
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


def _print_all(first: str, program: _Format) -> None:
    files = _files(first) if program.has_more_files else [first]
    for file in files:
        _print(file, program.roles if file == first else (_DECRYPTS,), program.load(file))


def _print(file: str, roles: Sequence[str], keys: Sequence[TicketKey]) -> None:
    for role, key in zip(roles, keys, strict=True):
        print(f"{file}: {key.name.hex()} AES-{8 * len(key.aes_key)} {role}")
