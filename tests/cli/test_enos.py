# SPDX-License-Identifier: MIT
"""`trueboot enos` against the real server, and a Linux device that is provisioned by it; then against servers that lie."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commandline import Tool
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from agent.runtime import Agent
from agent.wire import appimage
from live_server import live_server
from platform_adapters.linux import Linux
from trueboot import enos, provision
from trueboot.releases import Release

ROOT = Path(__file__).resolve().parents[2]
AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with live_server(tmp_path_factory.mktemp("server") / "state") as first_line:
        yield first_line


@pytest.fixture
def tool(server, tmp_path):
    return Tool(tmp_path, TRUEBOOT_STATE=server["state"])


def secrets_of(server):
    return [server[name] for name in ("access_key", "secret_key", "admin_token")]


def csr_file(folder, name="board.csr", key=None, common_name="anything"):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    (folder / name).write_bytes(made.public_bytes(Encoding.PEM))
    return key


class Board:
    """A device folder as a bench leaves it before there is any identity: no secret, no key."""

    def __init__(self, server, folder, name):
        image = appimage.build({"main.py": b"print('hello')\n"})
        factory = Release("app", "sim", "1.0.0", image)
        self.file = provision.write(folder, server, name, "cpython", factory, {})
        self.state = folder / "state"

    def agent(self, *arguments, stdin=None):
        return subprocess.run(
            [sys.executable, "-c", AGENT, *arguments, "--config", str(self.file)],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"},
        )


def test_the_whole_road_of_a_board(server, tool, tmp_path):
    """The board makes a key and a request, the tool walks EnOS's REST with it, the board takes what came, and logs in."""
    board = Board(server, tmp_path / "board", "bench-1")
    made = board.agent("csr", "--subject", "C=SG,ST=Singapore,L=Singapore,O=DECADA,OU=DECADA CA")
    assert made.returncode == 0, made.stderr
    assert "DECADA CA" in x509.load_pem_x509_csr(made.stdout.encode()).subject.rfc4514_string()
    (tmp_path / "board.csr").write_text(made.stdout)

    road = ("enos", "provision", "bench-1", "--csr", "board.csr", "-o", "out", "--license", "L-7", "--days", "90")
    facts = tool.ok(*road)
    again = tool.ok(*road)
    assert again == facts and facts["device"] == server["product_key"] + "/bench-1"
    document = json.loads((tmp_path / "out" / "device.json").read_text())
    assert (tmp_path / "out" / "device.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "device.pem").read_text() == document["certificate"]
    for secret in secrets_of(server):
        assert secret not in json.dumps(document) + json.dumps(facts)

    stored = board.agent("certificate", str(tmp_path / "out" / "device.json"))
    assert (stored.returncode, stored.stdout) == (0, "certificate stored; the identity is at probation\n"), (
        stored.stderr
    )
    told = json.loads(board.agent("status", "--json").stdout)
    assert told["journal"]["identity"]["phase"] == "probation"

    platform = Linux(str(board.file))
    platform.log = lambda event, fields: None
    agent = Agent(platform, healthy=lambda: True)
    for _ in range(2000):
        platform.clock.sleep_ms(min(agent.step(20), 20))
        if agent.status()["identity"] == "enrolled":
            break
    assert agent.status()["identity"] == "enrolled" and agent.status()["version"] == "1.0.0"
    platform.mqtt.close()
    shown = tool.ok("enos", "device", "get", "bench-1")
    assert (shown["license"], shown["secretIsTold"]) == ("L-7", False)
    # The secret is not told any more: the document that was made first holds it still.
    assert tool.ok(*road) == facts
    (tmp_path / "out" / "device.json").unlink()
    tool.refused("enos_no_secret", *road)


def test_a_board_takes_only_what_is_its_own(server, tool, tmp_path):
    board = Board(server, tmp_path / "board", "bench-2")
    bad = board.agent("csr", "--subject", "C=Singapore")
    assert bad.returncode == 1 and "csr_subject" in bad.stderr
    csr_file(tmp_path)
    tool.ok("enos", "provision", "bench-3", "--csr", "board.csr", "-o", "out")
    text = (tmp_path / "out" / "device.json").read_text()
    refused = board.agent("certificate", "-", stdin=text.replace("bench-3", "bench-2"))
    assert refused.returncode == 1 and "certificate: it is not for this device's key" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert [path.name for path in (board.state / "keys").iterdir()] == ["a.pem"]


def test_no_agent_may_run_meanwhile(server, tmp_path):
    from platform_adapters import linux_service

    board = Board(server, tmp_path / "board", "bench-4")
    lock = linux_service.take(str(board.state))
    try:
        assert board.agent("csr").returncode == 75
    finally:
        os.close(lock)


def test_the_verbs_one_by_one(server, tool, tmp_path):
    assert tool.ok("enos", "login")["token"] > 7000
    tool.refused("not_found", "enos", "device", "get", "verbs-1")
    made = tool.ok("enos", "device", "create", "verbs-1", "--name", "hall", "--timezone", "+08:00")
    assert "deviceSecret" not in made
    tool.refused("enos_refused", "enos", "device", "create", "verbs-1")
    hidden = tool.ok("enos", "device", "get", "verbs-1")
    assert hidden["deviceName"] and hidden["secretIsTold"] and "deviceSecret" not in hidden
    assert tool.ok("enos", "device", "get", "verbs-1", "--secret")["deviceSecret"]
    csr_file(tmp_path)
    first = tool.ok("enos", "certificate", "apply", "verbs-1", "--csr", "board.csr", "-o", "c.pem")
    second = tool.ok("enos", "certificate", "renew", "verbs-1", "--sn", first["certSN"])
    third = tool.ok("enos", "certificate", "renew", "verbs-1", "--sn", second["certSN"], "--csr", "board.csr")
    x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes())
    done = tool.run("enos", "certificate", "revoke", "verbs-1", "--sn", third["certSN"], "--reason", "superseded")
    assert done.returncode == 0, done.stderr
    listed = tool.ok("enos", "certificate", "ls", "verbs-1")
    assert [one["certSN"] for one in listed] == [third["certSN"], second["certSN"], first["certSN"]]
    assert [one["certStatus"] for one in listed] == [1, 0, 1]
    table = tool.run("enos", "certificate", "ls", "verbs-1").stdout
    assert table.split()[:4] == ["SN", "STATE", "UNTIL", "SUBJECT"] and "revoked" in table
    rsa_key = csr_file(tmp_path, "rsa.csr", rsa.generate_private_key(65537, 2048))
    tool.ok("enos", "device", "create", "verbs-2")
    tool.ok("enos", "certificate", "apply", "verbs-2", "--csr", "rsa.csr", "-o", "r.pem")
    assert x509.load_pem_x509_certificate((tmp_path / "r.pem").read_bytes()).public_key() == rsa_key.public_key()


