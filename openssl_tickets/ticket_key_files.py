"""
Ticket key files of nginx, HAProxy, Apache and Envoy: read, written, and watched.

They are not interchangeable: programs differ in the order of the secrets, in the sizes, and in
which key encrypts, so each has its functions. A file of the wrong program is often of the right
size: it is read without an error, and no ticket crosses.

======== ===== ============================ ==================================================
program  bytes layout                       the key that encrypts
======== ===== ============================ ==================================================
nginx    80    name 16, HMAC 32, AES 32     the first of several files
nginx    48    name 16, AES 16, HMAC 16     the first of several files
HAProxy  80    name 16, AES 32, HMAC 32     the last but one of the lines, which are in base64
HAProxy  48    name 16, AES 16, HMAC 16     the last but one of the lines, which are in base64
Apache   48    name 16, HMAC 16, AES 16     there is one
Envoy    80    name 16, HMAC 32, AES 32     the first of several files
======== ===== ============================ ==================================================

A ticket crosses between one of these programs and a Python server, and back, when they have the
same keys and the same session id context. With the context of another server a ticket is decrypted,
and a ``decrypt`` callback sees ``SUCCESS``, but libssl makes a full handshake all the same. Found
with nginx 1.22 and HAProxy 2.6, in TLS 1.2 and 1.3, with keys of both sizes:

- HAProxy has ``b"haproxy"``: ``Context.set_session_id(b"haproxy")`` of pyOpenSSL, and tickets
  cross;
- nginx has the SHA-1 of ``b"HTTP"``, the SHA-1 of each of its certificates in DER (of the server's
  own, not of those that sign it), and the SHA-1 of each name in ``ssl_client_certificate``: with
  that they cross too;
- the standard ``ssl`` has ``b"Python\\0"``, with no way to set another: its tickets and those of
  nginx and HAProxy are decrypted by the other side, and resumed by neither.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import logging
import os
import shlex
import stat
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from openssl_tickets._core.ticket_keys import TicketKey, TicketKeys

StrPath = str | os.PathLike[str]

HAPROXY_KEYS = 3
"""How many keys HAProxy knows at a time: its TLS_TICKETS_NO, unless it was built with another."""

_NAME_LEN = 16  # bytes
_HAPROXY_FILE_MAX = 1 << 20  # bytes; a line more every hour, for a year
_OTHERS = {stat.S_IRGRP | stat.S_IWGRP: "its group", stat.S_IROTH | stat.S_IWOTH: "everyone"}
_FRESH = 2_000_000_000  # nanoseconds, of file systems that tell time the most coarsely

_log = logging.getLogger(__name__)


class TicketKeyFileWarning(UserWarning):
    """A ticket key file can be read, or changed, by others than its owner."""


class _Layout(NamedTuple):
    """What comes behind the name: two secrets of so many bytes each."""

    secret_len: int
    aes_first: bool

    @property
    def size(self) -> int:
        return _NAME_LEN + 2 * self.secret_len

    def decode(self, data: bytes) -> TicketKey:
        middle = _NAME_LEN + self.secret_len
        first, second = data[_NAME_LEN:middle], data[middle:]
        hmac_key, aes_key = (second, first) if self.aes_first else (first, second)
        return TicketKey(data[:_NAME_LEN], hmac_key, aes_key)

    def encode(self, key: TicketKey) -> bytes:
        if self.aes_first:
            return key.name + key.aes_key + key.hmac_key
        return key.name + key.hmac_key + key.aes_key


class _Program(NamedTuple):
    name: str
    layouts: tuple[_Layout, ...]

    def decode(self, data: bytes, size: int, where: str) -> TicketKey:
        """Returns the key in *data*, of *size* bytes in all, which has been found *where*."""
        for layout in self.layouts:
            if layout.size == size == len(data):
                return layout.decode(data)
        sizes = " or ".join(str(layout.size) for layout in self.layouts)
        raise ValueError(f"{where} is not a ticket key for {self.name}: {sizes} bytes, not {size}")

    def encode(self, key: TicketKey) -> bytes:
        if not isinstance(key, TicketKey):
            raise TypeError(f"a key must be a TicketKey, not {type(key).__name__}")
        given = len(key.aes_key)
        for layout in self.layouts:
            if layout.secret_len == given:
                return layout.encode(key)
        sizes = " or ".join(f"AES-{8 * layout.secret_len}" for layout in self.layouts)
        raise ValueError(f"{self.name} takes keys for {sizes}, not for AES-{8 * given}")


_NGINX = _Program("nginx", (_Layout(32, False), _Layout(16, True)))
_HAPROXY = _Program("HAProxy", (_Layout(32, True), _Layout(16, True)))
_APACHE = _Program("Apache", (_Layout(16, False),))
_ENVOY = _Program("Envoy", (_Layout(32, False),))


def load_nginx_keys(*paths: StrPath) -> list[TicketKey]:
    """
    Reads the files of nginx's ``ssl_session_ticket_key``, one key each.

    Args:
        paths: the files, in the order in which nginx's configuration names them: the first
            encrypts.

    Returns:
        The keys, for :class:`TicketKeys`; a key that several files hold comes once.

    Raises:
        ValueError: a file has neither 80 nor 48 bytes, or is not a regular one; or none is named.
        OSError: a file cannot be read, or is a folder.

    Warns:
        TicketKeyFileWarning: others than the owner of a file can read it.

    Example::

        set_ticket_keys(context, TicketKeys(load_nginx_keys("new.key", "old.key")))
    """
    return _load_each(_NGINX, paths)


def load_envoy_keys(*paths: StrPath) -> list[TicketKey]:
    """
    Reads the files of Envoy's ``session_ticket_keys``, one key of 80 bytes each.

    Args:
        paths: the files, in the order in which Envoy's configuration names them: the first
            encrypts.

    Returns, raises and warns as :func:`load_nginx_keys` does.
    """
    return _load_each(_ENVOY, paths)


def load_apache_keys(path: StrPath) -> list[TicketKey]:
    """
    Reads the file of Apache's ``SSLSessionTicketKeyFile``: one key of 48 bytes.

    Args:
        path: the file.

    Returns, raises and warns as :func:`load_nginx_keys` does.
    """
    return _load_each(_APACHE, (path,))


def load_haproxy_keys(path: StrPath) -> list[TicketKey]:
    """
    Reads the file of HAProxy's ``tls-ticket-keys``: a key in base64 per line.

    It is read as HAProxy does: the last three lines count, and there must be three; the last but
    one encrypts; the last is known already, and encrypts once another line is added; all lines are
    of one size.

    Args:
        path: the file.

    Returns:
        The keys: the one that encrypts, the next, and the one before; a key that several lines hold
        comes once.

    Raises:
        ValueError: there are less than three lines; a line is not 80 or 48 bytes in base64, or is
            of another size than the first; the file is not a regular one, or has more than 1 MiB.
        OSError: the file cannot be read, or is a folder.

    Warns:
        TicketKeyFileWarning: others than the owner of the file can read it.
    """
    return _once(read_haproxy_keys(path, 4))


def save_nginx_key(path: StrPath, key: TicketKey) -> None:
    """
    Writes *key* as a file for nginx's ``ssl_session_ticket_key``: 80 bytes, or 48 for AES-128.

    The file is replaced as a whole: who reads it finds the old key or the new one. Its mode is
    0600, from the first byte on, whatever it was; a file that is there keeps its owner. Where
    *path* is a symbolic link, what it points to is replaced, and the link stays.

    nginx reads its files when it starts, and when it is told to reload.

    Args:
        path: the file.
        key: the key.

    Raises:
        TypeError: *key* is not a :class:`TicketKey`.
        ValueError: the program does not take keys of this size, or *path* is not a regular file.
        OSError: the file cannot be written, or not be given to the owner of the old one; the old
            one stays as it was.
    """
    write_key_file(path, encode_nginx_key(key))


def save_envoy_key(path: StrPath, key: TicketKey) -> None:
    """
    Writes *key*, one for AES-256, as a file for Envoy's ``session_ticket_keys``.

    Else as :func:`save_nginx_key`.
    """
    write_key_file(path, encode_envoy_key(key))


def save_apache_key(path: StrPath, key: TicketKey) -> None:
    """
    Writes *key*, one for AES-128, as the file for Apache's ``SSLSessionTicketKeyFile``.

    :meth:`TicketKey.generate` makes keys for AES-256: here take
    ``TicketKey(os.urandom(16), os.urandom(16), os.urandom(16))``. Else as :func:`save_nginx_key`.
    """
    write_key_file(path, encode_apache_key(key))


def save_haproxy_keys(path: StrPath, keys: Iterable[TicketKey]) -> None:
    """
    Writes *keys* as the file for HAProxy's ``tls-ticket-keys``.

    Args:
        path: the file.
        keys: three, all for AES-256 or all for AES-128, in the order of :func:`load_haproxy_keys`
            (and of :meth:`TicketKeys.derived`): the one that encrypts, the next, and the one
            before.

    Raises:
        ValueError: there are not three keys, or they are of two sizes.

    Else as :func:`save_nginx_key`.
    """
    write_key_file(path, encode_haproxy_keys(keys))


def read_haproxy_keys(path: StrPath, stacklevel: int = 3) -> list[TicketKey]:
    """Returns what :func:`load_haproxy_keys` does, but always three keys, as the last lines are."""
    shown = os.fsdecode(path)
    data, size, mode = _read(shown, _HAPROXY_FILE_MAX)
    if size > _HAPROXY_FILE_MAX:
        raise ValueError(f"{shown} is no ticket key file for HAProxy: it has {size} bytes")
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    keys = []
    for number, line in enumerate(lines, 1):
        where = f"line {number} of {shown}"
        try:
            key = base64.b64decode(line.removesuffix(b"\r"), validate=True)
        except binascii.Error:
            raise ValueError(f"{where} is not base64") from None
        keys.append(_HAPROXY.decode(key, len(key), where))
        if len(keys[-1].aes_key) != len(keys[0].aes_key):
            raise ValueError(f"{where} is not of the size of line 1, and HAProxy wants one size")
    if len(keys) < HAPROXY_KEYS:
        raise ValueError(
            f"{shown} has {_keys(len(keys))}, and HAProxy wants {HAPROXY_KEYS}, one per line"
        )
    _warn_of_others(mode, shown, stacklevel)
    before, encrypting, following = keys[-HAPROXY_KEYS:]
    return [encrypting, following, before]


def encode_nginx_key(key: TicketKey) -> bytes:
    """Returns what nginx wants in a file."""
    return _NGINX.encode(key)


def encode_envoy_key(key: TicketKey) -> bytes:
    """Returns what Envoy wants in a file."""
    return _ENVOY.encode(key)


def encode_apache_key(key: TicketKey) -> bytes:
    """Returns what Apache wants in its file."""
    return _APACHE.encode(key)


def encode_haproxy_keys(keys: Iterable[TicketKey]) -> bytes:
    """Returns what HAProxy wants in its file."""
    encoded = [_HAPROXY.encode(key) for key in keys]
    if len(encoded) != HAPROXY_KEYS:
        raise ValueError(f"HAProxy wants {HAPROXY_KEYS} keys, not {len(encoded)}")
    if len({len(line) for line in encoded}) > 1:
        raise ValueError("HAProxy wants keys of one size: all for AES-256, or all for AES-128")
    encrypting, following, before = encoded
    return b"".join(base64.b64encode(line) + b"\n" for line in (before, encrypting, following))


def write_key_file(path: StrPath, data: bytes, overwrite: bool = True) -> None:
    """
    Puts *data* into a file that nobody else can read, in one step.

    Args:
        path: the file; what a symbolic link points to.
        data: what goes into it.
        overwrite: whether there may be such a file.

    Raises:
        FileExistsError: there is one, and it may not be.
        ValueError: *path* is there, but not as a regular file.
        OSError: it cannot be written; what is there stays as it was.
    """
    shown = os.fsdecode(path)
    target = os.path.realpath(shown)
    try:
        _write(target, data, overwrite)
        sync_folder(os.path.dirname(target))
    except OSError as error:
        # Not with the name of the temporary file, and not without any.
        raise OSError(error.errno, error.strerror, shown) from error


def _write(target: str, data: bytes, overwrite: bool) -> None:
    replaced = None
    with contextlib.suppress(FileNotFoundError):
        replaced = os.stat(target)
    if replaced is not None:
        if not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        _must_be_regular(replaced, target)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:32]}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            if replaced is not None and replaced.st_uid != os.geteuid():
                # The server that reads it must still be able to.
                os.fchown(descriptor, replaced.st_uid, replaced.st_gid)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if overwrite:
            os.replace(temporary, target)
        else:
            os.link(temporary, target)  # unlike a rename it fails where there is a file by now
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def sync_folder(folder: str) -> None:
    """Has the renames in *folder* outlive a power failure, before anything else is done."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class TicketKeyWatcher:
    """
    What :func:`watch_ticket_keys` returns: it ends the watching, as a context manager does too.

    In a process that has been forked nothing is watched, as threads do not cross: call
    :func:`watch_ticket_keys` there. :meth:`is_alive` tells.
    """

    __slots__ = ("_pid", "_stop", "_thread", "keys")

    keys: TicketKeys
    """The ring, which lives as long as this watcher does."""

    def __init__(self, watched: _Watched, interval: float) -> None:
        keys = watched.keys()
        assert keys is not None
        self.keys = keys
        self._pid = os.getpid()
        self._stop = threading.Event()
        # It has no reference to this watcher, nor to the ring.
        self._thread = threading.Thread(
            target=_watch,
            args=(watched, interval, self._stop),
            name="openssl_tickets-key-files",
            daemon=True,
        )
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the files are being watched, in this process."""
        return os.getpid() == self._pid and self._thread.is_alive()

    def close(self) -> None:
        """
        Ends the watching: when this returns, the ring is not changed any more.

        It waits for a reload that is going on, unless that is what has called it. A second call
        does nothing, nor does a call in a process that has been forked.
        """
        if os.getpid() != self._pid:
            return  # the thread is not here; it may have held the event's lock in the fork
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> TicketKeyWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def watch_ticket_keys(
    keys: TicketKeys,
    load: Callable[[], Iterable[TicketKey]],
    paths: StrPath | Iterable[StrPath],
    interval: float = 1.0,
) -> TicketKeyWatcher:
    """
    Replaces *keys* by what *load* returns: now, and whenever one of the files changes.

    A thread looks at the files every *interval* seconds (by time, inode and size, so a replaced
    file is noticed, and one that is mounted over). When *load* fails there, or the ring refuses
    what it has returned, that is logged (``logging``, as ``openssl_tickets.ticket_key_files``), the
    keys stay as they are, and it is tried again each time.

    Hold on to *keys* or to what is returned: a context to which :func:`set_ticket_keys` has given
    the ring does not hold on to it, and when both are gone the watching ends, within *interval*.

    A process that is forked must call this itself, and each of them then reads the files.

    Args:
        keys: the ring, not a derived one.
        load: returns the keys, the first of which encrypts. It runs in the thread; only the first
            time in this one.
        paths: the file, or files, that *load* reads.
        interval: seconds.

    Raises:
        TypeError: *keys*, a path or *interval* is of the wrong type.
        ValueError: no path is named, or *interval* is not more than 0; or the ring refuses what
            *load* has returned.
        RuntimeError: *keys* is a derived ring.
        Exception: whatever *load* raises now, the first time.

    Example::

        files = ["new.key", "old.key"]
        keys = TicketKeys(load_nginx_keys(*files))
        set_ticket_keys(context, keys)
        with watch_ticket_keys(keys, lambda: load_nginx_keys(*files), files):
            serve(context)
    """
    if not isinstance(keys, TicketKeys):
        raise TypeError(f"keys must be a TicketKeys, not {type(keys).__name__}")
    if isinstance(paths, str | bytes | os.PathLike):
        paths = [paths]
    files = [os.path.abspath(os.fsdecode(path)) for path in paths]
    if not files:
        raise ValueError("name at least one file to watch")
    seconds = float(interval)
    if not 0 < seconds <= threading.TIMEOUT_MAX:  # neither is nan
        raise ValueError(f"interval must be more than 0 seconds, not {interval!r}")
    watched = _Watched(weakref.ref(keys), load, files)
    watched.reload(keys)
    return TicketKeyWatcher(watched, seconds)


_Sight = tuple[int, ...]


class _Watched:
    """What is watched, and how it looked when it was last read."""

    def __init__(
        self,
        keys: weakref.ref[TicketKeys],
        load: Callable[[], Iterable[TicketKey]],
        files: Sequence[str],
    ) -> None:
        self.keys = keys
        self._load = load
        self._files = files
        self._named = ", ".join(files)
        self._read: list[_Sight] | None = None  # None: it is to be read again in any case
        self._failure: tuple[list[_Sight], str] | None = None

    def look(self, keys: TicketKeys) -> None:
        """Reloads *keys* if a file has changed, and logs what goes wrong."""
        seen = self._look()
        if seen == self._read:
            return
        try:
            self.reload(keys)
        except Exception as error:
            self._read = None
            failure = (seen, repr(error))
            if failure != self._failure:  # else it has been said
                self._failure = failure
                _log.error(
                    "the ticket keys stay as they are: %s could not be reloaded: %s",
                    self._named,
                    error,
                    exc_info=not isinstance(error, OSError | ValueError),
                )
        else:
            if self._failure:
                self._failure = None
                _log.info("%s can be reloaded again", self._named)

    def reload(self, keys: TicketKeys) -> None:
        """Reads the files, and changes *keys* where it does not hold what is in them."""
        seen, now = self._look(), time.time_ns()
        loaded = tuple(self._load())
        if loaded != keys.keys:
            keys.replace(loaded)
            _log.info("the ticket keys are now those of %s", self._named)
        # A change right after this one may leave no trace in the times: so it is read once more.
        fresh = any(abs(now - moment) < _FRESH for sight in seen for moment in sight[-2:])
        self._read = None if fresh else seen

    def _look(self) -> list[_Sight]:
        return [_sight(file) for file in self._files]


def _sight(file: str) -> _Sight:
    try:
        seen = os.stat(file)
    except OSError:
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _watch(watched: _Watched, interval: float, stop: threading.Event) -> None:
    while not stop.wait(interval):
        keys = watched.keys()
        if keys is None:
            _log.warning("the ticket keys that were to be reloaded are gone, without a close()")
            return
        watched.look(keys)
        del keys  # not held while it waits


def _load_each(program: _Program, paths: Sequence[StrPath]) -> list[TicketKey]:
    if not paths:
        raise ValueError(f"name at least one ticket key file of {program.name}'s")
    most = max(layout.size for layout in program.layouts)
    keys = []
    for path in paths:
        shown = os.fsdecode(path)
        data, size, mode = _read(shown, most)
        keys.append(program.decode(data, size, shown))
        _warn_of_others(mode, shown, 4)
    return _once(keys)


def _once(keys: Iterable[TicketKey]) -> list[TicketKey]:
    """Returns the keys, each once: TicketKeys takes no name twice, and the programs do."""
    return list(dict.fromkeys(keys))


def _read(path: str, most: int) -> tuple[bytes, int, int]:
    """Returns at most one byte more than *most*, how many bytes there are in all, and the mode."""
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        _must_be_regular(status, path)
        data = b""
        while len(data) <= most and (piece := file.read(most + 1 - len(data))):
            data += piece
    size = max(status.st_size, len(data)) if len(data) > most else len(data)
    return data, size, status.st_mode


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for its writer


def _must_be_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")


def _warn_of_others(mode: int, path: str, stacklevel: int) -> None:
    """Warns as if the function that is *stacklevel* calls further up did."""
    others = " and ".join(who for bits, who in _OTHERS.items() if mode & bits)
    if others:
        warnings.warn(
            f"{path} holds ticket keys and is open to {others}: chmod 600 {shlex.quote(path)}",
            TicketKeyFileWarning,
            stacklevel=stacklevel,
        )


def _keys(number: int) -> str:
    return f"{number} key" if number == 1 else f"{number} keys"
