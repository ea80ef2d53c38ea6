# SPDX-License-Identifier: MIT
"""What a device runs, by proof: on trial, after a fallback, below the floor, an image that nobody signed; and how jobs tell."""

import hashlib
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from server_client import Operator, ServerThread

IMAGE = b"an image of 1.1.0"
FACTORY = b"an image of 1.0.0"
PATH = "app/sim/1.1.0/app.img"
OLD_PATH = "app/sim/1.0.0/app.img"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    operator = Operator(running.first)
    operator.publish(PATH, IMAGE, security=3)
    operator.publish(OLD_PATH, FACTORY, security=0)
    yield running
    running.stop()


@pytest.fixture
def offered(operator, device):
    """An enrolled device that ran 1.0.0 and was offered 1.1.0: (session, push, job)."""
    session = device.ready()
    assert tell(session, device, "running", "1.0.0", FACTORY) == 200
    job = operator.post("/api/v1/jobs", {"target": PATH, "devices": [device.device_key]})
    push = session.get(device.sys + "ota/device/upgrade")
    yield session, push, job
    session.close()
    operator.post(f"/api/v1/jobs/{job['id']}/cancel", {})


def tell(session, device, outcome, version, image, boot=1, **more):
    """Inform of what runs, with its report; the code of the answer."""
    digest = image if isinstance(image, str) else sha256(image)
    report = device.report(outcome=outcome, version=version, image=digest, boot=boot, **more)
    return session.request(device.sys + "ota/device/inform", {"version": version, "report": report})["code"]


def on_trial(session, device, push, **changed):
    """Progress 90 with the report of a trial; why it was refused, or ""."""
    report = device.proof(push, IMAGE, "1.1.0", **{"outcome": "trial", "boot": 2, **changed})
    params = {"step": "90", "desc": "on trial", "job": push["params"]["job"], "report": report}
    return session.request(device.sys + "ota/device/progress", params)["message"].removeprefix("report rejected: ")


def updated(session, device, push, **changed):
    params = {"version": "1.1.0", "report": device.proof(push, IMAGE, "1.1.0", **changed)}
    assert session.request(device.sys + "ota/device/inform", params)["code"] == 200


def attempt(operator, job):
    return operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]


def running(operator, device):
    return operator.device(device.device_key)["running"]


def events(operator, device, name):
    return [e for e in operator.events() if e["event"] == name and e.get("device_key") == device.device_key]


def test_a_trial_marks_the_attempt_and_settles_nothing(operator, device, offered):
    session, push, job = offered
    assert on_trial(session, device, push) == ""
    found = attempt(operator, job)
    assert (found["state"], found["proven"], found["settled"], found["runs_it"]) == ("on_trial", False, False, False)
    assert found["running"]["version"] == "1.1.0" and found["running"]["on_trial"]
    shown = operator.device(device.device_key)
    assert (shown["proven_version"], shown["claimed_version"]) == ("1.0.0", "1.0.0")
    assert shown["image"] == sha256(FACTORY) and shown["running"]["image"] == sha256(IMAGE)
    told = operator.wait_for("attempt.on_trial", device_key=device.device_key)
    assert (told["version"], told["slot"]) == ("1.1.0", "b")
    assert operator.get(f"/api/v1/jobs/{job['id']}")["state"] == "running"
    assert not events(operator, device, "attempt.updated") and not events(operator, device, "device.fell_back")
    # told again, word for word: nothing new; then it is confirmed
    session.request(device.sys + "ota/device/progress", {"step": "90", "job": push["params"]["job"]})
    assert attempt(operator, job)["state"] == "on_trial"
    updated(session, device, push, boot=2)
    found = attempt(operator, job)
    assert (found["state"], found["proven"], found["runs_it"], found["now"]) == ("updated", True, True, None)
    assert operator.get(f"/api/v1/jobs/{job['id']}")["counts"] == {
        "devices": 1, "proven": 1, "claimed": 0, "failed": 0, "cancelled": 0, "waiting": 0, "running": 1,
    }  # fmt: skip