def test_a_csr_comes_by_standard_input_too(tool, tmp_path):
    csr_file(tmp_path)
    text = (tmp_path / "board.csr").read_text()
    done = tool.run("enos", "provision", "stdin-1", "--csr", "-", "-o", "out", stdin=text)
    assert done.returncode == 0 and (tmp_path / "out" / "device.json").is_file(), done.stderr
    tool.refused("csr_unusable", "enos", "provision", "stdin-2", "--csr", "-", "-o", "o2", exit_code=1)
    assert not (tmp_path / "o2").exists()


def test_what_people_get_wrong(server, tool, tmp_path):
    csr_file(tmp_path)
    tool.refused("file_unusable", "enos", "provision", "w-1", "--csr", "none.csr", "-o", "out")
    (tmp_path / "bad.csr").write_text("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
    tool.refused("csr_unusable", "enos", "provision", "w-1", "--csr", "bad.csr", "-o", "out")
    tool.refused("usage", "enos", "provision", "w/1/x", "--csr", "board.csr", "-o", "out")
    tool.refused("usage", "enos", "device", "get", "with space")
    tool.refused("enos_refused", "enos", "provision", "none/w-1", "--csr", "board.csr", "-o", "out")
    tool.refused("usage", "enos", "certificate", "renew", "w-1", "--sn", "one")
    tool.refused("usage", "enos", "certificate", "revoke", "w-1", "--sn", "1", "--reason", "because")
    tool.refused("not_found", "enos", "certificate", "ls", "w-none")
    (tmp_path / "file").write_text("")
    tool.refused("file_unusable", "enos", "provision", "w-1", "--csr", "board.csr", "-o", "file/x")


def test_who_we_are_comes_from_a_file_or_the_environment(server, tmp_path):
    tool = Tool(tmp_path)
    tool.refused("enos_account", "enos", "login", exit_code=78)
    values = {
        "url": server["https"],
        **{name: server[name] for name in ("org_id", "access_key", "secret_key", "ca_file")},
    }
    names = {"url": "URL", "org_id": "ORG", "access_key": "ACCESS_KEY", "secret_key": "SECRET_KEY", "ca_file": "CA"}
    environment = {f"TRUEBOOT_ENOS_{names[name]}": value for name, value in values.items()}
    assert tool.ok("enos", "login", **environment)["url"] == server["https"]
    file = tmp_path / "account.json"
    file.write_text(json.dumps(values))
    file.chmod(0o644)
    tool.refused("file_unusable", "enos", "login", "--account", "account.json")
    file.chmod(0o600)
    assert tool.ok("enos", "login", "--account", "account.json")["organisation"] == server["org_id"]
    said = tool.refused(
        "not_permitted", "enos", "login", exit_code=77, **environment | {"TRUEBOOT_ENOS_SECRET_KEY": "x"}
    )
    assert not any(secret in said for secret in secrets_of(server))
    tool.refused("not_permitted", "enos", "login", **environment | {"TRUEBOOT_ENOS_ACCESS_KEY": "x"})
    tool.refused("enos_refused", "enos", "device", "get", "p/x", **environment | {"TRUEBOOT_ENOS_ORG": "o2"})
    tool.refused("usage", "enos", "login", **environment | {"TRUEBOOT_ENOS_URL": "http://127.0.0.1:1"})
    tool.refused("enos_account", "enos", "login", **{k: v for k, v in environment.items() if "ORG" not in k})
    tool.refused("server_unreachable", "enos", "login", **environment | {"TRUEBOOT_ENOS_URL": "https://127.0.0.1:1"})
    untrusted = {**environment, "TRUEBOOT_ENOS_CA": ""}  # then what the machine trusts
    tool.refused("server_untrusted", "enos", "login", **untrusted, exit_code=69)
    tool.refused("usage", "enos", "device", "get", "x", **environment)  # no product is known


# A gateway that is not as it should be


@pytest.fixture
def gateway(server, tmp_path):
    """HTTPS on loopback with the test server's own certificate; `answers` are given in turn: a body, or a text: the address that
    it sends its caller to."""
    asked, answers = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            body = answers.pop(0) if answers else b"{}"
            elsewhere = body if isinstance(body, str) else ""
            body = b"" if elsewhere else body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(302 if elsewhere else 200)
            if elsewhere:
                self.send_header("Location", elsewhere)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *arguments):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    private = Path(server["state"]) / "private"
    context.load_cert_chain(private / "server.pem", private / "server-key.pem")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{listening.server_port}"
    opened = enos.Enos(enos.Account(url, "o1", "ak1", "sk1", server["ca_file"]))
    yield opened, asked, answers
    listening.shutdown()
    listening.server_close()
    thread.join()


