# SPDX-License-Identifier: MIT
"""What keeps an unsigned package out, and what a script may leave; a real agent with its script is in tests/faults."""

import os
import stat
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

import test_esthesis_agent as portable
from agent import config
from agent.errors import DeviceError, MisuseError, RefusedError
from agent.runtime import Agent
from agent.wire import appimage
from platform_adapters import raspberry_pi
from platform_adapters.linux import Linux
from platform_adapters.linux_packages import Packages
from platform_adapters.linux_slots import LinuxSlots

PACKAGE = b"not a bundle" * 40
DIGEST = portable.digest(PACKAGE)
URL = "https://elsewhere:1/fw.bin"
PATIENCE_S = 20


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "install.sh"
    file.write_text('#!/bin/sh\nexec touch "$0.ran"\n')
    file.chmod(0o700)
    return file


@pytest.fixture
def packages(tmp_path):
    """Over real slots, of which `a` runs."""
    image = appimage.build({"main.py": b"version = 1\n", "lib/a.py": b"x = 1\n"})
    other = LinuxSlots(str(tmp_path / "slots"), str(tmp_path), "b")
    other.state = lambda: {"confirmed": True, "failure": ""}
    other.begin({"version": "1.0.0"})
    other.write(0, image)
    other.sync()
    return Packages(str(tmp_path / "packages"), LinuxSlots(str(tmp_path / "slots"), str(tmp_path), "a"))


def policy(script, **more):
    return {**portable.CONFIG, "esthesis_packages": "unsigned-by-script", "esthesis_script": str(script), **more}


def reported(script, packages, package=PACKAGE, floor=0, ranges=True, **offer):
    """The reason that the device gives for not taking the package."""
    bare = {"target": None, "job": None, "nonce": None, "length": None, "sha256": DIGEST, "size": len(package)}
    device, cloud = portable.start(policy(script), offer={**bare, **offer}, image=package, urls={URL: package})
    if not ranges:  # as the original's server
        http = cloud.http
        cloud.http = lambda device, method, url, headers, *more: http(
            device, method, url, {name: headers[name] for name in headers if name != "Range"}, *more
        )
    cloud.commands = [portable.FIND]
    platform = device.power_on()
    platform.packages, platform.chunk = packages, 64
    agent = Agent(platform)
    assert agent.record["update"]["floor"] == 0
    agent.record["update"]["floor"] = floor
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        platform.clock.sleep_ms(max(1, min(agent.step(20), 100)))
        ended = [told for told in cloud.reports if told["outcome"] in ("failed", "refused")]
        if ended:
            assert agent.status()["version"] == "1.0.0" and not os.path.exists(f"{script}.ran")
            assert not os.path.exists(packages._folder) or os.listdir(packages._folder) == []
            return ended[0]["reason"]
    raise AssertionError(device.events)


def test_a_package_without_a_hash_or_with_another_one_runs_no_script(script, packages):
    assert reported(script, packages, sha256=None).startswith("package_hash: the service tells no SHA-256")
    for more in ({}, {"ranges": False}, {"type": "EXTERNAL", "downloadUrl": URL, "size": 0}):
        assert reported(script, packages, sha256="0" * 64, **more).startswith("package_hash: the file is not the one")


def test_size_version_and_floor_are_looked_at_before_the_download(script, packages):
    assert reported(script, packages, size=1 << 30).startswith("package_size: ")
    assert reported(script, packages, version="new").startswith("package_version: ")
    assert reported(script, packages, version="0.9.0").startswith("older: ")
    assert reported(script, packages, floor=1).startswith("security 0 is below the floor 1")


def test_by_default_a_bare_package_is_refused():
    bare = {"target": None, "job": None, "nonce": None, "length": None, "size": len(PACKAGE), "sha256": DIGEST}
    device, cloud = portable.start(offer=bare, image=PACKAGE)
    cloud.commands = [portable.FIND]
    portable.settle(device, cloud, lambda agent: "failed" in [told["outcome"] for told in cloud.reports])
    assert cloud.reports[-1]["reason"].startswith("no_bundle")


