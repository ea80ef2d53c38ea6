# SPDX-License-Identifier: MIT
"""`trueboot campaign`: a release for many devices, phase by phase."""

from typing import Annotated

import typer

from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, YesOption, api_of, confirm, group

app = group("Roll a release out to many devices, phase by phase, and stop when it is bad.")

NumberArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its number: see `campaign list`.")]
TimeoutOption = Annotated[int, typer.Option(min=1, help="Seconds to watch.")]


@app.command("create")
def campaign_create(
    release: Annotated[
        str,
        typer.Argument(
            metavar="RELEASE",
            help="A version, a target path, newest, or newest:KIND/HARDWARE (settled on at its start).",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What people call it.", show_default=False)] = None,
    device: Annotated[list[str] | None, typer.Option(help="A device key; repeat for more.", show_default=False)] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Devices with this tag; all must hold.", show_default=False),
    ] = None,
    proven: Annotated[
        str,
        typer.Option(
            metavar="RANGE", help='Devices that have proven such a version: ">=1.0.0 <2.0.0".', show_default=False
        ),
    ] = "",
    claimed: Annotated[
        str, typer.Option(metavar="RANGE", help="Devices that claim such a version.", show_default=False)
    ] = "",
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Devices that begin to match later join.")] = False,
    phase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIZE",
            help="Go so far first: 5%, or 10 devices; repeat, rising. The last is all.",
            show_default=False,
        ),
    ] = None,
    success: Annotated[
        int, typer.Option(min=0, max=100, help="Percent of a phase that must have it proven before the next.")
    ] = 90,
    max_failures: Annotated[str, typer.Option(help="More failures in a phase halt it: a number, or 10%.")] = "10%",
    soak: Annotated[str, typer.Option(help="How long a phase is watched before the next: 10m, 12h, 2d.")] = "0s",
    phase_time: Annotated[str, typer.Option(help="A phase that has not succeeded by then halts it.")] = "7d",
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Devices that are under way at once. [default: all]", show_default=False)
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Of a device, from when it is told. [default: the server's]", show_default=False)
    ] = None,
    tries: Annotated[int, typer.Option(min=1, max=10, help="Attempts of a device that fails or is out of time.")] = 1,
    on_request: Annotated[
        bool, typer.Option("--on-request", help="Push nothing: devices get it when they ask.")
    ] = False,
    start: Annotated[str, typer.Option(help='now, later (by `campaign start`), or "2026-12-01T02:00:00Z".')] = "now",
    window: Annotated[
        str | None, typer.Option(help="Devices are told only then, every day, UTC: 22:00-04:00.", show_default=False)
    ] = None,
    product: Annotated[
        list[str] | None,
        typer.Option(help="A product key; repeat for more, or all. [default: the server's first]", show_default=False),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask devices anew that have refused this image.")] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="Also where a newer version runs.")] = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Make a campaign.  It goes on by what devices prove, and halts by itself when too many fail."""
    from . import campaigns

    api = api_of(server, ca, token, state)
    body = {
        **campaigns.wanted(api, release),
        "name": name,
        "scope": campaigns.scope(product or [], device or [], tag or [], proven, claimed),
        "dynamic": dynamic,
        "phases": campaigns.phases(phase) if phase else None,
        "success": success,
        "max_failures": campaigns.share(max_failures),
        "soak_s": campaigns.seconds("--soak", soak),
        "phase_s": campaigns.seconds("--phase-time", phase_time),
        "at_once": at_once,
        "tries": tries,
        "on_request": on_request,
        "timeout_s": campaigns.seconds("--timeout", timeout) if timeout else None,
        "start": start,
        "window": window,
        "retry": retry,
        "downgrade": downgrade,
    }
    campaigns.create(api, body, json)


@app.command("list")
def campaign_list(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the campaigns, newest first."""
    from .campaigns import list_campaigns

    list_campaigns(api_of(server, ca, token, state), json)


@app.command("show")
def campaign_show(
    campaign: NumberArgument,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Show one: its phases, its counts, and who failed and why."""
    from .campaigns import get, show

    show(get(api_of(server, ca, token, state), campaign), json)


@app.command("watch")
def campaign_watch(
    campaign: NumberArgument,
    timeout: TimeoutOption = 3600,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Follow one until it rests.  Exit 0 only if it is done."""
    from .campaigns import check_end, show, watch

    ended = watch(api_of(server, ca, token, state), campaign, timeout)
    show(ended, json)
    check_end(ended)


def _order(verb: str, text: str, question: str = "") -> None:
    def run(
        campaign: NumberArgument,
        yes: YesOption = False,
        server: ServerOption = "",
        ca: CaOption = "",
        token: TokenOption = "",
        state: StateOption = "",
        json: JsonOption = False,
    ) -> None:
        from .campaigns import order

        if question:
            confirm(question.format(campaign), yes)
        order(api_of(server, ca, token, state), campaign, verb, json)

    def unasked(
        campaign: NumberArgument,
        server: ServerOption = "",
        ca: CaOption = "",
        token: TokenOption = "",
        state: StateOption = "",
        json: JsonOption = False,
    ) -> None:
        run(campaign, True, server, ca, token, state, json)

    app.command(verb, help=text)(run if question else unasked)


_order("start", "Begin one that was made for later.")
_order("pause", "Tell nobody anything new; who has begun goes on.")
_order("resume", "Go on after a pause, which took no time of its phase.")
_order("abort", "End one; what a device has begun it may still finish, and prove.", "Abort campaign {}?")
_order("retry", "Once more, for the devices that failed or were cancelled.")
