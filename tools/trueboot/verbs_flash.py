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
    from .flash import boards, ports, single

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
        where = ports.named(str(place)) if place else ports.chosen(port)
        if simulate and boards.named(board or SIMULATED_BOARD).tool == "uf2":
            where = where._replace(word=boards.MICROPYTHON)
        single.flash(where, wanted, api, name, labels, json)


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