def test_the_script_is_the_agents_and_nobody_elses(script, tmp_path):
    assert config.check(policy(script))["esthesis_packages"] == "unsigned-by-script"
    for mode in (0o720, 0o702, 0o600):
        script.chmod(mode)
        if mode != 0o600 or not os.access(script, os.X_OK):
            with pytest.raises(MisuseError, match="esthesis_script"):
                config.check(policy(script))
    script.chmod(0o700)
    folder = stat.S_IMODE(tmp_path.stat().st_mode)
    tmp_path.chmod(0o777)
    with pytest.raises(MisuseError, match="folder"):
        config.check(policy(script))
    tmp_path.chmod(folder)
    (tmp_path / "link").symlink_to(script)
    for path in (tmp_path / "link", tmp_path / "none", tmp_path, "install.sh", ""):
        with pytest.raises(MisuseError, match="esthesis_script"):
            config.check(policy(path))
    if os.geteuid() == 0:
        os.chown(script, 65534, 65534)
        with pytest.raises(MisuseError, match="neither root's nor the agent's"):
            config.check(policy(script))


def test_a_system_is_not_made_by_a_script(script):
    with pytest.raises(MisuseError, match="esthesis_packages"):
        raspberry_pi.RaspberryPi(policy(script))


def staged(packages):
    packages.clean()
    packages.file(10)
    return run(packages.stage())


def run(task):
    while True:
        try:
            next(task)
        except StopIteration as end:
            return end.value


def test_the_script_finds_a_copy_of_what_runs_and_its_result_is_an_image(packages):
    folder = staged(packages)
    made = run(packages.image(folder))
    whole = appimage.build({"main.py": b"version = 1\n", "lib/a.py": b"x = 1\n"})
    assert (made.sha256, made.length) == (portable.digest(whole), len(whole))
    assert b"".join(made.pieces(7)) == whole
    with open(folder + "/main.py", "w") as file:
        file.write("version = 2\n")
    changed = run(packages.image(folder))
    assert changed.sha256 == portable.digest(appimage.build({"main.py": b"version = 2\n", "lib/a.py": b"x = 1\n"}))
    with open(packages._slots.folder("a") + "/main.py", "rb") as file:
        assert file.read() == b"version = 1\n"


def test_the_script_of_the_page_unpacks_an_archive(packages, script, tmp_path):
    page = Path(__file__).parents[2].joinpath("docs", "esthesis-devices.md").read_text()
    script.write_text("#!/bin/sh -e\n" + page.split("#!/bin/sh -e\n")[1].split("```")[0])
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "main.py").write_text("version = 3\n")
    folder, archive = staged(packages), packages.file(0)
    with tarfile.open(archive, "w") as file:
        file.add(tmp_path / "new", ".")
    done = subprocess.run(
        [script, "1.0.0", "3.0.0", "0" * 64, "1", archive], env={**os.environ, "TRUEBOOT_SLOT": folder}
    )
    made = run(packages.image(folder))
    assert (done.returncode, made.sha256) == (0, portable.digest(appimage.build({"main.py": b"version = 3\n"})))


def test_the_policy_shows_in_the_status(script, tmp_path, authority):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "root.json").write_text("{}")
    paths = {name: str(tmp_path / file) for name, file in (("ca_file", "ca.pem"), ("root_file", "root.json"))}
    for config_, weak in (
        (policy(script), "packages that nobody signed are installed by a script"),
        (portable.CONFIG, ""),
    ):
        given = {**config_, **paths, "state": str(tmp_path / "state"), "slots": str(tmp_path / "slots")}
        assert Agent(Linux(given)).status()["weak"] == weak


LEFT = (
    lambda folder: os.remove(folder + "/main.py"),
    lambda folder: os.symlink("/etc/hostname", folder + "/lib/b.py"),
    lambda folder: os.mkfifo(folder + "/pipe"),
    lambda folder: open(folder + "/a name", "w").close(),
    lambda folder: os.makedirs(folder + "/a" * 9) or open(folder + "/a" * 9 + "/b", "w").close(),
    lambda folder: [open(f"{folder}/f{n}", "w").close() for n in range(512)],
)


@pytest.mark.parametrize("leave", LEFT)
def test_what_no_image_may_hold_is_refused(packages, leave):
    folder = staged(packages)
    leave(folder)
    with pytest.raises(RefusedError, match="package_result"):
        run(packages.image(folder))


def test_what_does_not_fit_is_not_begun(packages):
    with pytest.raises(DeviceError, match="package_space"):
        packages.file(1 << 60)
    packages.clean()
    assert not os.path.exists(packages._folder)
