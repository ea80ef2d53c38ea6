# SPDX-License-Identifier: MIT
"""What a fleet costs the server, on one core, beside Mosquitto, which does nothing else than MQTT.

connect     a device from the TLS handshake by mutual TLS to its CONNACK, in processor time of the server
memory      resident memory that a connected device takes
up, down    messages of QoS 1 for a second of the server's processor time; `stored`: telemetry, committed before it is acknowledged
find        questions for an update that are answered "nothing newer", as esthesis's devices ask them: without a token, and with ours
download    single-use downloads of 4 KB for such a second, beside the same bytes from a road that asks for nothing

The server has a core, the load has the other.  Rates are per second of the server's own processor time (user and system), so that
neither the load nor others on the machine count; what they share are caches.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import load
from enrol import cpu_s
from measure import BenchError, Figure, Turns, in_turns, must

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
DEVICES, CONNECTS, UP, STORED, DOWN, DOWNLOADS, HELD = 20, 300, 20_000, 2_000, 20_000, 1_500, 150
FINDS, PROVEN, LEAST_FINDS = 4_000, 1_000, 5_000
MOST_KB, MOST_RATIO = 60, 1.2
START_S = 20
ASKERS, ASKER = "bench-askers", "bench-asker"
CONFIG = """listener {port} 127.0.0.1
cafile {ca}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
allow_anonymous true
max_inflight_messages 20
max_queued_messages 0
log_dest none
user root
"""


def fleet(runs: int) -> list[Figure]:
    if MOSQUITTO is None:
        raise BenchError("not installed: mosquitto (debian-packages.txt)")
    ours, theirs = cores()
    with tempfile.TemporaryDirectory() as name, server(Path(name), ours) as running:
        clients = running.devices(HELD)
        os.sched_setaffinity(0, {theirs})
        try:
            with mosquitto(Path(name), running, ours) as broker:
                return [*_mqtt(runs, running, broker, clients), *_https(runs, running)]
        finally:
            os.sched_setaffinity(0, {ours, theirs})


def cores() -> tuple[int, int]:
    """(the server's, the load's); the same one where there is but one."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