LIES = {
    "a guessed nonce": ({"nonce": "guessed"}, "the nonce is not this job's"),
    "no nonce": ({"nonce": None}, "the nonce is not this job's"),
    "another image": ({"image": "1" * 64}, "the running image is not the release's"),
    "an image that cannot be read": ({"image": "unreadable"}, "the running image is not the release's"),
    "another version": ({"version": "1.2.0"}, "the running version is not the release's"),
    "another target": ({"target_version": "1.2.0"}, "the target version is not this job's"),
    "an older boot": ({"boot": 0}, "the boot counter has fallen"),
}


@pytest.mark.parametrize("changed, why", LIES.values(), ids=LIES)
def test_a_trial_that_is_not_this_attempts_is_refused(operator, device, offered, changed, why):
    session, push, job = offered
    assert on_trial(session, device, push, **changed) == why
    assert attempt(operator, job)["state"] == "pushed" and not running(operator, device)["on_trial"]


def test_a_trial_after_the_proof_or_in_the_version_field_is_refused(operator, device, offered):
    session, push, job = offered
    params = {"version": "1.1.0", "report": device.proof(push, IMAGE, "1.1.0", outcome="trial")}
    answer = session.request(device.sys + "ota/device/inform", params)
    assert (answer["code"], answer["message"]) == (1261, "report rejected: a trial is not told as a version")
    assert operator.device(device.device_key)["claimed_version"] == "1.0.0"
    updated(session, device, push)
    assert on_trial(session, device, push, boot=4) == "this job's outcome is already proven"
    assert attempt(operator, job)["state"] == "updated"


def test_a_trial_of_an_attempt_that_nobody_waits_for_is_heard_and_changes_no_state(operator, device, offered):
    session, push, job = offered
    operator.post(f"/api/v1/jobs/{job['id']}/cancel", {})
    assert on_trial(session, device, push) == ""
    found = attempt(operator, job)
    assert (found["state"], found["settled"], found["running"]["on_trial"]) == ("cancelled", True, True)


def test_a_trial_that_is_begun_again_and_one_that_is_rolled_back(operator, device, offered):
    session, push, job = offered
    assert on_trial(session, device, push) == ""
    params = {"step": "10", "desc": "downloading", "job": push["params"]["job"]}
    assert session.request(device.sys + "ota/device/progress", params)["code"] == 200
    assert attempt(operator, job)["state"] == "in_progress"
    assert on_trial(session, device, push, boot=3) == "" and attempt(operator, job)["state"] == "on_trial"
    reason = "health check sensor"
    told = {
        "outcome": "rolled_back",
        "version": "1.0.0",
        "image": sha256(FACTORY),
        "slot": "a",
        "reason": reason,
        "boot": 4,
    }
    report = device.proof(push, IMAGE, "1.1.0", **told)
    params = {"step": "-1", "desc": reason, "job": push["params"]["job"], "report": report}
    assert session.request(device.sys + "ota/device/progress", params)["code"] == 200
    found = attempt(operator, job)
    assert (found["state"], found["reason"], found["running"]["version"]) == ("rolled_back", reason, "1.0.0")
    assert events(operator, device, "device.fell_back") == []  # what was proven runs, as before
    assert events(operator, device, "attempt.rolled_back")[0]["reason"] == reason


def test_a_silent_fallback_changes_what_runs_and_not_what_was(operator, device, offered):
    session, push, job = offered
    updated(session, device, push)
    why = "fell back from 1.1.0: watchdog"
    assert tell(session, device, "fell_back", "1.0.0", FACTORY, boot=4, reason=why) == 200
    told = operator.wait_for("device.fell_back", device_key=device.device_key)
    assert (told["version"], told["before"], told["reason"]) == ("1.0.0", "1.1.0", why)
    shown = operator.device(device.device_key)
    assert (shown["proven_version"], shown["image"]) == ("1.0.0", sha256(FACTORY))
    now = shown["running"]
    assert now["fell_back"]["version"] == "1.1.0" and now["remarks"] == ["fell back from 1.1.0"] and now["signed"]
    found = attempt(operator, job)
    assert (found["state"], found["proven"], found["fell_back"], found["runs_it"]) == ("updated", True, True, False)
    assert found["now"] == "was updated, now runs 1.0.0: " + why
    assert operator.get(f"/api/v1/jobs/{job['id']}")["counts"]["running"] == 0
    # It stays in view over later boots, until an update is proven.
    assert tell(session, device, "running", "1.0.0", FACTORY, boot=5) == 200
    assert running(operator, device)["remarks"] == ["fell back from 1.1.0"]
    assert len(events(operator, device, "device.fell_back")) == 1
    again = operator.post("/api/v1/jobs", {"target": PATH, "devices": [device.device_key]})
    updated(session, device, session.get(device.sys + "ota/device/upgrade"), boot=6)
    now = attempt(operator, again)
    assert (now["state"], now["runs_it"], now["running"]["fell_back"]) == ("updated", True, None)
    assert attempt(operator, job)["now"] is None  # it runs it again


