# SPDX-License-Identifier: MIT
"""A device with a TPM at the real server: attested where its maker is trusted, in the plain way where that is enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from server_client import Operator, ServerThread  # noqa: E402

from agent.runtime import Agent  # noqa: E402
from platform_adapters import linux_service  # noqa: E402
from platform_adapters.keystores import tpm_ek, tpm_nv  # noqa: E402
from platform_adapters.linux import Linux  # noqa: E402
from trueboot import provision  # noqa: E402
from trueboot.api import Api, Server  # noqa: E402
from trueboot.demo.swtpm import Swtpm  # noqa: E402
from trueboot.images import build  # noqa: E402
from trueboot.releases import Release  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def api(server):
    info = server.first
    made = Api(Server(info["https"], info["ca_file"], info["admin_token"], info))
    yield made
    made.close()


@pytest.fixture(scope="module")
def vouched(tmp_path_factory, maker, server):
    """A TPM whose maker the server trusts."""
    chip = Swtpm(tmp_path_factory.mktemp("vouched") / "chip", maker).start()
    folder = server.server._options.state / "ek-roots"
    folder.mkdir(exist_ok=True)
    (folder / "maker.pem").write_text(maker.roots())
    yield chip
    chip.stop()


class Board:
    """A Linux device whose agent runs in this process."""

    def __init__(self, folder, server, api, chip, name, version="1.0.0", security=0):
        provision.register(api, name)
        factory = Release("app", "sim", version, build({"main.py": b"pass"}), security=security)
        secret = {"product_secret": server.first["product_secret"], "keys": "tpm", "tpm": chip.tcti}
        self.file = provision.write(folder / name, server.first, name, "cpython", factory, secret)
        self.name, self.events = name, []
        self.boot()

    def boot(self):
        self.platform = Linux(str(self.file))
        self.platform.log = lambda event, fields: self.events.append((event, fields))
        self.agent = Agent(self.platform, healthy=lambda: True)

    def until(self, event, turns=1500):
        for _ in range(turns):
            if any(name == event for name, _ in self.events):
                return next(fields for name, fields in self.events if name == event)
            self.platform.clock.sleep_ms(min(self.agent.step(20), 10))
        raise AssertionError(f"no {event} in {self.events}")

    def off(self):
        self.platform.mqtt.close()
        self.platform.keys._link.close()


@pytest.fixture
def board(tmp_path, server, api):
    made = []

    def make(chip, name, **facts):
        made.append(Board(tmp_path, server, api, chip, name, **facts))
        return made[-1]

    yield make
    for one in made:
        one.off()


def policy(api, server, attestation):
    api.post(f"/api/v1/products/{server.first['product_key']}/policy", {"attestation": attestation})


def test_an_attested_life(board, vouched, api, server, capsys):
    """Enrolment, a lost file, a restored backup, a renewal: what the TPM is there for."""
    policy(api, server, "required")
    device = board(vouched, "attested", security=7)
    device.until("version.reported")
    names = [name for name, _ in device.events]
    assert names.index("identity.key_made") < names.index("identity.attested") < names.index("session.online")
    assert names.count("identity.csr_sent") == 1
    shown = Operator(server.first).device("attested")["key"]
    assert shown["attested"] and shown["tpm"]["manufacturer"]
    store = Path(device.platform.store.folder)
    secret = device.platform.store.load("secret")
    assert secret and secret not in (store / "secret").read_bytes()
    assert device.platform.keys.tls_road() == "signer"
    assert linux_service.main(["status", "--json", "--config", str(device.file)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["key"]
    assert told.startswith("in the TPM at swtpm:") and told.endswith("/state/keys/a.tpm")

    assert device.platform.floor.read() == 7
    (store / "cert.a").unlink()  # the copy in the TPM is used
    state = device.agent.update_state
    device.agent.save(update=dict(state, floor=3))  # as in a state folder from a backup
    device.off()
    device.events.clear()
    device.boot()
    device.until("session.online")
    assert device.until("floor.restored") == {"journal": 3, "floor": 7}
    assert device.agent.status()["floor"] == 7

    device.events.clear()
    device.agent.identity_event(("due",))
    device.agent.renew_at = 0
    assert device.until("identity.attested") == {"label": "b"}
    for _ in range(200):
        if device.agent.identity["phase"] == "enrolled":
            break
        device.platform.clock.sleep_ms(min(device.agent.step(20), 10))
    assert device.agent.label() == "b" and device.agent.identity["phase"] == "enrolled"
    assert device.platform.keys._link.run(tpm_nv.recall, "b") == device.platform.store.load("cert.b")
    assert Operator(server.first).device("attested")["key"]["attested"]

    device.off()
    assert linux_service.main(["forget-identity", "--yes", "--config", str(device.file)]) == 0
    assert not list(Path(device.platform.keys.backend.folder).iterdir()) and not (store / "secret").exists()
    assert device.platform.keys._link.run(tpm_nv.recall, "b") is None, "and the TPM has forgotten it, too"


def test_an_endorsement_key_of_the_other_kind(board, vouched, tmp_path, maker, api, server, monkeypatch):
    """RSA, of the low range: its use asks for the endorsement hierarchy's policy."""
    policy(api, server, "required")
    chip = Swtpm(tmp_path / "chip", maker).start()
    monkeypatch.setattr(tpm_ek, "KINDS", [kind for kind in tpm_ek.KINDS if kind.name == "EK-RSA2048"])
    try:
        board(chip, "rsa").until("session.online")
        assert Operator(server.first).device("rsa")["key"]["attested"]
    finally:
        chip.stop()


def test_a_tpm_without_a_makers_word_is_enough_where_the_product_says_so(board, chip, api, server):
    policy(api, server, "none")
    device = board(chip, "unvouched")
    device.until("session.online")
    assert device.until("identity.not_attested")["code"] == "tpm_unvouched"
    assert not Operator(server.first).device("unvouched")["key"]["attested"]


def test_a_tpm_without_a_makers_word_is_refused_where_it_is_required(board, chip, api, server):
    policy(api, server, "required")
    device = board(chip, "refused")
    told = device.until("error")
    assert told["code"] == "enrol_refused" and "attestation_required" in told["detail"]
    assert device.agent.identity["phase"] == "keyed"
    policy(api, server, "none")
    device.agent._tasks[0][1] = 0  # now, not after the pause
    device.until("session.online")
