"""Reads key files, and replaces them so that each key is readable at any time."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
import warnings
from collections.abc import Iterable, Iterator

from openssl_tickets._core.ticket_keys import TicketKey
from openssl_tickets.ticket_key_files.formats import (
    Format,
    TicketKeyFormat,
    encode_ticket_keys,
    find_format,
)

StrPath = str | os.PathLike[str]

_OTHERS = {stat.S_IRGRP | stat.S_IWGRP: "its group", stat.S_IROTH | stat.S_IWOTH: "everyone"}
_ACL = "system.posix_acl_access"  # Linux's


class TicketKeyFileWarning(UserWarning):
    """Users other than the owner of a ticket key file can read or change it."""


def load_ticket_keys(
    format: TicketKeyFormat, *paths: StrPath, aes: int | None = None
) -> list[TicketKey]:
    """
    Returns the ticket keys in a program's files. The key that encrypts comes first.

    HAProxy's file has one key per line, in base64. It must have at least three lines, and the last
    three count. The last but one encrypts, and the last is the next one. All lines must have the
    same size.

    Args:
        format: ``"nginx"`` (``ssl_session_ticket_key``), ``"haproxy"`` (``tls-ticket-keys``),
            ``"apache"`` (``SSLSessionTicketKeyFile``) or ``"envoy"`` (``session_ticket_keys``).
        paths: the file. nginx and Envoy have one key per file. If you name one file, FILE.1, FILE.2
            and so on are read too, if they exist. (``keys rotate`` makes them.) If you name several
            files, only these are read. Name them in the order of the program's configuration.
        aes: the size of all keys in bits, 256 or 128. The default for nginx is 256. For HAProxy, it
            is the size that the file has, because a part of a line cannot be mistaken for a key.

    Returns:
        A list of :class:`~openssl_tickets.TicketKey`, without duplicates.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: there is no such format; you name no file, or more files than the program has; a
            file is not a regular file, or has a wrong size; or a line is wrong.
        OSError: a file cannot be read, or is a folder.

    Warns:
        TicketKeyFileWarning: users other than the owner can read or change a file.

    Example::

        set_ticket_keys(context, TicketKeys(load_ticket_keys("nginx", "new.key", "old.key")))
    """
    files = read_files(find_format(format), paths, aes, stacklevel=3)
    return list(dict.fromkeys(key for keys in files.values() for key in keys))


def save_ticket_keys(
    format: TicketKeyFormat, path: StrPath, keys: Iterable[TicketKey], *, overwrite: bool = True
) -> None:
    """
    Writes a program's ticket keys, so that :func:`load_ticket_keys` returns them.

    A file is replaced in one step, so a reader finds either the old key or the new one. A new file
    has mode 0600 from the start. A replaced file keeps its owner, its group, and the permissions of
    both (mode and ACL). Everyone else loses access. If *path* is a symbolic link, the file that it
    points to is replaced, and the link stays.

    nginx and Envoy have one key per file. The first key goes to FILE, and the others to FILE.1,
    FILE.2 and so on, with the owner, group and mode of FILE. Files of the set after the last key
    are removed. The last key is written first. So if you write ``[new, *keys]`` over ``keys``, you
    rotate them, and a reader that reads the files in order finds each key that stays.

    The programs read their files when they start and when they reload.

    Args:
        format: ``"nginx"``, ``"haproxy"``, ``"apache"`` or ``"envoy"``.
        path: the file, or the first file of the set.
        keys: an iterable of :class:`~openssl_tickets.TicketKey`, first the one that encrypts.
            HAProxy has three: the one that encrypts, the next, and the previous. Apache has one,
            for AES-128, such as ``TicketKey(os.urandom(16), os.urandom(16), os.urandom(16))``.
            Envoy's keys are for AES-256.
        overwrite: if False, it is an error if FILE or FILE.1 exists.

    Raises:
        TypeError: a key is not a :class:`~openssl_tickets.TicketKey`, or *format* is not a str.
        ValueError: there is no such format, the program does not take this number of keys or keys
            of this size, or *path* is not a regular file. Nothing is written.
        FileExistsError: the file exists, and *overwrite* is False.
        OSError: a file cannot be written, or cannot be given the owner and group of the old one.
            That file stays as it was.

    Example::

        keys = load_ticket_keys("nginx", "ticket.key")
        save_ticket_keys("nginx", "ticket.key", [TicketKey.generate(), *keys[:2]])
    """
    has_sets = find_format(format).has_sets
    contents = [[key] for key in keys] if has_sets else [keys]
    encoded = [encode_ticket_keys(format, each) for each in contents]
    if not encoded:
        raise ValueError("there must be at least one key")
    first = os.fsdecode(path)
    for file in [first, *(_numbers(first) if has_sets else ())]:
        if (status := _stat(file)) is not None:
            if not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), file)
            _must_be_regular(status, file)
    like = first if os.path.exists(first) else None  # all files of a set have the same readers
    for number, data in reversed(list(enumerate(encoded))):
        _replace(numbered(first, number), data, like, overwrite)
    if has_sets:
        surplus = list(_numbers(first, len(encoded)))
        for file in reversed(surplus):
            os.unlink(file)
        if surplus:
            _sync_folder(os.path.dirname(os.path.realpath(first)))


def read_files(
    format: Format, paths: tuple[StrPath, ...], aes: int | None, stacklevel: int
) -> dict[str, list[TicketKey]]:
    """Returns the keys of each file. A warning appears *stacklevel* calls further up."""
    if not paths:
        raise ValueError(f"name at least one ticket key file of {format.program}'s")
    if len(paths) > 1 and not format.has_sets:
        raise ValueError(f"{format.program} has one ticket key file, not {len(paths)}")
    files = {}
    # The files are read in order, because a rotation moves keys to later files.
    for path in paths:
        shown = os.fsdecode(path)
        files[shown] = _read(format, shown, aes, stacklevel + 1)
    if len(paths) == 1 and format.has_sets:
        for file in _numbers(shown):
            try:
                files[file] = _read(format, file, aes, stacklevel + 1)
            except FileNotFoundError:
                if os.path.islink(file):
                    raise
                break  # a rotation has just removed it
    return files


def numbered(first: str, number: int) -> str:
    """Returns the name of a file of a set: FILE, FILE.1, FILE.2, ..."""
    return f"{first}.{number}" if number else first


def _numbers(first: str, number: int = 1) -> Iterator[str]:
    """Yields FILE.number and the files after it, as long as they exist."""
    while os.path.lexists(file := numbered(first, number)):
        yield file
        number += 1


def _read(format: Format, path: str, aes: int | None, stacklevel: int) -> list[TicketKey]:
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        _must_be_regular(status, path)
        data, most = b"", format.max_size + 1
        while len(data) < most and (piece := file.read(most - len(data))):
            data += piece
    size = max(status.st_size, len(data)) if len(data) == most else len(data)
    keys = format.decode(data, size, aes, path)
    others = " and ".join(who for bits, who in _OTHERS.items() if status.st_mode & bits)
    if others:
        warnings.warn(
            f"{path} holds ticket keys and is open to {others}: chmod 600 {shlex.quote(path)}",
            TicketKeyFileWarning,
            stacklevel=stacklevel,
        )
    return keys


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for its writer


def _must_be_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")


def _stat(path: str) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path)
    return None


def _replace(path: str, data: bytes, like: str | None, overwrite: bool) -> None:
    """Replaces a file in one step. It gets the owner and permissions of the file *like*."""
    target = os.path.realpath(path)
    try:
        folder, name = os.path.split(target)
        temporary = os.path.join(folder, f".{name[:32]}.{os.urandom(8).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                if like is not None:
                    _copy_access(like, descriptor)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            if overwrite:
                os.replace(temporary, target)
            else:
                os.link(temporary, target)  # unlike a rename, this fails if the file exists now
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        _sync_folder(folder)
    except OSError as error:
        # The original error may name the temporary file, or no file.
        raise OSError(error.errno, error.strerror, path) from error


def _copy_access(like: str, descriptor: int) -> None:
    """Gives a new file the owner, the group and their permissions of the file *like*."""
    status, made = os.stat(like), os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    # If a file has an ACL, the group bits of its mode are the ACL's mask. If only the mode were
    # copied, the group could get access that the ACL denies.
    if hasattr(os, "getxattr"):
        acl = b""
        with contextlib.suppress(OSError):  # the file has no ACL, or the file system has none
            acl = os.getxattr(like, _ACL)
        if acl:
            os.setxattr(descriptor, _ACL, acl)
    os.fchmod(descriptor, status.st_mode & 0o770)


def _sync_folder(folder: str) -> None:
    """Makes sure that renames in *folder* survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
