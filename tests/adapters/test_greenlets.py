"""
gevent, eventlet and greenlets of one's own, and the streams of trio and anyio: each with the real
library, over loopback.
"""

from __future__ import annotations

import contextlib
import json
import ssl
from pathlib import Path
from typing import Any

import anyio
import anyio.streams.tls
import greenlet
import pytest
import trio

import openssl_tickets
from openssl_tickets import stdlib
from tests.support import processes, stdlib_tls, tls

pytestmark = pytest.mark.needs_ssl

EXAMPLES = Path(__file__).parents[2] / "examples"

# How a program comes by the sockets of a library: what it runs first, and from where it imports.
GREEN = {
    "gevent-patched": "from gevent import monkey; monkey.patch_all()\nimport ssl, socket",
    "gevent-patched-late": (
        "import openssl_tickets.stdlib\n"
        "from gevent import monkey; monkey.patch_all()\nimport ssl, socket"
    ),
    "gevent": "from gevent import ssl, socket",
    "eventlet-patched": "import eventlet; eventlet.monkey_patch()\nimport ssl, socket",
    "eventlet": "from eventlet.green import ssl, socket",
}
GEVENT = [way for way in GREEN if way.startswith("gevent")]

# What the programs share: contexts, a listener, a client in a greenlet, and a way to start one.
PRELUDE = """
import json, sys, warnings
warnings.simplefilter("ignore")  # eventlet's, that it is deprecated
{green}
import openssl_tickets
from openssl_tickets import stdlib

if "eventlet" in sys.modules:
    import eventlet
    sleep = eventlet.sleep
    def spawn(function, *arguments):
        return eventlet.spawn(function, *arguments).wait
else:
    import gevent
    sleep = gevent.sleep
    def spawn(function, *arguments):
        return gevent.spawn(function, *arguments).get

unraisable = []
sys.unraisablehook = lambda args: unraisable.append(args.exc_type.__name__)
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain({server_file!r})
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.load_verify_locations({ca_file!r})
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(50)

def connect():
    plain = socket.create_connection(listener.getsockname())
    return client.wrap_socket(plain, server_hostname="localhost")

def accept():
    return server.wrap_socket(listener.accept()[0], server_side=True)
"""

IDENTITY_OF_CALLBACKS = """
in_callback = []
def generate(connection, data):
    session = openssl_tickets.get_session(connection)
    openssl_tickets.set_num_tickets(connection, 1)
    in_callback.append((connection, connection.context is server, session is not None))
    return b"mine"
announced = []
openssl_tickets.set_session_ticket_callback(server, generate)
openssl_tickets.set_new_session_callback(client, lambda c, session, data: announced.append(c))

def visit():
    connection = connect()
    received = connection.recv(5)
    session = openssl_tickets.get_session(connection)
    is_announced = [c is connection for c in announced]
    connection.close()
    return received.decode(), session.ticket_appdata is None, is_announced

result = spawn(visit)
connection = accept()
openssl_tickets.new_session_ticket(connection)
reused = openssl_tickets.session_reused(connection)
connection.sendall(b"hello")
visited = result()
connection.close()
try:
    openssl_tickets.get_session(connection)
except ValueError as error:
    closed = str(error)
print(json.dumps({
    "server": [(c is connection, *rest) for c, *rest in in_callback], "reused": reused,
    "client": visited, "closed": "there is no TLS on this" in closed, "unraisable": unraisable,
}))
"""

# Several handshakes at once in one thread, each waiting inside its own callback.
EXCEPTIONS = """
class Refused(Exception):
    pass

def generate(connection, data):
    sleep(0.01)
    raise Refused(connection.fileno())

openssl_tickets.set_session_ticket_callback(server, generate)
stdlib.raise_callback_errors(server)
outcomes = []

def serve(plain):
    number = plain.fileno()
    try:
        server.wrap_socket(plain, server_side=True)
    except Refused as error:
        outcomes.append(error.args == (number,))
    finally:
        plain.close()

def visit():
    try:
        connect().recv(5)
    except OSError:
        pass

visits = [spawn(visit) for _ in range(10)]
serving = [spawn(serve, listener.accept()[0]) for _ in visits]
for wait in serving + visits:
    wait()
print(json.dumps([outcomes, unraisable]))
"""