def _mqtt(runs: int, running: Running, broker: Broker, clients: list[load.Client]) -> list[Figure]:
    few, plain = (
        clients[:DEVICES],
        [client._replace(connect=load.plain_connect(client.identity.device_key)) for client in clients],
    )

    def cost(pid: int, count: int, work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
        """Processor time of one, in ms."""
        begun = cpu_s(pid)
        asyncio.run(work())
        return (cpu_s(pid) - begun) / count * 1000

    [connect] = in_turns(
        runs,
        lambda: cost(broker.pid, CONNECTS, lambda: load.connect_each(broker.port, plain[:DEVICES], CONNECTS)),
        lambda: cost(running.pid, CONNECTS, lambda: load.connect_each(running.mqtt_port, few, CONNECTS)),
    )
    idle, up = in_turns(
        runs,
        lambda: 1000 / cost(broker.pid, UP, lambda: load.publish(broker.port, plain[:DEVICES], UP, _idle)),
        lambda: 1000 / cost(running.pid, UP, lambda: load.publish(running.mqtt_port, few, UP, _idle)),
        lambda: 1000 / cost(running.pid, STORED, lambda: load.publish(running.mqtt_port, few, STORED, _telemetry)),
    )
    [down] = in_turns(
        runs,
        lambda: 1000 / cost(broker.pid, DOWN, lambda: _down_through(broker, plain)),
        lambda: (
            1000
            / cost(
                running.pid, DOWN, lambda: load.take(running.mqtt_port, few, lambda: running.ask("push", count=DOWN))
            )
        ),
    )
    held = _kb(running.pid, running.mqtt_port, clients), _kb(broker.pid, broker.port, plain)
    name, limit = "mosquitto", f"<= {MOST_RATIO}"
    return [
        Figure("connect, mutual TLS, CPU", round(connect.ours, 2), "ms", round(connect.peer, 2), name, connect.ratio, limit, connect.ratio <= MOST_RATIO),
        Figure("memory of a connected device", round(held[0]), "KB", round(held[1]), name, round(held[0] / held[1], 2) if held[1] >= 1 else None, f"<= {MOST_KB} KB", held[0] <= MOST_KB),
        _rate("QoS 1 up, nothing stored", idle, name),
        _rate("QoS 1 up, stored", up, name),
        _rate("QoS 1 down", down, name),
    ]  # fmt: skip


def _rate(what: str, turns: Turns, peer: str) -> Figure:
    return Figure(what, round(turns.ours), "/s", round(turns.peer), peer, turns.ratio)


def _https(runs: int, running: Running) -> list[Figure]:
    sha256, plain = running.published()
    key, query, context = running.esthesis()
    find = "/api/v1/provisioning/find"

    def rate(paths: list[str], headers: list[str] | None = None) -> float:
        begun = cpu_s(running.pid)
        asyncio.run(load.get_all(running.https_port, paths, context, headers))
        return len(paths) / (cpu_s(running.pid) - begun)

    def tickets() -> list[str]:
        made = asyncio.run(running.ask("tickets", count=DOWNLOADS, sha256=sha256))["tickets"]
        return [f"/download/{ticket}/app.img" for ticket in made]

    def asked() -> float:
        running.tokens("off")
        return rate([f"{find}?{query}"] * FINDS)

    def proven() -> float:
        running.tokens("required")
        nonces = asyncio.run(running.ask("nonces", count=PROVEN))["nonces"]
        return rate([f"{find}?{query}"] * PROVEN, [_token(running, key, find, query, nonce) for nonce in nonces])

    downloads, open_finds, finds = in_turns(
        runs, lambda: rate([plain] * DOWNLOADS), lambda: rate(tickets()), asked, proven
    )
    peer, aim = "without a token", f">= {LEAST_FINDS}"
    return [
        _rate("single-use downloads", downloads, peer),
        _rate("find, no token wanted", open_finds, peer)._replace(aim=aim, met=open_finds.ours >= LEAST_FINDS),
        _rate("find, proven by our token", finds, peer)._replace(aim=aim, met=finds.ours >= LEAST_FINDS),
    ]


def _token(running: Running, key: Any, path: str, query: str, nonce: str) -> str:
    from server_client import jws

    claims = {
        "nonce": nonce,
        "method": "GET",
        "path": path,
        "query": query,
        "aud": running.first["https"],
        "sub": ASKER,
    }
    return f"Trueboot-Token: {jws(key, claims, {'typ': 'trueboot-query+jwt'})}\r\n"


def _idle(client: load.Client) -> str:
    return client.idle


def _telemetry(client: load.Client) -> str:
    return client.up


async def _down_through(broker: Broker, plain: list[load.Client]) -> None:
    """Through Mosquitto one client's message is another's: it comes up first, which counts as half of the work."""
    listeners, talkers = plain[:DEVICES], plain[DEVICES : 2 * DEVICES]

    async def send() -> None:
        topics = {
            talker.identity: f"down/{listener.identity.device_key}"
            for talker, listener in zip(talkers, listeners, strict=True)
        }
        await load.publish(broker.port, talkers, DOWN, lambda client: topics[client.identity])

    held = [await load.connected(broker.port, client) for client in listeners]
    for one, client in zip(held, listeners, strict=True):
        one.writer.write(load.packet(0x82, b"\x00\x01" + load.field(f"down/{client.identity.device_key}") + b"\x01"))
        await one.reader.readexactly(5)
    takers = [
        asyncio.create_task(load._acknowledge(one, client, "")) for one, client in zip(held, listeners, strict=True)
    ]
    await send()
    for taker in takers:
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)
    await load.leave(held)


def _kb(pid: int, port: int, clients: list[load.Client]) -> float:
    asyncio.run(load.hold(port, clients, lambda: None))  # what a first visit leaves behind is not theirs
    before = _resident(pid)
    after = asyncio.run(load.hold(port, clients, lambda: _resident(pid)))
    return (after - before) / len(clients)


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise BenchError("the kernel tells no memory of a process")


