# SPDX-License-Identifier: MIT
"""Load for a broker and a web server: raw asyncio, since a client library would be measured with them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from trueboot_server.decada import login
from trueboot_server.names import Identity

BATCH = 20  # messages on their way, per connection: as many as our server has
PAYLOAD = (
    b'{"id":"1","version":"1.0","method":"thing.measurepoint.post","params":{"measurepoints":{"t":21.5},"time":1}}'
)
PATIENCE_S = 30
CONNECTIONS = 8


class Client(NamedTuple):
    """A device: what it says to connect, and how it proves who it is."""

    connect: bytes
    context: ssl.SSLContext
    up: str  # a topic of its own, for stored telemetry
    idle: str  # another, on which nothing is stored
    identity: Identity


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def field(data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(2, "big") + data


def packet(first: int, body: bytes) -> bytes:
    head, length = bytearray((first,)), len(body)
    while True:
        head.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes(head) + body


def decada_connect(identity: Identity, secret: str) -> bytes:
    key = identity.device_key
    name = f"{key}|securemode=2,signmethod=sha256,timestamp=1|"
    proof = login.sign(key, identity, "1", secret)
    body = field("MQTT") + b"\x04\xc2\x00\x3c" + field(name) + field(f"{key}&{identity.product_key}") + field(proof)
    return packet(0x10, body)


def plain_connect(name: str) -> bytes:
    return packet(0x10, field("MQTT") + b"\x04\x02\x00\x3c" + field(name))


def certified(ca: Path | str, certificate: Path | str, key: Path | str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(str(certificate), str(key))
    return context


async def connected(port: int, client: Client) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client.context, server_hostname="localhost")
    writer.write(client.connect)
    answer = await asyncio.wait_for(reader.readexactly(4), PATIENCE_S)
    if answer[0] != 0x20 or answer[3]:
        raise ConnectionError(f"CONNACK {answer.hex()}")
    return Connection(reader, writer)


async def connect_each(port: int, clients: list[Client], count: int) -> None:
    """One after the other, each from the handshake to its CONNACK, and away again."""
    for number in range(count):
        one = await connected(port, clients[number % len(clients)])
        one.writer.write(b"\xe0\x00")
        one.writer.close()
        await one.writer.wait_closed()


async def hold(port: int, clients: list[Client], measure: Callable[[], Any]) -> Any:
    """All at once; `measure` while they are there."""
    held = [await connected(port, client) for client in clients]
    try:
        return measure()
    finally:
        await leave(held)


async def leave(held: list[Connection]) -> None:
    for one in held:
        one.writer.close()
    await asyncio.gather(*(one.writer.wait_closed() for one in held), return_exceptions=True)


async def publish(port: int, clients: list[Client], count: int, topic: Callable[[Client], str]) -> None:
    """`count` messages of QoS 1 up, BATCH of each client on their way; ends when all are acknowledged."""
    held = [await connected(port, client) for client in clients]
    rounds = count // (BATCH * len(clients))

    async def one(connection: Connection, client: Client) -> None:
        said = b"".join(
            packet(0x32, field(topic(client)) + number.to_bytes(2, "big") + PAYLOAD) for number in range(1, BATCH + 1)
        )
        for _ in range(rounds):
            connection.writer.write(said)
            await connection.reader.readexactly(4 * BATCH)

    try:
        await asyncio.wait_for(asyncio.gather(*map(one, held, clients)), PATIENCE_S * 4)
    finally:
        await leave(held)


async def take(port: int, clients: list[Client], send: Callable[[], Awaitable[Any]], subscribe: str = "") -> None:
    """Acknowledge whatever comes down until `send` has ended."""
    held = [await connected(port, client) for client in clients]
    takers = [
        asyncio.create_task(_acknowledge(one, client, subscribe)) for one, client in zip(held, clients, strict=True)
    ]
    try:
        await asyncio.sleep(0.1)
        await asyncio.wait_for(send(), PATIENCE_S * 4)
    finally:
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
        await leave(held)


async def _acknowledge(connection: Connection, client: Client, subscribe: str) -> None:
    if subscribe:
        connection.writer.write(packet(0x82, b"\x00\x01" + field(subscribe) + b"\x01"))
        await connection.reader.readexactly(5)
    buffer = b""
    while piece := await connection.reader.read(65536):
        buffer += piece
        at, answers = 0, bytearray()
        while len(buffer) - at >= 2:
            length, head = buffer[at + 1] & 0x7F, 2
            if buffer[at + 1] & 0x80:
                if len(buffer) - at < 3:
                    break
                length, head = length | buffer[at + 2] << 7, 3
            if len(buffer) - at < head + length:
                break
            if buffer[at] & 0xF0 == 0x30:
                start = at + head + 2 + int.from_bytes(buffer[at + head : at + head + 2], "big")
                answers += b"\x40\x02" + buffer[start : start + 2]
            at += head + length
        buffer = buffer[at:]
        connection.writer.write(bytes(answers))


async def get_all(port: int, paths: list[str], context: ssl.SSLContext, headers: list[str] | None = None) -> None:
    """Each path once, over a few connections that stay.  `headers`: one more line for each."""
    left = iter(zip(paths, headers or [""] * len(paths), strict=True))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        try:
            for path, line in left:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{line}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                if head[9:12] != b"200":
                    raise ConnectionError(head[:200].decode("latin-1"))
        finally:
            writer.close()

    await asyncio.wait_for(asyncio.gather(*(one() for _ in range(CONNECTIONS))), PATIENCE_S * 4)