def run_green(way: str, program: str, server_file: Path, ca_file: Path) -> Any:
    files = {"server_file": str(server_file), "ca_file": str(ca_file)}
    return json.loads(processes.run(PRELUDE.format(green=GREEN[way], **files) + program))


@pytest.mark.parametrize("way", GREEN)
def test_callbacks_and_functions_take_the_users_socket(
    way: str, server_file: Path, ca_file: Path
) -> None:
    """Callbacks are handed the very socket that the user holds, and every function takes it."""
    seen = run_green(way, IDENTITY_OF_CALLBACKS, server_file, ca_file)
    client = seen.pop("client")
    assert client == ["hello", False, [True, True]]
    assert seen == {
        # The count is set in the callback, and one more ticket is asked for.
        "server": [[True, True, True]] * 2,
        "reused": False,
        "closed": True,
        "unraisable": [],
    }


@pytest.mark.parametrize("way", GEVENT)
def test_exceptions_stay_with_their_connection(way: str, server_file: Path, ca_file: Path) -> None:
    """With several callbacks waiting in one thread, each call raises its own one's exception."""
    outcomes, unraisable = run_green(way, EXCEPTIONS, server_file, ca_file)
    assert outcomes == [True] * 10
    assert unraisable == []


@pytest.mark.parametrize("way", [way for way in GREEN if way not in GEVENT])
def test_eventlet_refuses_what_it_cannot_do(way: str, server_file: Path, ca_file: Path) -> None:
    """raise_callback_errors says that it can do nothing for eventlet's sockets."""
    message = run_green(
        way,
        """
try:
    stdlib.raise_callback_errors(server)
except TypeError as error:
    print(json.dumps(str(error)))
""",
        server_file,
        ca_file,
    )
    assert "GreenSSLSocket" in message
    assert "sys.unraisablehook" in message


def test_exceptions_of_ones_own_greenlets(server_file: Path) -> None:
    """A greenlet that leaves a callback, and comes back to it, raises its own exception."""
    main = greenlet.getcurrent()
    raised = {}

    class Refused(Exception):
        pass

    def generate(connection: Any, data: Any) -> bytes:
        main.switch()
        raise Refused(connection)

    context = stdlib_tls.server_context(server_file)
    openssl_tickets.set_session_ticket_callback(context, generate)
    stdlib.raise_callback_errors(context)

    def shake(name: str) -> None:
        pair = stdlib_tls.Pair(context, stdlib_tls.client_context())
        try:
            pair.handshake()
        except Refused as error:
            raised[name] = error.args[0] is pair.server

    greenlets = [greenlet.greenlet(shake) for _ in range(2)]
    for number, each in enumerate(greenlets):
        each.switch(str(number))
    for each in greenlets:
        each.switch()
    assert raised == {"0": True, "1": True}


