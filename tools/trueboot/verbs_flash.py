# SPDX-License-Identifier: MIT
"""`trueboot flash`, `trueboot bench`, `trueboot labels`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption
from .problem import Problem

BoardOption = Annotated[
    str,
    typer.Option(metavar="NAME|FOLDER", help="Which board. [default: the one that has the chip]", show_default=False),
]
FirmwareOption = Annotated[
    Path | None,
    typer.Option(help="MicroPython's firmware for the board; without it, the board keeps its own.", show_default=False),
]
UnverifiedOption = Annotated[
    bool, typer.Option("--unverified", help="Take a firmware whose SHA-256 is not in board.json.")
]
AppOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER|IMAGE", help="The first app. [default: the example]", show_default=False),
]
VersionOption = Annotated[str, typer.Option("--app-version", help="Its version.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="TOML or JSON: keys of trueboot.json, and a table [wifi].", show_default=False),
]
BaudOption = Annotated[int, typer.Option(min=9600, max=4_000_000, help="esptool's rate.")]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Also a chip that was flashed before, or a device in use: it begins anew.")
]
ContactOption = Annotated[int, typer.Option(min=1, max=3600, help="Seconds to wait for a board's first report.")]
VolumesOption = Annotated[
    Path | None,
    typer.Option(help="Where drives of boards in BOOTSEL mode appear. [default: the system's]", show_default=False),
]
FaultOption = Annotated[
    list[str] | None,
    typer.Option(metavar="N:KIND", help="How simulated board N fails; repeat for more.", show_default=False),
]
SimulatedOption = Annotated[
    str, typer.Option("--simulate-in", metavar="FOLDER", help="Keep the simulated boards there.", show_default=False)
]
SIMULATED_BOARD = "ESP32_GENERIC"


def add_to(app: typer.Typer) -> None:
    app.command("flash")(flash)
    app.command("bench")(bench)
    app.command("labels")(labels_of)


def flash(
    port: Annotated[str, typer.Option(help="Its serial port; auto: the only board there is.")] = "auto",
    board: BoardOption = "",
    firmware: FirmwareOption = None,
    unverified: UnverifiedOption = False,
    app: AppOption = None,
    app_version: VersionOption = "1.0.0",
    name: Annotated[str, typer.Option(help="Device key. [default: chip and its id]", show_default=False)] = "",
    config: ConfigOption = None,
    labels: Annotated[Path, typer.Option(help="Folder of labels and of the record.")] = Path("labels"),
    replace: ReplaceOption = False,
    baud: BaudOption = 460800,
    contact: ContactOption = 120,
    volumes: VolumesOption = None,
    list_ports: Annotated[bool, typer.Option("--list", help="Only say which boards are there.")] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="A simulated board; without a server, one of its own.")
    ] = False,
    simulate_in: SimulatedOption = "",
    fault: FaultOption = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Flash a board: firmware, files, a key made on its chip, a certificate; proven by its first report.

    Pulled or cut off, the same command goes on.  With --simulate esptool, REPL, server and identity are real; the ROM loader
    is a mock, MicroPython its unix port, and USB is not played.
    """
    from .flash import boards, ports, single, uf2

    if list_ports:
        return _list(json)
    with ExitStack() as stack:
        api = _server(stack, simulate, server, ca, token, state)
        place = None
        if simulate:
            from .flash.simulated import bed

            made = boards.named(board or SIMULATED_BOARD)
            simulated, own = stack.enter_context(bed.boards_of(made, 1, simulate_in, fault or ()))
            place, firmware, unverified = simulated.ports[0], firmware or own, True
            volumes = volumes or simulated.folder / "volumes"
        wanted = _wanted(
            api, board, firmware, unverified, app, app_version, config, baud, replace, contact, simulate, volumes
        )
        drives = [] if place or port != "auto" or ports.found() else uf2.volumes(str(volumes or ""))
        if len(drives) == 1:
            where = uf2.first(drives[0], wanted, ports.found, lambda done: None)
            wanted = wanted._replace(fresh=True)
        else:
            where = ports.named(str(place)) if place else ports.chosen(port)
        if simulate:
            where = where._replace(tool=boards.named(board or SIMULATED_BOARD).tool)
        single.flash(where, wanted, api, name, labels, json)