def test_a_fallback_that_the_device_does_not_know_of_is_seen_all_the_same(operator, device, offered):
    session, push, _ = offered
    updated(session, device, push)
    assert tell(session, device, "running", "1.0.0", FACTORY, boot=4) == 200
    assert events(operator, device, "device.fell_back")[0]["before"] == "1.1.0"


def test_an_older_report_that_comes_again_takes_nothing_back(operator, device, offered):
    session, push, _ = offered
    report = device.report(version="1.0.0", image=sha256(FACTORY), boot=2)
    params = {"version": "1.0.0", "report": report}
    assert session.request(device.sys + "ota/device/inform", params)["code"] == 200
    updated(session, device, push)
    assert session.request(device.sys + "ota/device/inform", params)["code"] == 200  # known: nothing happens
    assert running(operator, device)["version"] == "1.1.0" and not events(operator, device, "device.fell_back")


def test_below_the_floor_is_shown_and_must_agree_with_what_was_signed(operator, device, offered):
    session, push, _ = offered
    updated(session, device, push, floor=3)
    assert tell(session, device, "below_floor", "1.1.0", IMAGE, boot=4, floor=3) == 1261  # its security is 3
    assert tell(session, device, "below_floor", "1.0.0", FACTORY, boot=4, floor=0) == 1261
    why = "fell back from 1.1.0"
    assert tell(session, device, "below_floor", "1.0.0", FACTORY, boot=4, floor=3, reason=why) == 200
    now = running(operator, device)
    assert now["below_floor"] and now["remarks"] == ["fell back from 1.1.0", "below the floor"]
    assert [events(operator, device, name)[0]["version"] for name in ("device.fell_back", "device.below_floor")] == [
        "1.0.0"
    ] * 2
    assert tell(session, device, "below_floor", "1.0.0", FACTORY, boot=5, floor=3) == 200
    assert len(events(operator, device, "device.below_floor")) == 1
    # One that does not say so is seen by the signed security of its image.
    assert tell(session, device, "running", "1.0.0", FACTORY, boot=6, floor=3) == 200
    assert running(operator, device)["below_floor"]


IMAGES = {
    "as signed": ("1.1.0", sha256(IMAGE), []),
    "not the signed one": ("1.1.0", "7" * 64, ["not the image that was signed as 1.1.0"]),
    "another's": ("1.0.0", sha256(IMAGE), ["its image was signed as 1.1.0"]),
    "nobody's": ("5.0.0", "7" * 64, ["an image that was never signed here"]),
    "unreadable": ("1.1.0", "unreadable", ["its image cannot be read"]),
}


@pytest.mark.parametrize("version, image, remarks", IMAGES.values(), ids=IMAGES)
def test_an_image_is_compared_with_all_that_were_ever_signed_here(operator, device, version, image, remarks):
    session = device.ready()
    assert tell(session, device, "running", version, image) == 200
    now = running(operator, device)
    assert (now["version"], now["remarks"], now["signed"]) == (version, remarks, not remarks)
    told = [e["reason"] for e in events(operator, device, "device.unknown_image")]
    assert told == (remarks if remarks and version != "5.0.0" else [])  # a factory's own image is no news
    session.close()


def test_an_image_that_changes_is_an_event_and_shown(operator, device, offered):
    session, push, job = offered
    updated(session, device, push)
    assert tell(session, device, "running", "1.1.0", "7" * 64, boot=3, reason="image changed", measured="daily") == 200
    told = events(operator, device, "device.image_changed")
    assert [(e["version"], e["image"], e["reason"]) for e in told] == [("1.1.0", "7" * 64, "image changed")]
    assert events(operator, device, "device.unknown_image")[0]["reason"] == "not the image that was signed as 1.1.0"
    now = running(operator, device)
    assert (now["measured"], now["reason"], now["fell_back"]) == ("daily", "image changed", None)
    assert attempt(operator, job)["now"] == "was updated, now runs 1.1.0: image changed"


