# SPDX-License-Identifier: MIT
"""`trueboot esthesis`: commands to devices that speak esthesis CORE's language."""

from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, api_of, group

app = group("Commands to devices that speak esthesis, and their replies.")

DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Hardware id, or PRODUCT/DEVICE.")]


@app.command("command")
def esthesis_command(
    device: DeviceArgument,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="execute, firmware, reboot, shutdown, ping or health.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND ...]", help="To execute; or a package's id, for firmware. Nothing is quoted."),
    ] = None,
    asynchronous: Annotated[bool, typer.Option("--async", help="Do not let the device wait for the program.")] = False,
    wait: Annotated[int, typer.Option(min=0, max=60, help="Seconds to wait for the reply; 0: do not.")] = 10,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Send a command.  Fails when the device says so, or says nothing in time; a later reply is kept."""
    from .esthesis import command

    command(api_of(server, ca, token, state), device, kind, words or [], asynchronous, wait, json)


@app.command("commands")
def esthesis_commands(
    device: DeviceArgument,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the newest commands of a device, with the beginning of their replies."""
    from .esthesis import list_commands

    list_commands(api_of(server, ca, token, state), device, json)
