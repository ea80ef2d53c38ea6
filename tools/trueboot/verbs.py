# SPDX-License-Identifier: MIT
"""What each verb of `trueboot` takes; what it does is in the modules that it imports when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from . import (
    verbs_board,
    verbs_bundle,
    verbs_ca,
    verbs_campaign,
    verbs_ek,
    verbs_enos,
    verbs_esthesis,
    verbs_fault,
    verbs_flash,
    verbs_identity,
    verbs_keys,
    verbs_operator,
    verbs_package,
    verbs_product,
    verbs_release,
)
from .options import CaOption, JsonOption, ServerOption, StateOption, TokenOption, YesOption, api_of, confirm, group
from .problem import Problem

HELP = 'Trueboot: devices that update safely, and a server that says "updated" only when it is proven.'


app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
device = group("Look at devices, and at their identity.")
verbs_identity.add_to(device)
verbs_flash.add_to(app)
image = group("App images: the files of an app as one file.")
for name, verbs in (
    ("device", device),
    ("product", verbs_product.app),
    ("board", verbs_board.app),
    ("release", verbs_release.app),
    ("package", verbs_package.app),
    ("campaign", verbs_campaign.app),
    ("keys", verbs_keys.app),
    ("ca", verbs_ca.app),
    ("bundle", verbs_bundle.app),
    ("image", image),
    ("enos", verbs_enos.app),
    ("esthesis", verbs_esthesis.app),
    ("token", verbs_operator.app),
    ("fault", verbs_fault.app),
):
    app.add_typer(verbs, name=name)
verbs_ca.app.add_typer(verbs_ek.app, name="ek-root")
app.command("audit")(verbs_operator.audit)


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        typer.echo(f"trueboot {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command()
def server(
    state: Annotated[
        Path,
        typer.Option(help="Folder for everything that the server keeps. [env TRUEBOOT_STATE]", envvar="TRUEBOOT_STATE"),
    ] = Path("trueboot-state"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTPS port; 0 takes a free one.")] = 8443,
    mqtt_port: Annotated[
        int, typer.Option(min=0, max=65535, help="MQTT port (client certificates); 0 takes a free one.")
    ] = 8883,
    activate_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="MQTT port for activation. [default: the next one]", show_default=False),
    ] = None,
    plain_mqtt_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="MQTT port without TLS. [default: none]", show_default=False),
    ] = None,
    plain_mqtt_host: Annotated[
        str, typer.Option(help='Its address; "unencrypted:ADDRESS" for one that others reach.')
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(help="A name by which devices reach it; repeat for more, the first is told.", show_default=False),
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Loopback only, open registration, signing keys beside the server.")
    ] = False,
    metrics_open: Annotated[bool, typer.Option("--metrics-open", help="/metrics asks for no token.")] = False,
    queries: Annotated[
        int, typer.Option(min=1, max=10_000, help="How often a device may ask for updates within 5 minutes.")
    ] = 5,
    download_life: Annotated[str, typer.Option(help="Of a token for one download: seconds, or 60m, 12h, 7d.")] = "60m",
    open_registration: Annotated[
        bool, typer.Option("--open-registration", help="esthesis: a product may let anybody register; --dev does, too.")
    ] = False,
    faults: Annotated[
        bool, typer.Option("--faults", help="Let it misbehave on command: trueboot fault. For tests only.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run the reference server until it is stopped."""
    from trueboot_server.limits import Limits
    from trueboot_server.main import run

    from .products import seconds

    life_s = seconds(download_life, "--download-life")
    if not 60 <= life_s <= 30 * 24 * 3600:
        raise Problem("usage", "--download-life is from 1m to 30d.")
    limits = Limits(queries=queries, ticket_life_s=float(life_s))
    names = tuple(name or ())
    raise typer.Exit(
        run(
            state,
            port,
            mqtt_port,
            activate_port,
            dev=dev,
            json=json,
            host=host,
            names=names,
            limits=limits,
            plain_mqtt_port=plain_mqtt_port,
            plain_mqtt_host=plain_mqtt_host,
            metrics_open=metrics_open,
            open_registration=open_registration,
            faults=faults,
        )
    )


