"""python3 get.py URL ADDRESS: fetch an https page from an address, the TLS hello sent as `send_hello` likes."""

import socket
import ssl
import sys
from urllib.parse import urlsplit


def send_hello(connection: socket.socket, hello: bytes) -> None:
    """Send the first bytes of the conversation. This is the line to change."""
    connection.sendall(hello)


def main(url: str, address: str) -> None:
    parts = urlsplit(url)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=parts.hostname)
    connection = socket.create_connection((address, parts.port or 443), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each send becomes a packet of its own
    is_first = True

    def until(step):
        nonlocal is_first
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if waiting := outgoing.read():
                    send_hello(connection, waiting) if is_first else connection.sendall(waiting)
                    is_first = False
                received = connection.recv(65536)
                incoming.write(received) if received else incoming.write_eof()

    until(tls.do_handshake)
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n\r\n"
    tls.write(request.encode())
    connection.sendall(outgoing.read())
    page = b""
    try:
        while chunk := until(lambda: tls.read(65536)):
            page += chunk
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        pass  # the server has said all
    sys.stdout.buffer.write(page.partition(b"\r\n\r\n")[2])


main(*sys.argv[1:])