def test_identity_recipe_on_gevents_server(
    server_file: Path, ca_file: Path, client_file: Path
) -> None:
    """examples/identity.py on gevent's own server knows a client by its certificate and ticket."""
    program = f"""
sys.path.append({str(EXAMPLES)!r})
import pathlib
import gevent.server
import identity

revoked = pathlib.Path({str(client_file)!r}).with_name("nobody.txt")
revoked.write_text("")
client.load_cert_chain({str(client_file)!r})
server = identity.server_context(
    pathlib.Path({str(server_file)!r}), pathlib.Path({str(ca_file)!r}), revoked
)

def serve(connection, address):
    status, text = identity.reply(connection, revoked)
    connection.sendall(b"%d %s" % (status, text))
    connection.unwrap().close()

listener.close()
running = gevent.server.StreamServer(("127.0.0.1", 0), serve, ssl_context=server)
running.start()
def visit(session=None):
    plain = socket.create_connection(running.address)
    connection = client.wrap_socket(plain, server_hostname="localhost", session=session)
    text = b""
    while not text.endswith(b"\\n"):
        text += connection.recv(4096)
    session = connection.session
    # From 3.5 on libssl does not resume a session whose connection was not closed in order.
    connection.unwrap().close()
    return text.decode().split(), session
first, session = visit()
second, _ = visit(session)
revoked.write_text(first[1])
third, _ = visit(session)
running.stop()
print(json.dumps([first, second, third, unraisable]))
"""
    first, second, third, unraisable = run_green("gevent-patched", program, server_file, ca_file)
    assert first[0] == second[0] == "200"
    assert first[1] == second[1]
    assert (first[-1], second[-1]) == ("certificate", "ticket")
    assert third[0] == "403"
    assert unraisable == []


@pytest.mark.parametrize("library", ["trio", "anyio"])
def test_streams(library: str, server_file: Path, ca_file: Path) -> None:
    """Every function takes a stream of trio or anyio; callbacks get the SSLObject inside."""
    server = stdlib_tls.server_context(server_file)
    client = ssl.create_default_context(cafile=ca_file)
    in_callback = []

    def generate(connection: Any, data: Any) -> bytes:
        in_callback.append(connection)
        return b"mine"

    openssl_tickets.set_session_ticket_callback(server, generate)
    seen: dict[str, Any] = {}

    def look_at(stream: Any) -> None:
        seen["inside"] = {stream._ssl_object is connection for connection in in_callback}
        seen["reused"] = openssl_tickets.session_reused(stream)
        seen["session"] = openssl_tickets.get_session(stream) is not None
        openssl_tickets.new_session_ticket(stream)

    async def with_trio() -> None:
        listeners: Any = await trio.open_ssl_over_tcp_listeners(0, server, host="127.0.0.1")
        port = listeners[0].transport_listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:

            async def serve(stream: Any) -> None:
                await stream.do_handshake()
                look_at(stream)
                await stream.send_all(b"hello")
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.receive_some()
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()

            nursery.start_soon(trio.serve_listeners, serve, listeners)
            stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=client)
            seen["received"] = await stream.receive_some(5)
            seen["client's"] = openssl_tickets.get_session(stream) is not None
            await trio.aclose_forcefully(stream)

    async def with_anyio() -> None:
        plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
        listener = anyio.streams.tls.TLSListener(plain, server)
        port = plain.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 (no Django's)
        async with plain, anyio.create_task_group() as group:

            async def serve(stream: Any) -> None:
                look_at(stream)
                await stream.send(b"hello")
                with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                    await stream.receive()
                await anyio.aclose_forcefully(stream)
                group.cancel_scope.cancel()

            group.start_soon(listener.serve, serve)
            stream = await anyio.connect_tcp(
                "127.0.0.1", port, ssl_context=client, tls_hostname="localhost"
            )
            seen["received"] = await stream.receive(5)
            seen["client's"] = openssl_tickets.get_session(stream) is not None
            await anyio.aclose_forcefully(stream)

    if library == "trio":
        trio.run(with_trio)
    else:
        anyio.run(with_anyio)
    assert seen == {
        "inside": {True},
        "reused": False,
        "session": True,
        "received": b"hello",
        "client's": True,
    }


def test_what_only_looks_like_a_connection_is_refused(server_context: Any) -> None:
    """Names of attributes prove nothing: what is found by them must be an object of _ssl."""

    class Fake:
        _sslsock = property(lambda self: lambda: self)
        _ssl_object = property(lambda self: self)
        _sslobj: Any = None

    class Deeper(Fake):
        _sslobj = Fake()

    fake: Any
    for fake in (Fake(), Deeper(), tls, {}, Fake):
        with pytest.raises(TypeError, match="expected"):
            openssl_tickets.get_session(fake)