def bench(
    batch: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BATCH.CSV]", help="serial,board,group,wifi_ssid,wifi_psk_ref,label_*.", show_default=False
        ),
    ] = None,
    slots: Annotated[
        str,
        typer.Option(
            metavar="auto|N|PORT,...", help="Every board that is plugged in, N of them at most, or these ports."
        ),
    ] = "auto",
    operator: Annotated[str, typer.Option(help="Who does it, for the record.", envvar="USER")] = "",
    board: BoardOption = "",
    firmware: FirmwareOption = None,
    unverified: UnverifiedOption = False,
    app: AppOption = None,
    app_version: VersionOption = "1.0.0",
    config: ConfigOption = None,
    replace: ReplaceOption = False,
    baud: BaudOption = 460800,
    contact: ContactOption = 120,
    tries: Annotated[int, typer.Option(min=1, max=10, help="For each board, of what may pass by itself.")] = 3,
    once: Annotated[
        bool, typer.Option("--once", help="End with the boards that are there. [default: when nobody is at a terminal]")
    ] = False,
    volumes: VolumesOption = None,
    simulate: Annotated[
        int, typer.Option(min=0, max=64, metavar="N", help="N simulated boards; without a batch, one is made up.")
    ] = 0,
    simulate_in: SimulatedOption = "",
    fault: FaultOption = None,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Flash many boards, a row of the batch each.  Exit 0 only if every row is a device that has proven itself.

    Given again, it goes on: finished boards are passed over by their chips.  The record is BATCH.ndjson.  What --simulate
    plays, and what not, is as in `trueboot flash`; its boards fail on demand: --fault 2:silent.
    """
    import sys

    from .flash import batch as batches
    from .flash import batch_run, boards, ports

    if batch is None and not simulate:
        raise Problem("usage", "Say which batch.", todo="trueboot bench batch.csv; or --simulate N")
    with ExitStack() as stack:
        path = batch or _made_up(stack, simulate)
        rows = batches.read(path)
        api = _server(stack, bool(simulate), server, ca, token, state)
        look = _looker(slots)
        if simulate:
            from .flash.simulated import bed

            made = boards.named(board or SIMULATED_BOARD)
            beds, own = stack.enter_context(bed.boards_of(made, simulate, simulate_in, fault or ()))
            firmware, unverified, volumes = firmware or own, True, volumes or beds.folder / "volumes"

            def look():
                return {
                    one.name: ports.Port(str(one), one.name, "", "", made.tool) for one in beds.ports if one.exists()
                }

        wanted = _wanted(
            api, board, firmware, unverified, app, app_version, config, baud, replace, contact, bool(simulate), volumes
        )
        stay = not (once or simulate) and sys.stderr.isatty()
        batch_run.run(path, rows, wanted, api, look, operator, tries, stay, json)


def labels_of(
    source: Annotated[Path, typer.Argument(metavar="RECORD.NDJSON", help="Of `trueboot bench` or `trueboot flash`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The sheet to write, HTML.")],
    sheet: Annotated[str, typer.Option(help="A4-21, A4-24 or A4-65 labels on a page.")] = "A4-24",
    json: JsonOption = False,
) -> None:
    """Write a sheet of labels for the finished boards of a record.  A QR code leads to the device at its server."""
    from .flash import labels, record
    from .tables import show_facts, show_json

    found = [labels.of_line(line) for line in record.finished(record.read(source)).values()]
    labels.write(output, labels.sheet(found, sheet))
    facts = {"labels": len(found), "sheet": str(output)}
    show_json(facts) if json else show_facts(facts.items())


def _made_up(stack: ExitStack, count: int) -> Path:
    import tempfile

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trueboot-bench-")))
    path = folder / "simulated.csv"
    path.write_text("serial\n" + "".join(f"SIM-{number:04d}\n" for number in range(1, count + 1)))
    return path


def _looker(slots: str):
    from .flash import ports

    if slots == "auto" or slots.isdecimal():
        most = int(slots) if slots != "auto" else None
        return lambda: {port.slot: port for port in ports.found()[:most]}
    named = [name for name in slots.split(",") if name]

    def look():
        import os

        return {port.slot: port for port in (ports.named(name) for name in named if os.path.exists(name))}

    return look


def _wanted(api, board, firmware, unverified, app, version, config, baud, replace, contact, simulated, volumes):
    from .flash import plan, steps

    more, wifi = plan.read_config(config)
    info = dict(api.server.info)
    for key in ("https", "mqtt", "product_key", "ca_file", "root_file"):
        if key in more and key in ("ca_file", "root_file"):
            info[key] = more.pop(key)  # files of this machine; on the board they have names of their own
        info.setdefault(key, more.get(key, api.server.ca_file if key == "ca_file" else ""))
        if not info[key]:
            raise Problem(
                "server_unknown",
                f"The server's {key} is not known.",
                todo="Give the server's state folder with --state, or say it in --config.",
            )
    info["https"] = info.get("https") or api.server.url
    return steps.Wanted(
        info={key: info[key] for key in ("https", "mqtt", "product_key", "ca_file", "root_file")},
        board=board,
        firmware=str(firmware or ""),
        unverified=unverified,
        app=str(app or ""),
        version=version,
        config=more,
        wifi=wifi,
        baud=baud,
        replace=replace,
        contact_s=contact,
        simulated=simulated,
        volumes=str(volumes or ""),
    )


def _server(stack: ExitStack, simulate: bool, server: str, ca: str, token: str, state: str):
    """The session with it; of a simulation that names none, with one of its own."""
    from .api import Api, find_server

    try:
        found = find_server(server, ca, token, state)
    except Problem as problem:
        if problem.code != "server_unknown" or not simulate or server or state:
            raise
        from .flash.simulated import bed

        found = stack.enter_context(bed.own_server())
    api = Api(found)
    stack.callback(api.close)
    return api


def _list(as_json: bool) -> None:
    from .flash import ports
    from .tables import show_json, show_table

    found = ports.found()
    if as_json:
        return show_json([port._asdict() for port in found])
    show_table(("PORT", "SLOT", "USB", "IS"), found)
