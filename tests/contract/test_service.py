# SPDX-License-Identifier: MIT
"""`trueboot-agent install-service` into folders that stand for /, with the real systemctl, systemd-sysusers and systemd-analyze.

No systemd runs here as process 1: what is started live is not shown, what is written is.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from platform_adapters import linux_service, linux_setup, linux_unit
from platform_adapters.linux_plan import Plan
from trueboot import provision
from trueboot.images import build
from trueboot.releases import Release

if shutil.which("systemd-analyze") is None:
    pytest.skip("systemd-analyze is not installed", allow_module_level=True)

ROOT = Path(__file__).parents[2]
UNIT = "etc/systemd/system/trueboot-agent.service"
INFO = {
    "product_key": "p1",
    "https": "https://127.0.0.1:1",
    "mqtt": "mqtts://127.0.0.1:1",
    "mqtt_activate": "mqtts://127.0.0.1:1",
}
SECRET = "correct-horse-battery"


@pytest.fixture
def device(tmp_path):
    """A folder as `trueboot device make` writes it."""
    (tmp_path / "ca").write_text("the CA\n")
    (tmp_path / "root").write_text("the root\n")
    info = INFO | {"ca_file": tmp_path / "ca", "root_file": tmp_path / "root"}
    factory = Release("app", "sim", "1.0.0", build({"main.py": b"print('a')\n", "lib/x.py": b""}))
    return provision.write(tmp_path / "device", info, "d1", "cpython", factory, {"device_secret": SECRET}).parent


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image").mkdir()
    return tmp_path / "image"


def agent(capsys, *arguments):
    """(exit code, what it said)."""
    try:
        code = linux_service.main([str(one) for one in arguments])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err and "Traceback" not in said.err
    return code, said.out + said.err


def install(capsys, image, *more):
    return agent(capsys, "install-service", "--root", image, *more)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            stat.S_IMODE(path.lstat().st_mode),
            path.lstat().st_uid,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def analyze(image, *arguments):
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments, linux_unit.NAME],
        env={"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{image}/etc/systemd/system:"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


# What systemd-analyze finds open in the unit, and has to: the network, and what only an image could close.
OPEN = {"RootDirectory=/RootImage=", "PrivateMounts=", "PrivateNetwork=", "DeviceAllow=", "IPAddressDeny="}
OPEN |= {f"RestrictAddressFamilies=~{family}" for family in ("AF_NETLINK", "AF_UNIX", "AF_(INET|INET6)")}
MORE = {
    "app": set(),
    "tpm": {"SupplementaryGroups=", "PrivateDevices=", "MemoryDenyWriteExecute="},
    "tryboot": {"User=/DynamicUser=", "PrivateDevices=", "ProcSubset=", "PrivateUsers="}
    | {"CapabilityBoundingSet=~CAP_SYS_BOOT"},
}


def holds(image, kind):
    """The unit is clean, below its bound, and open nowhere but where it says; each kind and bound is in the docs."""
    assert analyze(image, "verify") == (0, "")
    _, said = analyze(image, "security", "--offline=true")
    level = float(re.search(r"Overall exposure level for .*: ([\d.]+) ", said).group(1))
    bound = linux_unit.EXPOSURE_MAX[kind]
    assert level <= bound and f" | {bound} | " in (ROOT / "docs/service.md").read_text("utf-8")
    found = {line.split()[1] for line in said.splitlines() if line.startswith("\N{BALLOT X}")}
    assert found <= OPEN | MORE[kind]


def test_a_service_comes_is_upgraded_and_goes(capsys, device, image):
    code, said = install(capsys, image, "--config", device / "agent.toml", "--app-slots")
    assert code == 0, said
    assert (image / "etc/systemd/system/multi-user.target.wants/trueboot-agent.service").is_symlink()
    holds(image, "app")
    unit = (image / UNIT).read_text()
    command = Path(sys.executable).parent / "trueboot-agent"
    assert f"ExecStart={command} run --config /etc/trueboot/agent.toml\n" in unit and os.access(command, os.X_OK)
    toml = image / "etc/trueboot/agent.toml"
    assert f'device_secret = "{SECRET}"' in toml.read_text() and 'state = "/var/lib/trueboot/state"' in toml.read_text()
    slots = image / "var/lib/trueboot/slots"
    assert (slots / "a/lib/x.py").exists() and (slots / "a/.index").exists() and (slots / "b").is_dir()
    passwd = next(line for line in (image / "etc/passwd").read_text().splitlines() if line.startswith("trueboot:"))
    if os.geteuid() == 0:
        number = int(passwd.split(":")[2])
        for path in (slots, slots / "a/main.py", image / "var/lib/trueboot/state"):
            assert path.stat().st_uid == number
        assert (toml.stat().st_uid, toml.stat().st_gid) == (0, int(passwd.split(":")[3]))
    assert stat.S_IMODE(toml.stat().st_mode) == 0o640, "it holds a secret"
    assert stat.S_IMODE((image / "var/lib/trueboot").stat().st_mode) == 0o700

    # What the device has learnt meanwhile, and what its owner wrote beside it, outlives an upgrade.
    (slots / "b/main.py").write_text("print('b')\n")
    (image / "var/lib/trueboot/state/journal").write_text("kept")
    (image / (UNIT + ".d")).mkdir()
    (image / (UNIT + ".d") / "override.conf").write_text("[Service]\nNice=5\n")
    (image / UNIT).write_text("an old unit\n")
    before = files(image)
    code, said = install(capsys, image)
    assert code == 0 and "keep   /etc/trueboot/agent.toml" in said, said
    after = files(image)
    assert after.pop(UNIT)[0].decode() == unit and before.pop(UNIT)
    assert after == before
    assert install(capsys, image, "--config", device / "agent.toml")[0] == 0, "the same configuration is no conflict"

    code, said = agent(capsys, "remove-service", "--root", image)
    assert code == 0 and "keep   /var/lib/trueboot" in said
    left = files(image)
    assert UNIT not in left and UNIT + ".d/override.conf" in left
    assert not (image / "etc/systemd/system/multi-user.target.wants/trueboot-agent.service").is_symlink()
    assert "var/lib/trueboot/state/journal" in left and "etc/trueboot/agent.toml" in left
    assert install(capsys, image)[0] == 0, "and it comes back as it was"
    assert files(image).keys() >= {"var/lib/trueboot/state/journal", UNIT}
    assert agent(capsys, "remove-service", "--purge", "--root", image)[0] == 0
    assert not (image / "etc/trueboot").exists() and not (image / "var/lib/trueboot").exists()
    if os.geteuid() == 0:
        assert "trueboot:" not in (image / "etc/passwd").read_text()
    assert agent(capsys, "remove-service", "--root", image)[1] == "no service was installed\n"


def test_a_key_in_a_tpm(capsys, device, image):
    with (device / "agent.toml").open("a") as file:
        file.write('keys = "tpm"\n')
    code, said = install(capsys, image, "--config", device / "agent.toml", "--tpm")
    assert code == 0, said
    assert "DeviceAllow=/dev/tpmrm0 rw" in (image / (UNIT + ".d/20-tpm.conf")).read_text()
    assert re.search(r"^tss:.*trueboot", (image / "etc/group").read_text(), re.M)
    holds(image, "tpm")
    toml = image / "etc/trueboot/agent.toml"
    toml.write_text(toml.read_text().replace('keys = "tpm"\n', ""))
    assert install(capsys, image)[0] == 0
    assert not (image / (UNIT + ".d/20-tpm.conf")).exists(), "no more than is needed"


def test_slots_that_are_systems(capsys, device, image):
    (image / "data").mkdir()
    (image / "data/agent.toml").write_text((device / "agent.toml").read_text() + "[raspberry_pi]\n")
    (image / "opt").mkdir()
    (image / "opt/app.py").write_text("")
    code, said = install(capsys, image, "--config", "/data/agent.toml", "--tryboot", "--app", "/opt/app.py")
    assert code == 0, said
    dropin = (image / (UNIT + ".d/10-tryboot.conf")).read_text()
    assert "/opt/app.py\n" in dropin and "Environment=TRUEBOOT_CONFIG=/data/agent.toml" in dropin
    assert "ReadWritePaths=/boot/a /boot/autoboot /boot/b /data/slots /data/state -/run\n" in dropin
    assert not (image / "etc/trueboot").exists(), "configuration and state lie on the data partition"
    holds(image, "tryboot")
    assert agent(capsys, "remove-service", "--root", image)[0] == 0
    assert [path for path in files(image) if path.startswith("etc/systemd")] == []


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda image: (image / "etc/systemd/system/multi-user.target.wants").write_text(""), "systemctl"),
        (lambda image: (image / "var").write_text("a file is in the way"), "/var"),
        (lambda image: (image / "etc/sysusers.d").write_text(""), "/etc/sysusers.d"),
        (lambda image: (image / UNIT).mkdir(), UNIT),
    ],
)
def test_a_failure_leaves_nothing_behind(capsys, device, image, break_it, words):
    (image / "etc/systemd/system").mkdir(parents=True)
    break_it(image)
    before = files(image)
    code, said = install(capsys, image, "--config", device / "agent.toml")
    assert code == 69 and words in said and len(said.splitlines()) == 1, said
    # The user that systemd-sysusers made stays: it owns nothing, and the next try finds it.
    after = {path: what for path, what in files(image).items() if Path(path).name.rstrip("-") not in USER_FILES}
    assert after == before
    assert not any(path.is_dir() for path in (image / "etc/trueboot", image / "var/lib/trueboot"))


USER_FILES = ("passwd", "group", "shadow", "gshadow", ".pwd.lock")


def test_what_is_to_be_done_after_a_failure_comes_last(tmp_path):
    """systemd has to read its units again once the old ones are back, not before."""
    plan = Plan(str(tmp_path))
    plan.on_failure(["sh", "-c", f"ls {tmp_path} > {tmp_path}/seen"])
    plan.write("/unit", "x", 0o644)
    plan.command(["true"], ["sh", "-c", f"touch {tmp_path}/undone"])
    plan.command(["sh", "-c", "echo no such unit >&2; exit 4"])
    with pytest.raises(linux_service.Stop, match="no such unit; nothing was changed"):
        plan.carry_out()
    assert (tmp_path / "seen").read_text().split() == ["seen", "undone"], "the unit was gone by then"


def test_a_dry_run_writes_nothing(capsys, device, image):
    code, said = install(capsys, image, "--config", device / "agent.toml", "--dry-run")
    assert code == 0 and f"write  /{UNIT}" in said and "run    systemd-sysusers" in said and "dry run" in said
    assert files(image) == {}


def test_what_is_not_there_is_said_in_one_line(capsys, device, image, monkeypatch):
    def refused(*arguments):
        code, said = agent(capsys, *arguments)
        assert len(said.splitlines()) == 1 and files(image) == {}, said
        return code, said

    config = device / "agent.toml"
    assert refused("install-service", "--root", image)[0] == 2
    assert refused("install-service", "--root", image / "none", "--config", config)[0] == 2
    assert refused("install-service", "--root", image, "--config", config, "--tpm")[0] == 2
    assert refused("install-service", "--root", image, "--config", config, "--tryboot")[0] == 2
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for verb in ("install-service", "remove-service"):
        code, said = refused(verb, *(["--config", config] if verb == "install-service" else []))
        assert code == 77 and "sudo" in said
    monkeypatch.undo()
    if os.geteuid() == 0 and not os.path.isdir(linux_setup.RUNS):
        code, said = refused("install-service", "--config", config)
        assert code == 69 and "systemd does not run here" in said
    config.write_text(config.read_text() + "colour = 3\n")
    code, said = refused("install-service", "--root", image, "--config", config)
    assert code == 78 and "colour" in said
    shutil.rmtree(device / "slots/a")
    config.write_text(config.read_text().replace("colour = 3\n", ""))
    code, said = refused("install-service", "--root", image, "--config", config)
    assert code == 78 and "main.py" in said


def test_another_configuration_is_not_written_over(capsys, device, image):
    assert install(capsys, image, "--config", device / "agent.toml")[0] == 0
    before = files(image)
    text = (device / "agent.toml").read_text()
    (device / "agent.toml").write_text(text.replace('"d1"', '"d2"'))
    code, said = install(capsys, image, "--config", device / "agent.toml")
    assert code == 78 and "is kept" in said and files(image) == before


def test_an_installation_that_a_service_cannot_see(tmp_path, monkeypatch, capsys, device):
    """The unit hides homes; a user's own venv would be found nowhere."""
    private = tmp_path / "venv/bin/python"
    private.parent.mkdir(parents=True)
    private.write_text("")
    command = private.parent / "trueboot-agent"
    monkeypatch.setattr(sys, "executable", str(private))
    code, said = agent(capsys, "install-service", "--dry-run", "--config", device / "agent.toml")
    assert code == 69 and "install the package" in said
    command.touch(0o755)
    code, said = agent(capsys, "install-service", "--dry-run", "--config", device / "agent.toml")
    assert code == 78 and "pipx install --global" in said
    monkeypatch.setattr(linux_setup, "PRIVATE", ())
    tmp_path.chmod(0o700)
    code, said = agent(capsys, "install-service", "--dry-run", "--config", device / "agent.toml")
    assert code == 78 and "may not enter" in said


def test_words_for_systemd_are_quoted():
    assert (
        linux_unit.quoted(["/opt/my venv/bin/x", "50%", 'a"b', "$HOME"]) == '"/opt/my venv/bin/x" 50%% "a\\"b" "$$HOME"'
    )