TOKEN = {"status": 0, "msg": "SUCCESS", "data": {"accessToken": "t1", "expire": 7200}}
DEVICE = {"productKey": "pk", "deviceKey": "dk"}


def code(function, *arguments):
    with pytest.raises(enos.Problem) as caught:
        function(*arguments)
    return caught.value.code


def test_a_token_that_has_expired_is_replaced_once(gateway):
    opened, asked, answers = gateway
    expired = {"code": 1203, "msg": "expired", "data": None}
    answers += [TOKEN, expired, TOKEN, {"code": 0, "data": {"deviceKey": "dk"}}]
    assert opened.get_device(DEVICE) == {"deviceKey": "dk"}
    answers += [expired, TOKEN, expired]
    assert code(opened.get_device, DEVICE) == "server_busy"
    assert [path.partition("?")[0].rpartition("/")[2] for path in asked].count("get") == 3


def test_a_proof_that_was_seen_before_is_made_anew_and_not_for_ever(gateway):
    opened, asked, answers = gateway
    seen = {"status": 1001, "msg": "repeated"}
    answers += [seen, TOKEN]
    assert opened.token() == ("t1", 7200)
    answers += [seen] * 5
    assert code(opened.token) == "enos_refused" and len(asked) == 2 + enos.TOKEN_TRIES


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"x" * (enos.MAX_ANSWER_BYTES + 1), {"status": 0}, {"status": 0, "data": {}}]
)
def test_an_answer_that_is_none_is_said_to_be_none(gateway, answer):
    opened, _, answers = gateway
    answers.append(answer)
    assert code(opened.token) == "enos_answer"