def test_a_withdrawn_release_was_signed_here_all_the_same(operator, device):
    path, image = "app/sim/1.0.5/app.img", b"an image of 1.0.5"
    operator.publish(path, image)
    operator.withdraw(path)
    session = device.ready()
    assert tell(session, device, "running", "1.0.5", image) == 200
    assert running(operator, device)["signed"]
    session.close()


# Devices that cannot sign


def policy(operator, counts):
    path = f"/api/v1/products/{operator.first['product_key']}"
    shown = operator.post(path + "/policy", {"claims_count": counts})
    assert shown["claims_count"] is counts and operator.get(path) == shown


@pytest.fixture
def mute(operator, device):
    """A session of a device that never signs, offered 1.1.0; and the job."""
    session = device.ready()
    job = operator.post("/api/v1/jobs", {"target": PATH, "devices": [device.device_key]})
    session.get(device.sys + "ota/device/upgrade")
    yield session, job
    session.close()
    policy(operator, False)
    operator.post(f"/api/v1/jobs/{job['id']}/cancel", {})


def claim(session, device):
    assert session.request(device.sys + "ota/device/inform", {"version": "1.1.0"})["code"] == 200


def test_a_claim_ends_a_job_only_where_claims_count_and_is_never_called_updated(operator, device, mute):
    session, job = mute
    claim(session, device)
    found = operator.get(f"/api/v1/jobs/{job['id']}")
    assert (found["state"], found["counts"]["claimed"], found["counts"]["proven"]) == ("running", 1, 0)
    policy(operator, True)  # a claim that waits counts from now on
    done = operator.wait_for("job.done", job=job["id"])
    assert (done["updated"], done["claimed"], done["failures"]) == (0, 1, 0)
    found = operator.get(f"/api/v1/jobs/{job['id']}")
    assert (found["state"], found["attempts"][0]["state"], found["attempts"][0]["proven"]) == ("done", "claimed", False)
    assert (found["counts"]["running"], found["attempts"][0]["running"]) == (0, None)
    assert [e["claims_count"] for e in operator.events() if e["event"] == "product.policy"][-1] is True
    assert command(operator, "status", job["id"])[0] == 0


def test_a_claim_that_waited_in_vain_is_a_failure(server, operator, device, mute):
    session, job = mute
    claim(session, device)

    def later(s):
        real = s.store._clock
        s.store._clock = lambda: real() + 7300 * 1000
        try:
            s.desk.expire()
        finally:
            s.store._clock = real

    server.call(later)
    found = operator.get(f"/api/v1/jobs/{job['id']}")
    assert (found["state"], found["counts"]["claimed"], found["counts"]["failed"]) == ("halted", 0, 1)
    code, out, _ = command(operator, "status", job["id"])
    assert code == 1 and "no proof came" in out and "1: 1 failed; 0 run it" in out


@pytest.mark.parametrize(
    "body", [{}, {"claims_count": 1}, {"claims_count": "yes"}, {"claims_count": True, "x": 1}], ids=str
)
def test_a_policy_is_yes_or_no(operator, body):
    path = f"/api/v1/products/{operator.first['product_key']}/policy"
    assert operator.call("POST", path, body).status_code == 400
    assert operator.call("POST", "/api/v1/products/none/policy", {"claims_count": True}).status_code == 404
    assert not operator.get("/api/v1/products")["products"][0]["claims_count"]
    stranger = Operator(operator.first, token="wrong")
    assert stranger.call("GET", "/api/v1/products").status_code in (401, 403)
    assert stranger.call("POST", path, {"claims_count": True}).status_code in (401, 403)


# The command line


def command(operator, *arguments):
    """(exit code, stdout, stderr) of `trueboot`, in this process."""
    from trueboot import cli

    first, out, err = operator.first, io.StringIO(), io.StringIO()
    where = ["--server", first["https"], "--ca", first["ca_file"], "--token", first["admin_token"]]
    with redirect_stdout(out), redirect_stderr(err):
        code = _run(cli, [*arguments, *where])
    return code, out.getvalue(), err.getvalue()


