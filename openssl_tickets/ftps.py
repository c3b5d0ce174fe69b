"""FTP over TLS: each data connection resumes the session of its control connection."""

from __future__ import annotations

import contextlib
import ftplib
import socket
from typing import Any

from openssl_tickets._adapters import to_ssl
from openssl_tickets._core.session import Session, session_of, set_session


class FTP_TLS(ftplib.FTP_TLS):
    """
    ``ftplib.FTP_TLS``, but each data connection resumes the session of the control connection.

    Some servers require this, so that nobody else can take over a data connection. vsftpd
    (``require_ssl_reuse``), ProFTPD and FileZilla Server do so by default, and a transfer with
    ``ftplib.FTP_TLS`` ends with an error. Everything else is as in ``ftplib.FTP_TLS``.

    It works in TLS 1.2 and 1.3, for active and passive transfers. In TLS 1.3 each data connection
    offers a new ticket if the server has sent one, and otherwise the last one again. If the server
    does not resume the session, it either does a full handshake or ends the transfer.

    Example::

        with FTP_TLS("ftp.example.org", "alice", password) as ftp:
            ftp.prot_p()
            ftp.retrbinary("RETR report.pdf", file.write)

    libssl: ``SSL_get1_session``, ``SSL_set_session`` (OpenSSL 3.0).
    """

    # The SSL of the last data connection. It stays alive after the socket is closed.
    _data_ssl: Any = None
    # Sessions that were not offered yet, the last sessions seen, and the one that was offered last.
    _fresh: tuple[Session, ...] = ()
    _seen: tuple[Session, ...] = ()
    _last: Session | None = None

    def connect(self, *args: Any, **kwargs: Any) -> str:
        """Connects as ``ftplib.FTP_TLS`` does, and forgets all earlier sessions."""
        self._data_ssl, self._fresh, self._seen, self._last = None, (), (), None
        return super().connect(*args, **kwargs)

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """Starts a transfer as ``ftplib.FTP_TLS`` does. Protected data resumes a session."""
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 (TLS follows)
        if not self._prot_p:  # type: ignore[attr-defined]
            return plain, size
        try:
            data = self.context.wrap_socket(
                plain, server_hostname=self.host, do_handshake_on_connect=False
            )
        except BaseException:
            plain.close()
            raise
        try:
            session = self._next_session()
            if session is not None:
                # If the connection is not closed properly, libssl marks its session as unusable.
                set_session(data, session.copy())
            data.do_handshake()
            self._data_ssl = to_ssl(data)
        except BaseException:
            data.close()
            raise
        return data, size

    def ccc(self) -> str:
        """
        Ends TLS on the control connection, as ``ftplib.FTP_TLS`` does.

        Later data connections still resume its session.
        """
        self._look_for_sessions()
        return super().ccc()

    def _next_session(self) -> Session | None:
        """Returns the session that the next data connection offers, or None."""
        self._look_for_sessions()
        if self._fresh:
            self._last = self._fresh[-1]
            self._fresh = self._fresh[:-1]
        return self._last

    def _look_for_sessions(self) -> None:
        control = None
        with contextlib.suppress(TypeError, ValueError):  # there is no TLS, for example after ccc()
            control = to_ssl(self.sock)
        for ssl in (control, self._data_ssl):
            session = session_of(ssl) if ssl is not None else None
            if session is None or not session.is_resumable:
                continue
            if session.protocol != "TLSv1.3":
                if ssl is control:  # its session works for all data connections
                    self._last = session.copy()
            elif session not in self._seen:
                self._fresh += (session.copy(),)
                self._seen = (*self._seen[-8:], session.copy())