@app.command()
def demo(
    script: Annotated[str, typer.Option(help="happy, rollback, attack or all.")] = "all",
    devices: Annotated[int, typer.Option(min=1, max=50, help="Devices for each runtime.")] = 1,
    runtime: Annotated[str, typer.Option(help="cpython, micropython or both.")] = "both",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder, logs included.")] = False,
    timeout: Annotated[int, typer.Option(min=10, help="Seconds that one step of the story may take.")] = 120,
    cut_power: Annotated[
        int, typer.Option(metavar="N", help="Cut the power of the devices N times, all along the way.")
    ] = 0,
    seed: Annotated[int | None, typer.Option(help="Repeats the moments of the cuts.", show_default=False)] = None,
    tpm: Annotated[bool, typer.Option("--tpm", help="Keys in a TPM (swtpm), attested; Linux devices only.")] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:NAME=VALUE,...]",
            help="Have the server misbehave meanwhile; repeat for more. See: trueboot fault kinds",
            show_default=False,
        ),
    ] = None,
    cloud: Annotated[str, typer.Option(help="What devices speak: decada, esthesis or both.")] = "decada",
    json: Annotated[bool, typer.Option("--json", help="One event per line on stdout.")] = False,
) -> None:
    """A server and devices on this machine live through updates, good and bad; nothing is left behind."""
    from .demo.story import run

    raise typer.Exit(
        run(script, devices, runtime, keep, timeout, json, cut_power, seed, tpm, tuple(fault or ()), cloud)
    )


