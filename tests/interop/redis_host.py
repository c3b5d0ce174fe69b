"""
A host of a fleet whose ticket keys are in a Redis, for test_redis_keys.py::

    python redis_host.py server.pem URL ARGUMENTS

The arguments of RedisTicketKeys come as JSON. Each line of its input is a command in JSON, and gets
an answer of one line. What it logs, of all loggers, goes to stderr.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from openssl_tickets import Session
from openssl_tickets.redis_keys import RedisTicketKeys
from tests.support import tls


class Clock:
    """Ours stands still while we are stopped (SIGSTOP), as that of a virtual machine does."""

    def __init__(self) -> None:
        self._monotonic = time.monotonic
        self._last = time.monotonic()
        self._lost = 0.0

    def __call__(self) -> float:
        now = self._monotonic()
        if now - self._last > 1.0:  # it is asked all the time
            self._lost += now - self._last
        self._last = now
        return now - self._lost


class Host:
    """Its commands are its methods."""

    def __init__(self, server_file: Path, url: str, arguments: dict[str, Any]) -> None:
        self.shared = RedisTicketKeys(url, **arguments)
        self.servers = {
            version: tls.server_context(server_file, version) for version in tls.VERSIONS
        }
        self.clients = {version: tls.client_context(version) for version in tls.VERSIONS}
        self.shared.start()
        for context in self.servers.values():
            context.set_ticket_keys(self.shared.keys)

    def state(self) -> dict[str, Any]:
        names = [key.name.hex() for key in self.shared.keys.keys]
        return {"names": names, "connected": self.shared.connected, "repr": repr(self.shared)}

    def issue(self, version: str) -> dict[str, Any]:
        return self._shake_hands(version, None)

    def resume(self, version: str, session: str) -> dict[str, Any]:
        return self._shake_hands(version, Session.from_der(bytes.fromhex(session)))

    def _shake_hands(self, version: str, session: Session | None) -> dict[str, Any]:
        pair = tls.Pair(self.servers[version], self.clients[version], session).handshake()
        return {"reused": pair.reused, "session": pair.session().to_der().hex()}


def main() -> None:
    time.monotonic = Clock()
    logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    host = Host(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
    print("started", flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(host, command)(*arguments)), flush=True)
    # And no close(): the interpreter ends while the thread follows.


if __name__ == "__main__":
    main()
