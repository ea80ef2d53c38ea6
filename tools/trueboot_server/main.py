# SPDX-License-Identifier: MIT
"""The process: options in, one line out, then serving until it is told to stop.

Standard output carries the first line (JSON with --json, else a few readable lines) and nothing after it;
the log goes to standard error.  Exit codes: see `errors`.
"""

from __future__ import annotations

import argparse
import asyncio
import json as json_module
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .app import Options, Server
from .errors import StartError
from .limits import Limits
from .log import Log, make_log, tell_fault
from .state import write_atomically


def run(
    state: Path,
    port: int = 8443,
    mqtt_port: int = 8883,
    activate_port: int | None = None,
    dev: bool = False,
    json: bool = False,
    host: str = "127.0.0.1",
    names: tuple[str, ...] = (),
    limits: Limits | None = None,
    plain_mqtt_port: int | None = None,
    plain_mqtt_host: str = "127.0.0.1",
    metrics_open: bool = False,
    faults: bool = False,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    `activate_port` defaults to the port after `mqtt_port`, or to a free one when that is 0.
    """
    os.umask(0o077)  # whatever is made below belongs to this user alone
    if activate_port is None:
        activate_port = mqtt_port + 1 if mqtt_port else 0
    options = Options(
        Path(state),
        port,
        mqtt_port,
        activate_port,
        host,
        tuple(names),
        dev,
        limits or Limits(),
        plain_mqtt_port,
        plain_mqtt_host,
        metrics_open,
        faults,
    )
    log = make_log(as_json=json)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(options, log, json))
    except StartError as error:
        print(f"trueboot server: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        pass  # a second one, while stopping
    return 0


async def _serve(options: Options, log: Log, as_json: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(exception_handler(log))
    server = Server(options, log)
    await server.start()
    try:
        document = _document(options, server)
        write_atomically(
            options.state.absolute() / "operator.json", json_module.dumps(document, indent=2).encode(), 0o600
        )
        sys.stdout.write(json_module.dumps(document, separators=(",", ":")) + "\n" if as_json else _readable(document))
        sys.stdout.flush()
        log("server.started", https=server.addresses.https, mqtt=server.addresses.mqtt)
        await stop.wait()
    finally:
        await server.stop()
        log("server.stopped")


def _document(options: Options, server: Server) -> dict[str, Any]:
    state = options.state.absolute()
    held = server.credentials
    return {
        "https": server.addresses.https,
        "mqtt": server.addresses.mqtt,
        "mqtt_activate": server.addresses.mqtt_activate,
        "mqtt_plain": server.addresses.mqtt_plain,
        "ca_file": str(state / "ca.pem"),
        "org_id": held.org_id,
        "product_key": held.product_key,
        "product_secret": held.product_secret,
        "access_key": held.access_key,
        "secret_key": held.secret_key,
        "registration_secret": held.registration_secret,
        "admin_token": held.admin_token,
        "root_file": str(server.repository.root_file),
        "keys_dir": str(state / "dev-keys") if options.dev else None,
        "state": str(state),
        "pid": os.getpid(),
        "faults": options.faults,
    }


def _readable(document: dict[str, Any]) -> str:
    return (
        f"trueboot server\n"
        f"  page      {document['https']}/ui/\n"
        f"  https     {document['https']}\n"
        f"  mqtt      {document['mqtt']} (certificates), {document['mqtt_activate']} (activation)\n"
        + (f"  mqtt      {document['mqtt_plain']} (no TLS)\n" if document["mqtt_plain"] else "")
        + f"  product   {document['product_key']}\n"
        f"  operator  {document['state']}/operator.json holds addresses and secrets\n"
        + ("  FAULTS    it misbehaves on command (--faults): trueboot fault list\n" if document["faults"] else "")
    )


def exception_handler(log: Log) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    def tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # A broken connection is the peer's affair; anything else is a fault of ours.
        if error is not None and not isinstance(error, OSError):
            tell_fault(log, error)

    return tell


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trueboot_server", description="The Trueboot reference server.")
    parser.add_argument("--state", type=Path, default=Path("trueboot-state"), help="the folder for all that it keeps")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--name", action="append", default=[], help="a name by which devices reach it; the first is told to them"
    )
    parser.add_argument("--port", type=int, default=8443, help="HTTPS; 0 takes a free one")
    parser.add_argument("--mqtt-port", type=int, default=8883, help="MQTT with client certificates; 0 takes a free one")
    parser.add_argument("--activate-port", type=int, help="MQTT for activation; default: the next one")
    parser.add_argument("--plain-mqtt-port", type=int, help="MQTT without TLS; 0 takes a free one. Default: none")
    parser.add_argument(
        "--plain-mqtt-host", default="127.0.0.1", help='its address; "unencrypted:ADDRESS" for one that others reach'
    )
    parser.add_argument(
        "--dev", action="store_true", help="loopback only, open registration, signing keys in the state folder"
    )
    parser.add_argument("--metrics-open", action="store_true", help="/metrics asks for no token")
    parser.add_argument("--faults", action="store_true", help="misbehave on command: trueboot fault")
    parser.add_argument("--json", action="store_true", help="first line and log as JSON")
    chosen = parser.parse_args(arguments)
    return run(
        chosen.state,
        chosen.port,
        chosen.mqtt_port,
        chosen.activate_port,
        dev=chosen.dev,
        json=chosen.json,
        host=chosen.host,
        names=tuple(chosen.name),
        plain_mqtt_port=chosen.plain_mqtt_port,
        plain_mqtt_host=chosen.plain_mqtt_host,
        metrics_open=chosen.metrics_open,
        faults=chosen.faults,
    )