def _run(cli, arguments):
    argv, sys.argv = sys.argv, ["trueboot", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = argv
    return 0


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_the_command_line_tells_what_runs_and_why(operator, device, offered):
    session, push, job = offered
    assert on_trial(session, device, push) == ""
    _, out, _ = command(operator, "status", job["id"])
    assert "1: 1 waiting; 0 run it" in out and "1.1.0 on trial" in out
    updated(session, device, push)
    code, out, _ = command(operator, "status", job["id"])
    assert code == 0 and "1: 1 proven; 1 run it" in out
    why = "fell back from 1.1.0: watchdog"
    assert tell(session, device, "below_floor", "1.0.0", FACTORY, boot=5, floor=3, reason=why) == 200
    code, out, err = command(operator, "status", job["id"])
    assert code == 1 and "1: 1 proven; 0 run it" in out and "was updated, now runs 1.0.0: " + why in out
    _, out, _ = command(operator, "device", "ls")
    assert next(line for line in out.splitlines() if device.device_key in line).endswith("below the floor; " + why)
    _, out, _ = command(operator, "device", "show", device.device_key)
    shown = {line[:17].strip(): line[17:].strip() for line in out.splitlines()}
    assert (shown["runs"], shown["proven version"], shown["why"]) == ("1.0.0", "1.0.0", "below the floor; " + why)
    assert shown["measured"].endswith(", boot, boot 5") and shown["image"] == sha256(FACTORY)
    _, out, _ = command(operator, "status")
    assert next(line for line in out.splitlines() if line.split()[0] == job["id"]).endswith("0 of 1")


def test_the_command_line_sets_whether_claims_count(operator):
    key = operator.first["product_key"]
    assert rows(command(operator, "product", "set", "--claims-count", "yes")[1]) == [
        ["product", key],
        ["dialect", "decada"],
        ["claims", "count", "yes"],
        ["password", "login", "no"],
        ["attestation", "none"],
        ["auto", "update", "off"],
        ["certificate", "life", "default"],
    ]
    assert rows(command(operator, "product", "ls")[1])[1:] == [[key, "decada", "yes", "no", "none", "off", "default"]]
    shown = json.loads(command(operator, "product", "set", "--claims-count", "no", "--product", key, "--json")[1])
    assert shown["claims_count"] is False
    for word in ("yes", "no"):
        shown = json.loads(command(operator, "product", "set", "--password-login", word, "--json")[1])
        assert shown["allow_password_login"] is (word == "yes") and shown["claims_count"] is False
    assert command(operator, "product", "set", "--claims-count", "maybe")[0] == 2
    assert command(operator, "product", "set", "--password-login", "maybe")[0] == 2
    assert command(operator, "product", "set")[0] == 2
    assert command(operator, "product", "set", "--claims-count", "no", "--product", "none")[0] != 0


# Over an older database


def test_a_database_of_before_learns_what_runs(tmp_path):
    import sqlalchemy as sa

    from trueboot_server.store import Store, migrations

    path = tmp_path / "server.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    steps = migrations.STEPS
    with engine.begin() as connection:
        migrations.STEPS = steps[:2]
        try:
            migrations.migrate(connection)
        finally:
            migrations.STEPS = steps
        values = "('pk', 't', '1.1.0', 'aa', 1, 0, 'done', 1, 2, NULL)"
        columns = "(product_key, target, version, sha256, length, max_failures, state, created_at, ended_at, reason)"
        connection.execute(sa.text(f"INSERT INTO jobs {columns} VALUES {values}"))
        connection.execute(sa.text("INSERT INTO products VALUES ('pk', 's', 0, 0, 1)"))
        connection.execute(
            sa.text("INSERT INTO devices (product_key, device_key, device_secret, state, proven_at, created_at)"
                    " VALUES ('pk', 'dk', 's', 'enrolled', 7, 1)")
        )  # fmt: skip
    engine.dispose()
    store = Store(path)
    with store.transaction() as t:
        assert [tuple(row) for row in t.execute(sa.text("SELECT * FROM images"))] == [("aa", "1.1.0", None)]
        assert t.execute(sa.text("SELECT reported_at FROM devices")).scalar() == 7
    store.close()