class Running:
    """Our server, with devices."""

    def __init__(self, process: subprocess.Popen[str], first: dict[str, Any], folder: Path):
        self._process = process
        self.first = first
        self.pid: int = first["pid"]
        self.mqtt_port = int(urlsplit(first["mqtt"]).port or 0)
        self.https_port = int(urlsplit(first["https"]).port or 0)
        self._folder = folder

    async def ask(self, do: str, **more: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        return json.loads(await asyncio.to_thread(self._process.stdout.readline))

    def devices(self, count: int) -> list[load.Client]:
        from server_client import Device, Operator

        operator = Operator(self.first)
        folder, found = self._folder / "devices", []
        folder.mkdir()
        for number in range(count):
            device = Device(self.first, f"bench-{number}", folder)
            device.device_secret = operator.post("/api/v1/devices", {"device_key": device.device_key})["device_secret"]
            certificate, key = device.enrol().identity
            identity = load.Identity(device.product_key, device.device_key)
            connect = load.decada_connect(identity, device.device_secret)
            context = load.certified(device.ca_file, certificate, key)
            up, idle = device.sys + "thing/measurepoint/post", device.sys + "thing/service/bench_reply"
            found.append(load.Client(connect, context, up, idle, identity))
        return found

    def esthesis(self) -> tuple[Any, str, Any]:
        """(the key of a registered device, what it asks with, its side of mutual TLS)."""
        from esthesis_client import EsthesisDevice
        from server_client import Operator

        self._operator = Operator(self.first)
        self._operator.post("/api/v1/products", {"product_key": ASKERS, "dialect": "esthesis"})
        self._operator.call("POST", f"/api/v1/products/{ASKERS}/policy", {"registration": "OPEN"})
        device = EsthesisDevice(self.first, ASKER, self._folder)
        must(device.register() == 200, "a registration")
        context = load.certified(self.first["ca_file"], device.chain, device.key_file)
        return device.key, f"hardwareId={ASKER}&version=1.0.0", context

    def tokens(self, policy: str) -> None:
        self._operator.call("POST", f"/api/v1/products/{ASKERS}/policy", {"tokens": policy})

    def published(self) -> tuple[str, str]:
        """(hash of an image of 4 KB, a road to as many bytes that asks for no token)."""
        from server_client import Operator

        operator = Operator(self.first)
        operator.publish("app/sim/1.0.0/app.img", os.urandom(4096))
        return operator.get("/api/v1/releases")["releases"][0]["sha256"], "/repo/metadata/1.root.json"


@contextmanager
def server(folder: Path, core: int) -> Iterator[Running]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))
    command = [sys.executable, str(Path(__file__).with_name("on_server.py")), str(folder / "state")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            must(bool(line), "the server")
            os.sched_setaffinity(process.pid, {core})
            yield Running(process, json.loads(line), folder)
        finally:
            process.terminate()
            process.wait(START_S)


class Broker:
    def __init__(self, pid: int, port: int):
        self.pid, self.port = pid, port


@contextmanager
def mosquitto(folder: Path, running: Running, core: int) -> Iterator[Broker]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    private = Path(running.first["state"]) / "private"
    config = folder / "mosquitto.conf"
    config.write_text(
        CONFIG.format(
            port=port, ca=running.first["ca_file"], certificate=private / "server.pem", key=private / "server-key.pem"
        )
    )
    trusted = folder / "trusted.pem"  # devices send their leaf alone, so it has to know the issuing CA, too
    trusted.write_bytes(Path(running.first["ca_file"]).read_bytes() + _issuing(private / "server.pem"))
    config.write_text(config.read_text().replace(running.first["ca_file"], str(trusted)))
    with subprocess.Popen([str(MOSQUITTO), "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            os.sched_setaffinity(process.pid, {core})
            end = time.monotonic() + START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    must(time.monotonic() < end, "mosquitto")
                    time.sleep(0.05)
            yield Broker(process.pid, port)
        finally:
            process.terminate()
            process.wait(START_S)


def _issuing(chain: Path) -> bytes:
    mark = b"-----BEGIN CERTIFICATE-----"
    return b"".join(mark + part for part in chain.read_bytes().split(mark)[2:])
