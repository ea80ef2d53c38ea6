# SPDX-License-Identifier: MIT
"""Unsigned packages, installed by a script inside the slots of a real agent, from a real server: esthesis's way, with our trial."""

import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest
from rig import APP, configure, journal

from trueboot.demo.world import ESTHESIS
from trueboot.images import build

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from commandline import Tool  # noqa: E402

SCRIPT = """#!/bin/sh
echo "$@" >> %(folder)s/arguments
read first < "$5"
case "$first" in
    "# fail") echo "a secret"; exit 7 ;;
    "# wait") if [ ! -e %(folder)s/waited ]; then echo $$ > %(folder)s/waited; exec sleep 300; fi ;;
esac
cp "$5" "$TRUEBOOT_SLOT/app_version.py"
"""


def about(version, first="# good", more=""):
    return f'{first}\nVERSION = "{version}"\nHEALTHY = True\n{more}'.encode()


def image(rig, package):
    """What the script has to make of it."""
    return hashlib.sha256(build({"main.py": APP.read_bytes(), "app_version.py": package, **rig.agent_for_boards()}))


class Bench:
    """One device, and a technician at `trueboot package`."""

    def __init__(self, rig, folder):
        self.rig, self.folder = rig, folder
        first = rig.server_info
        self.tool = Tool(
            folder, TRUEBOOT_SERVER=first["https"], TRUEBOOT_CA=first["ca_file"], TRUEBOOT_TOKEN=first["admin_token"]
        )
        script = folder / "install.sh"
        script.write_text(SCRIPT % {"folder": folder})
        script.chmod(0o700)
        self.device = rig.add_device("by-script", "cpython", "esthesis")
        rig.doors[self.device.name] = {}
        rig.provision(self.device, rig.factory)
        configure(self.device, esthesis_packages="unsigned-by-script", esthesis_script=str(script))
        self.device.power_on()
        rig.wait(self.device, "version.reported")

    def offer(self, version, content):
        """A package of an operator, and the command to take it; the number of events until then."""
        file = self.folder / "package"
        file.write_bytes(content)
        found = self.tool.ok("package", "add", file, "--version", version, "--product", ESTHESIS)
        self.package = found["id"]
        return self.command()

    def command(self):
        since = len(self.rig.events)
        done = self.tool.ok("esthesis", "command", f"{ESTHESIS}/{self.device.name}", "firmware", self.package)
        assert "initiated" in str(done)
        return since

    def arguments(self):
        return [line.split() for line in (self.folder / "arguments").read_text().splitlines()]

    def stored(self):
        return self.rig.api.get(f"/api/v1/devices/{ESTHESIS}/{self.device.name}")

    def left(self):
        folder = self.device.folder / "state" / "packages"
        return os.listdir(folder) if folder.exists() else []


@pytest.fixture(scope="module")
def bench(shared_rig, tmp_path_factory):
    shared_rig.make_product()
    made = Bench(shared_rig, tmp_path_factory.mktemp("bench"))
    yield made
    shared_rig.retire(made.device)


def test_a_good_package_is_confirmed_and_told_as_what_it_is(bench):
    rig, package = bench.rig, about("1.1.0")
    since = bench.offer("1.1.0", package)
    rig.wait(bench.device, "update.confirmed", since=since, version="1.1.0")
    rig.wait(bench.device, "version.reported", source="server", since=since, version="1.1.0")
    ((running, new, sha256, size, path),) = bench.arguments()
    assert (running, new, sha256, size) == ("1.0.0", "1.1.0", hashlib.sha256(package).hexdigest(), str(len(package)))
    assert path.startswith(str(bench.device.folder / "state"))
    stored = bench.stored()
    assert (stored["proven_version"], stored["image"]) == ("1.1.0", image(rig, package).hexdigest())
    assert stored["running"]["remarks"] == ["an image that was never signed here"] and not stored["running"]["signed"]
    assert bench.left() == []


def test_a_bad_package_is_rolled_back_and_not_taken_again(bench):
    rig, package = bench.rig, about("1.2.0", more="import a_driver_that_was_never_shipped\n")
    since = bench.offer("1.2.0", package)
    rig.wait(bench.device, "update.rolled_back", since=since, version="1.2.0")
    rig.wait(bench.device, "version.reported", source="server", since=since, version="1.1.0")
    runs = len(bench.arguments())
    assert [image(rig, package).hexdigest()] == [one[0] for one in journal(bench.device)["update"]["refused"]]
    since = bench.command()
    reason = rig.wait(bench.device, "update.refused", since=since)["reason"]
    assert reason.startswith("refused before: ") and len(bench.arguments()) == runs


def test_a_script_that_fails_is_told_by_its_status_alone(bench):
    rig, before = bench.rig, bench.stored()["image"]
    since = bench.offer("1.3.0", about("1.3.0", "# fail"))
    reason = rig.wait(bench.device, "update.failed", since=since)["reason"]
    assert reason == "package_script: exit status 7"
    report = rig.wait(bench.device, "report.accepted", source="server", since=since, outcome="failed")
    assert report["reason"] == reason and bench.stored()["image"] == before and bench.left() == []


def test_a_cut_in_the_middle_of_the_script_leaves_nothing_behind(bench):
    rig, waited, package = bench.rig, bench.folder / "waited", about("1.4.0", "# wait")
    since = bench.offer("1.4.0", package)
    assert rig.until(lambda: waited.exists() and waited.read_text(), 30), rig.told(bench.device)
    (first,) = bench.left()
    bench.device.pull_power()
    rig.wait(bench.device, "update.confirmed", since=since, version="1.4.0")
    rig.wait(bench.device, "version.reported", source="server", since=since, version="1.4.0")
    os.kill(int(waited.read_text()), signal.SIGKILL)  # it outlived its agent, and reached nothing
    assert bench.stored()["image"] == image(rig, package).hexdigest() and bench.left() == []
    paths = [Path(words[4]) for words in bench.arguments() if words[1] == "1.4.0"]
    assert len(paths) == 2 and paths[0].parent.name == first != paths[1].parent.name


def test_a_signed_release_follows_an_unsigned_one(bench):
    rig = bench.rig
    release = rig.release("3.0.0")
    rig.api.post("/api/v1/jobs", {"target": release.path, "product_key": ESTHESIS, "devices": [bench.device.name]})
    rig.wait(bench.device, "attempt.updated", source="server")
    assert bench.stored()["running"]["remarks"] == []
