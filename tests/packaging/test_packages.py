# SPDX-License-Identifier: MIT
"""What is installed is what is listed, and nothing else."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {"agent": "agent", "platform_adapters": "platform_adapters", "trueboot": "tools/trueboot"}
ROOTS |= {"trueboot_server": "tools/trueboot_server"}


def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_listed_packages_are_those_in_the_tree():
    listed = setup_cfg()["options"]["packages"].split()
    found = []
    for name, folder in ROOTS.items():
        for path in sorted((ROOT / folder).rglob("__init__.py")):
            found.append(".".join([name, *path.parent.relative_to(ROOT / folder).parts]))
    assert sorted(listed) == sorted(found)


def test_one_version():
    import agent
    import trueboot

    assert agent.__version__ == trueboot.__version__


def test_base_installation_is_what_a_linux_device_needs():
    names = [line.split()[0] for line in setup_cfg()["options"]["install_requires"].strip().splitlines()]
    assert names == ["cryptography", "paho-mqtt", "requests"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(copy),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.glob("trueboot-*.whl"))


def test_wheel_holds_our_packages_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOTS)
    for name in ("codes.txt", "py.typed", "demo/apps/main.py", "demo/board/example/main.py"):
        assert f"trueboot/{name}" in names
    for name in (
        "flash/boards/ESP32_GENERIC/board.json",
        "flash/boards/ESP32_GENERIC/partitions.csv",
        "flash/simulated/stand_in/machine.py",
    ):
        assert f"trueboot/{name}" in names
    for name in ("demo/board/boot.py", "demo/board/main.py", "demo/board/wifi.py"):
        assert f"trueboot/{name}" in names


def test_wheel_works_without_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import sys, trueboot, agent; assert trueboot.__file__.startswith(sys.argv[1]), trueboot.__file__; import trueboot.cli as c; "
    code += "sys.argv[1:] = ['--version']; c.main()"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"trueboot {__import__('trueboot').__version__}\n"


def test_a_fresh_environment_runs_a_service(wheel, tmp_path):
    """As pipx does it: a venv of its own, the wheel, its commands.  What the wheel needs comes from this environment."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    venv, image, app = tmp_path / "venv", tmp_path / "image", tmp_path / "app"
    clean = {"PATH": os.environ["PATH"], "PYTHONNOUSERSITE": "1"}

    def run(*command, **more):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, env=clean | more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "--without-pip", venv)
    run(sys.executable, "-m", "pip", "--python", venv, "install", "--quiet", "--no-deps", "--no-index", wheel)
    packages = next(venv.glob("lib/python3*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    code = "import agent; print(agent.__file__)"
    assert run(venv / "bin/python", "-P", "-c", code).startswith(str(venv))

    image.mkdir()
    app.mkdir()
    (app / "slots/a").mkdir(parents=True)
    (app / "slots/a/main.py").write_text("print('the app runs')\n")
    for name in ("ca.pem", "root.json"):
        (app / name).write_text("trust\n")
    (app / "agent.toml").write_text(
        'product_key = "p"\ndevice_key = "d"\nhardware = "x"\nhttps = "https://h:1"\nmqtt = "mqtts://h:1"\n'
    )
    agent = venv / "bin/trueboot-agent"
    run(agent, "install-service", "--root", image, "--config", app / "agent.toml")
    folder = image / "etc/systemd/system"
    analyze = {"SYSTEMD_UNIT_PATH": f"{folder}:"}
    assert f"ExecStart={agent} run" in (folder / "trueboot-agent.service").read_text()
    run("systemd-analyze", "verify", "trueboot-agent.service", **analyze)
    bound = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=19"]  # tenths: below 2.0
    run(*bound, "trueboot-agent.service", **analyze)
    # What the unit starts, from the image's own files.
    toml = image / "etc/trueboot/agent.toml"
    toml.write_text(toml.read_text().replace('"/var', f'"{image}/var'))
    assert run(agent, "run", "--config", toml) == "the app runs\n"
    told = json.loads(run(agent, "status", "--json", "--config", toml))
    assert told["slot"] == "a" and told["running"] is False
    run(agent, "remove-service", "--purge", "--root", image)
    assert not (image / "etc/trueboot").exists()