@device.command("ls")
def device_ls(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """List the devices."""
    from .fleet import list_devices

    list_devices(api_of(server, ca, token, state), json)


@device.command("show")
def device_show(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Device key, or PRODUCT/DEVICE.")],
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Show what is known of one device: what it claims, and what it has proven."""
    from .fleet import show_device

    show_device(api_of(server, ca, token, state), name, json)


@device.command("make")
def device_make(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder: the device's disk.")],
    image: Annotated[Path, typer.Option(metavar="FOLDER|IMAGE", help="The app that the factory gives it.")],
    version: Annotated[str, typer.Option(help="The app's version.")],
    name: Annotated[str, typer.Option(help="Device key. [default: the folder's name]", show_default=False)] = "",
    hardware: Annotated[str, typer.Option(help="Hardware that it is.")] = "sim",
    runtime: Annotated[str, typer.Option(help="cpython, or micropython: what is copied onto a board.")] = "cpython",
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Register a device and write its folder: configuration, trust, first image."""
    from . import provision
    from .releases import make
    from .tables import show_facts, show_json

    if runtime not in provision.RUNTIMES:
        raise Problem("usage", f"--runtime {runtime}: one of {', '.join(provision.RUNTIMES)}.")
    factory = make(image, "app", hardware, version)
    api = api_of(server, ca, token, state)
    if not {"mqtt", "product_key", "root_file"} <= set(api.server.info):
        raise Problem(
            "server_unknown",
            "The server's addresses are not known.",
            todo="Give the server's state folder with --state.",
        )
    if folder.exists() and any(folder.iterdir()):
        raise Problem("file_unusable", f"{folder} is not empty.", todo="Choose another folder.")
    key = name or folder.resolve().name
    secret = {"device_secret": provision.register(api, key)}
    config = provision.write(folder, api.server.info, key, runtime, factory, secret)
    if json:
        return show_json({"device_key": key, "config": str(config)})
    run = ("run it", f"trueboot-agent run --config {config}")
    show_facts([("device", key), run if runtime == "cpython" else ("copy it", f"mpremote cp -r {folder}/. :.")])


@device.command("consent")
def device_consent(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Device key, or PRODUCT/DEVICE.")],
    job: Annotated[str, typer.Option(help="The job whose release is agreed to.")],
    gate: Annotated[str, typer.Option(help="download or activate.")],
    expires: Annotated[int, typer.Option(min=1, help="Seconds for which it is good.")] = 3600,
    no: Annotated[bool, typer.Option("--no", help="Refuse instead.")] = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Agree for a device that accepts such words (consent_remote) and asks.  It never overrides a no on the device."""
    from .fleet import consent

    if gate not in ("download", "activate"):
        raise Problem("usage", "--gate is download or activate.")
    consent(api_of(server, ca, token, state), name, job, gate, expires, "no" if no else "yes", json)


@device.command("revoke")
def device_revoke(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Device key, or PRODUCT/DEVICE.")],
    reason: verbs_ca.ReasonOption = "unspecified",
    yes: YesOption = False,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """End a device's secret, its certificates and its session.  It comes back only if it is registered anew."""
    from .ca import check_reason, revoke_device
    from .fleet import find_device

    check_reason(reason)
    api = api_of(server, ca, token, state)
    found = find_device(api, name)
    confirm(f"Revoke {name} and all its certificates?", yes)
    revoke_device(api, found, reason, json)


@device.command("rollback")
def device_rollback(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Device key, or PRODUCT/DEVICE.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the job ends.")] = False,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds to follow.")] = 3600,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Take a device back to the release that it ran before; no download, while its spare slot still holds that."""
    from .fleet import roll_back

    api = api_of(server, ca, token, state)
    _end(api, roll_back(api, name), follow, timeout, json)


@app.command()
def deploy(
    release: Annotated[
        str, typer.Argument(metavar="VERSION|TARGET", help="A release: its version, or its target path.")
    ],
    device: Annotated[list[str] | None, typer.Option(help="A device; repeat for more.", show_default=False)] = None,
    all: Annotated[bool, typer.Option("--all", help="Every device that the release is for.")] = False,
    max_failures: Annotated[int, typer.Option(min=0, help="Failures that do not halt the job.")] = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Ask devices anew that have refused this image.")] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="Also where a newer version runs.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the job ends.")] = False,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds to follow.")] = 3600,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Update devices to a release.  With --follow, exit 0 only if every device has proven it, or claims it where claims count."""
    from .fleet import create_job

    if bool(device) == all:
        raise Problem("usage", "Say which devices: --device NAME (repeatable), or --all.")
    api = api_of(server, ca, token, state)
    job = create_job(api, release, device or [], max_failures, retry=retry, downgrade=downgrade)
    _end(api, job, follow, timeout, json)


@app.command()
def status(
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="A job; without it, all jobs are listed.", show_default=False)
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the job ends.")] = False,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds to follow.")] = 3600,
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Show jobs, or one job, its attempts and what runs now.  Exit 1 when an attempt failed, or its device fell back."""
    from .fleet import get_job, list_jobs

    if follow and not job:
        raise Problem("usage", "Say which job to follow.", todo="List them: trueboot status")
    api = api_of(server, ca, token, state)
    if not job:
        return list_jobs(api, json)
    _end(api, get_job(api, job), follow, timeout, json)


def _end(api, job: dict, follow: bool, timeout: int, json: bool) -> None:
    from .fleet import failed, follow_job, show_job

    if follow:
        job = follow_job(api, job["id"], timeout)
    show_job(job, json)
    if failed(job):
        raise Problem(
            "job_failed", f"Job {job['id']} did not succeed on every device.", todo=f"See: trueboot status {job['id']}"
        )


@image.command("build")
def image_build(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The files; of an app, one is main.py.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The image to write.")],
    kind: Annotated[str, typer.Option(help="app, or system: boot/... and root.img.")] = "app",
    json: JsonOption = False,
) -> None:
    """Build an image from a folder."""
    from .images import describe, load

    if kind not in ("app", "system"):
        raise Problem("usage", f"--kind {kind}: app or system; a firmware is released as it is.")
    data = load(folder, kind)
    try:
        output.write_bytes(data)
    except OSError as error:
        raise Problem("file_unusable", f"{output} cannot be written.", error.strerror or str(error)) from None
    _show_image(describe(data), json)


@image.command("show")
def image_show(file: Annotated[Path, typer.Argument(metavar="IMAGE")], json: JsonOption = False) -> None:
    """Check an image of an app or a system and list its files."""
    from .images import describe, load

    if file.is_dir():
        raise Problem("usage", f"{file} is a folder.", todo="Build it first: trueboot image build FOLDER -o FILE")
    _show_image(describe(load(file, "")), json)


def _show_image(facts: dict, json: bool) -> None:
    from .tables import show_facts, show_json, show_table

    if json:
        return show_json(facts)
    show_facts([("sha256", facts["sha256"]), ("length", facts["length"])])
    show_table(("BYTES", "PATH"), ((file["length"], file["path"]) for file in facts["files"]))


@app.command()
def doctor(
    server: ServerOption = "",
    ca: CaOption = "",
    token: TokenOption = "",
    state: StateOption = "",
    json: JsonOption = False,
) -> None:
    """Say what is wrong with this machine's set-up, and what to do about it.  Exit 1 when something does not work."""
    from .doctor import FAIL, examine, line
    from .tables import printable, show_json

    checks = []
    for check in examine(server, ca, token, state):
        checks.append(check)
        if not json:
            typer.echo(printable(line(check)))
    good = all(check.verdict != FAIL for check in checks)
    if json:
        show_json({"ok": good, "checks": [check._asdict() for check in checks]})
    raise typer.Exit(0 if good else 1)


@app.command()
def explain(
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="A code from an error message, such as server_unreachable.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Say what an error code means and what to do about it; without a code, list them all."""
    from .codes import CODES
    from .tables import show_facts, show_json, show_table

    code = code.strip("[]")
    if not code:
        if json:
            return show_json({name: row._asdict() for name, row in CODES.items()})
        return show_table(("CODE", "EXIT", "WHAT"), ((name, row.exit, row.what) for name, row in sorted(CODES.items())))
    if code not in CODES:
        from difflib import get_close_matches

        near = get_close_matches(code, CODES, 3)
        raise Problem(
            "usage",
            f"No error has the code {code}.",
            todo=f"Near it: {', '.join(near)}." if near else "List them: trueboot explain",
        )
    row = CODES[code]
    if json:
        return show_json({"code": code} | row._asdict())
    show_facts(
        [("code", code), ("what", row.what), ("why", row.why), ("do", row.todo), ("exit", row.exit), ("from", row.who)]
    )