def test_no_proof_goes_where_a_gateway_sends_us(gateway):
    opened, asked, answers = gateway
    answers += ["/elsewhere", TOKEN]
    assert code(opened.token) == "enos_answer" and len(asked) == 1


def test_a_certificate_for_another_key_is_not_taken(gateway, tmp_path):
    from trueboot import enos_board

    opened, _, answers = gateway
    csr_file(tmp_path)
    csr = enos_board.read_csr(str(tmp_path / "board.csr"))
    other = (Path(opened.account.ca_file)).read_text()
    for data in ({"cert": other}, {"cert": "x"}, {}, None, {"cert": 5}, {"cert": other, "caCert": "x"}):
        answers += ([TOKEN] if not opened._token else []) + [{"code": 0, "data": data}]
        assert code(enos_board.apply, opened, DEVICE, csr) == "enos_answer"


def test_a_device_that_somebody_else_created_meanwhile_is_taken_as_it_is(gateway, tmp_path):
    """Also when our own answer was lost."""
    from trueboot import enos_board

    opened, asked, answers = gateway
    csr_file(tmp_path)
    csr = enos_board.read_csr(str(tmp_path / "board.csr"))
    found = {"code": 0, "data": {**DEVICE, "assetId": "a1", "deviceSecret": "s1"}}
    answers += [
        TOKEN,
        {"code": 11404, "msg": "none"},
        {"code": 11702, "msg": "exists"},
        found,
        {"code": 99400, "msg": "x"},
    ]
    assert code(enos_board.provision, opened, DEVICE, csr, tmp_path / "out", {}, 0) == "enos_refused"
    assert len(asked) == 5 and not (tmp_path / "out").exists()


def test_the_vector_of_the_protocol():
    query = {"action": "apply", "orgId": "o1", "productKey": "pk1", "deviceKey": "dk1"}
    made = enos.signature("tok1", query, b'{"csr":"X","validDay":365}', "1572574909697", "sk1")
    assert made == "2a962f4858525e5dc3eed712004a4a12d43f098b26a8027e045609a0e8b3335e"


class Cut(BaseException):
    """The power of the bench's machine."""


def test_a_road_that_was_cut_anywhere_is_walked_again(server, tmp_path, monkeypatch):
    """Before and after every request and every file: then the same command ends as if nothing had been."""
    from trueboot import enos_board

    names = ("org_id", "access_key", "secret_key", "ca_file")
    account = enos.Account(server["https"], **{name: server[name] for name in names})
    acts = [0, 0, ""]  # done, to be cut at, and how
    look = enos.Enos(account)

    def watched(act):
        def whole(*arguments, **named):
            acts[0] += 1
            if acts[0] == acts[1] and acts[2] == "before":
                raise Cut
            result = act(*arguments, **named)
            if acts[0] == acts[1]:
                raise Cut
            return result

        return whole

    monkeypatch.setattr(enos.Enos, "_send", watched(enos.Enos._send))
    monkeypatch.setattr(enos_board, "write_new", watched(enos_board.write_new))

    def walk(name, number, how):
        acts[:] = [0, number, how]
        device = {"productKey": server["product_key"], "deviceKey": name}
        csr = enos_board.read_csr(str(tmp_path / f"{name}.csr"))
        about = {"timezone": "+00:00", "deviceName": {"defaultValue": name}}
        return enos_board.provision(enos.Enos(account), device, csr, tmp_path / name, about, 0)

    csr_file(tmp_path, "cut-0.csr")
    walk("cut-0", 0, "")
    count = acts[0]
    assert count == 6  # token, get, create, apply; two files
    for number in range(1, count + 1):
        for how in ("before", "after"):
            name = f"cut-{number}-{how}"
            csr_file(tmp_path, name + ".csr")
            with pytest.raises(Cut):
                walk(name, number, how)
            document = tmp_path / name / "device.json"
            assert document.exists() == ((number, how) == (count, "after"))
            made = walk(name, 0, "")
            acts[1] = 0
            assert json.loads(document.read_text()) == made and made["device_secret"]
            listed = look.certificates("list", {"productKey": made["product_key"], "deviceKey": name})
            assert [one["certSN"] for one in listed] == [made["cert_sn"]]
