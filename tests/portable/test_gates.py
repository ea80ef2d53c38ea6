# SPDX-License-Identifier: MIT
"""The two gates: who may open them, what holds them, how long they are waited for, and the way back through them."""

import json

import decada_cloud
import enrolled
import remembered
from agent import journal, services, window
from agent.errors import UnreachableError
from agent.runtime import Agent
from expect import misuse
from platform_adapters import memory
from test_offers import FACTORY, IMAGE, OTHER, PATH, digest, plain, repo, told, world
from tuf_repo import NOW, Repo, bin_of

HEAP = "2M"
TIMEOUT_S = 240
REMEMBERS = True
remembered.signatures_of_file()
DAY = 86_400
HOURS_MS = 15_000  # between turns, where hours go by
MIDNIGHT = NOW // DAY * DAY + 30 * DAY  # a day on which the clock is surely above its floor


def device_of(cloud, r, now=MIDNIGHT, **config):
    device = enrolled.device(cloud, r.files["1.root.json"], now, FACTORY)
    device.config = dict(device.config, **config)
    return device


class Boots:
    """One device, boot after boot; `run` steps until something is so."""

    def __init__(self, device, cloud, **hooks):
        self.device, self.cloud, self.hooks = device, cloud, hooks
        self.agent = None

    def start(self):
        self.agent = Agent(self.device.power_on(), **self.hooks)
        return self

    def run(self, until, seconds=100_000, most_ms=1000):
        """Whether `until()` became true within so many seconds of the device's time.

        `most_ms`: how long it rests while all that it waits for is the clock.  A turn a second costs more than it shows.
        """
        end = self.device.now_ms + 1000 * seconds
        while self.device.now_ms < end:
            try:
                wait = self.agent.step(20)
                if until():
                    return True
                self.agent.platform.clock.sleep_ms(max(wait, 1) if wait < 1000 else most_ms)
            except (memory.PowerCut, memory.Reset):
                self.start()
        return False

    def boots_in_vain(self, do, start=True):
        """Boot and do something; whether the power went meanwhile."""
        try:
            if start:
                self.start()
            do()
            return False
        except memory.PowerCut:
            return True

    def waits(self, text):
        return self.run(lambda: self.agent.status()["waiting"] == text, 1000)

    def state(self):
        return kept(self.device)["update"]

    def command(self, name, params):
        """(code, data) of the device's reply."""
        replies = []
        publish = self.cloud.on_publish

        def listen(device, topic, payload, qos):
            if topic.endswith("_reply"):
                replies.append(json.loads(payload))
            publish(device, topic, payload, qos)

        self.cloud.on_publish = listen
        payload = json.dumps({"id": "77", "params": params}).encode()
        assert self.device.push(decada_cloud.SYS + "thing/service/" + name, payload)
        assert self.run(lambda: replies, 60)
        self.cloud.on_publish = publish
        return replies[0]["code"], replies[0]["data"]


def kept(device):
    copies = [journal.decode(device.records.get(name)) for name in journal.COPIES]
    return max([copy for copy in copies if copy], key=lambda copy: copy[1])[0]


def started(r=None, the_world=None, hooks=None, now=MIDNIGHT, **config):
    r = r or fresh()
    cloud = decada_cloud.Cloud(the_world or world(r))
    return Boots(device_of(cloud, r, now, **config), cloud, **(hooks or {})).start()


def fresh(**custom):
    """A repository whose metadata are valid in MIDNIGHT's days."""
    return repo(**custom)


def updated(boots, most_ms=1000):
    return boots.run(lambda: boots.cloud.job["state"] == "updated", most_ms=most_ms)


def consent(boots, at, **changed):
    gate = at
    params = {"job": "7", "sha256": digest(IMAGE), "gate": gate, "expires": boots.agent.platform.clock.wall() + 600}
    params.update(changed)
    return boots.command("trueboot.consent", params)


def test_windows():
    hours = lambda text: [h for h in range(24) if window.is_open(text, MIDNIGHT + h * 3600)]  # noqa: E731
    assert hours("22:00-06:00") == [0, 1, 2, 3, 4, 5, 22, 23]
    assert hours("09:30-11:00") == [10]
    assert hours("00:00-23:59") == list(range(24))
    assert window.is_open("22:00-06:00", 6 * 3600 - 1) and not window.is_open("22:00-06:00", 6 * 3600)
    for wrong in ("22:00", "22-06", "24:00-01:00", "22:60-01:00", "1:00-2:00", "22:00-22:00", " 22:00-06:00", "-", "a"):
        misuse("config", window.parse, wrong)
    misuse("config", lambda: started(window="always"))


def test_an_app_that_says_later_is_asked_again_and_each_wait_is_told_once():
    answers = {"download": "later", "activate": "later"}
    boots = started(hooks={"approve": lambda stage, release: answers[stage]})
    assert boots.waits("consent to download") and boots.state()["phase"] == "offered"
    assert not boots.run(lambda: boots.agent.status()["phase"] != "offered", 300)
    answers["download"] = "yes"
    assert boots.waits("consent to activate")
    boots.run(lambda: False, 300)
    answers["activate"] = "yes"
    assert updated(boots) and boots.agent.status()["waiting"] == "" and boots.cloud.lies == []
    said = [(e[1]["gate"], e[1]["for"]) for e in boots.device.events if e[0] == "update.waiting"]
    assert said == [("download", "consent to download"), ("activate", "consent to activate")]
    assert [entry for entry in boots.cloud.told if entry[0] == "step"][0] == ("step", 0)


def test_a_no_refuses_with_a_reason_until_an_operator_retries():
    def one(gate):
        answers = {"download": "yes", "activate": "yes"}
        answers[gate] = "no"
        boots = started(hooks={"approve": lambda stage, release: answers[stage]})
        assert boots.run(lambda: told(boots.cloud))
        assert told(boots.cloud) == [
            ("refused", "refused by app: the " + ("download" if gate == "download" else "activation"))
        ]
        boots.cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
        boots.device.hang_up()
        assert boots.run(lambda: len(told(boots.cloud)) == 2)
        assert told(boots.cloud)[-1] == (
            "refused",
            "refused before: refused by app: the " + ("download" if gate == "download" else "activation"),
        )
        answers[gate] = "yes"
        boots.cloud.world = dict(boots.cloud.world, offer={"retry": True})
        boots.cloud.job = {"id": "9", "nonce": "n9", "state": "queued"}
        boots.device.hang_up()
        assert updated(boots) and boots.state()["refused"] == [] and boots.cloud.lies == []

    for gate in ("download", "activate"):
        one(gate)


def test_only_true_itself_is_a_retry_or_a_downgrade():
    def one(wrong):
        boots = started(the_world=dict(world(repo(version="0.9.0")), version="0.9.0", offer={"downgrade": wrong}))
        assert boots.run(lambda: told(boots.cloud))
        assert told(boots.cloud) == [("failed", "older: 0.9.0 is not newer than 1.0.0, which runs")]

    for wrong in (1, "true", [], {"a": 1}, False, None):
        one(wrong)


def test_a_downgrade_must_be_ordered():
    r = repo(version="0.9.0")
    boots = started(r, dict(world(r), version="0.9.0", offer={"downgrade": True}))
    assert updated(boots) and boots.agent.status()["version"] == "0.9.0"


# An operator's word


def test_remote_consent_opens_both_gates_across_a_power_cut():
    boots = started(consent_download="ask", consent_activate="ask", consent_remote="accept")
    assert boots.waits("consent to download")
    assert consent(boots, "activate") == (200, {})
    assert consent(boots, "download") == (200, {})
    assert boots.state()["allowed"]["activate"] > MIDNIGHT
    boots.start()  # the power went
    assert updated(boots) and boots.state()["allowed"] == {} and boots.cloud.lies == []


def test_remote_consent_is_turned_down_with_a_code():
    boots = started(consent_download="ask")
    assert boots.waits("consent to download")
    assert consent(boots, "download")[0] == services.NOT_ACCEPTED
    boots = started(consent_download="ask", consent_remote="accept")
    assert boots.waits("consent to download")
    for code, changed in (
        (services.NOTHING_WAITS, {"job": "8"}),
        (services.NOTHING_WAITS, {"job": None}),
        (services.NOTHING_WAITS, {"sha256": digest(OTHER)}),
        (services.NOT_VALID_NOW, {"expires": MIDNIGHT - 1}),
        (services.NOT_VALID_NOW, {"expires": MIDNIGHT + 40 * DAY}),
        (services.BAD_PARAMETER, {"expires": "tomorrow"}),
        (services.BAD_PARAMETER, {"expires": True}),
        (services.BAD_PARAMETER, {"gate": "both"}),
        (services.BAD_PARAMETER, {"gate": []}),
        (services.BAD_PARAMETER, {"answer": "later"}),
    ):
        found, data = consent(boots, "download", **changed)
        assert found == code and data["reason"], (changed, found)
        assert boots.state()["allowed"] == {}
    assert boots.command("trueboot.unknown", {})[0] == 1101
    assert consent(boots, "download") == (200, {}) and updated(boots)
    assert consent(boots, "activate")[0] == services.NOTHING_WAITS, "it is used"


def test_an_app_never_sees_what_is_reserved():
    seen = []
    boots = started(hooks={"on_command": lambda name, args: seen.append(name) or {}}, consent_download="ask")
    assert boots.waits("consent to download")
    consent(boots, "download")
    assert boots.command("blink", {}) == (200, {}) and seen == ["blink"]


def test_remote_consent_makes_a_yes_of_later_and_of_nothing_else():
    def one(word, end):
        answers = ["later"]
        boots = started(hooks={"approve": lambda stage, release: answers[0]}, consent_remote="accept")
        assert boots.waits("consent to download")
        answers[0] = word  # before the yes arrives: the app's no is a no all the same
        assert consent(boots, "download")[0] == 200
        boots.run(lambda: boots.state()["phase"] != "offered", 60)
        if end == "updated":
            assert boots.waits("consent to activate")
            assert consent(boots, "activate")[0] == 200
        assert boots.run(lambda: boots.cloud.job["state"] == end), (word, boots.cloud.told)

    for word, end in (("later", "updated"), ("no", "refused"), (None, "updated")):
        one(word, end)


def test_remote_consent_expires():
    answers = ["later"]
    boots = started(consent_download="ask", consent_remote="accept", window="01:00-02:00", window_gates="both")
    assert boots.waits("the window 01:00-02:00")
    assert consent(boots, "download")[0] == 200  # for ten minutes, and the window opens in an hour
    assert boots.run(lambda: boots.agent.status()["waiting"] == "consent to download", 4000)
    assert boots.state()["phase"] == "offered" and answers


def test_an_operators_no():
    boots = started(consent_download="ask", consent_remote="accept")
    assert boots.waits("consent to download")
    assert consent(boots, "download", answer="no")[0] == 200
    assert boots.run(lambda: told(boots.cloud))
    assert told(boots.cloud) == [("refused", "refused by operator: the download")]


# Time


def test_consent_that_never_comes_ends_in_time_whatever_the_power_and_the_clock_do():
    boots = started(consent_download="ask", consent_deadline_s=3600)
    boots.device.epoch_s = None  # a board without a clock
    on = 0
    while not told(boots.cloud):
        before = boots.device.now_ms
        boots.start().run(lambda: told(boots.cloud), 400)
        on += boots.device.now_ms - before
        boots.device.now_ms += 1000 * DAY  # off for a day, which is no time to agree in
        assert on < 3 * 3600_000, boots.state()["waited"]
    assert on >= 3600_000
    assert told(boots.cloud) == [("failed", "no consent in time")] and boots.state()["refused"] == []
    boots.device.now_ms = 0
    boots.device.config["consent_download"] = "yes"
    boots.cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
    boots.start()
    assert updated(boots), "it was not condemned"


def test_the_deadline_is_saved_coarsely():
    boots = started(consent_download="ask", consent_deadline_s=7 * DAY)
    assert boots.waits("consent to download")
    before = len(boots.device.trace)
    boots.run(lambda: False, DAY, HOURS_MS)
    saves = [name for name in boots.device.trace[before:] if name.startswith("store.save")]
    assert 25 < len(saves) < 33 and 0.9 * DAY < boots.state()["waited"] <= DAY


def test_without_a_deadline_waiting_writes_nothing():
    boots = started(consent_download="ask")
    assert boots.waits("consent to download")
    before = len(boots.device.trace)
    boots.run(lambda: False, DAY // 4, HOURS_MS)
    assert not [name for name in boots.device.trace[before:] if name.startswith("store.save")]


def test_the_window_holds_the_activation():
    asked = []
    boots = started(
        hooks={"approve": lambda stage, release: asked.append(stage) or "yes"},
        now=MIDNIGHT + 12 * 3600,
        window="22:00-06:00",
    )
    assert boots.waits("the window 22:00-06:00") and boots.state()["phase"] == "staged"
    boots.start()  # a reset does not open it
    assert boots.waits("the window 22:00-06:00") and asked == ["download"], "nobody is asked while it cannot count"
    assert updated(boots, HOURS_MS)
    at = MIDNIGHT + 12 * 3600 + boots.device.now_ms // 1000
    assert MIDNIGHT + 22 * 3600 <= at < MIDNIGHT + 22 * 3600 + 600


def test_the_window_may_hold_the_download_too():
    boots = started(now=MIDNIGHT + 12 * 3600, window="22:00-06:00", window_gates="both")
    assert boots.waits("the window 22:00-06:00") and boots.state()["phase"] == "offered"


def test_a_clock_that_was_never_set_opens_no_window():
    boots = started(window="00:00-23:59")
    boots.device.epoch_s = None
    assert boots.start().waits("the clock to be set, for the window 00:00-23:59")
    assert not boots.run(lambda: boots.agent.status()["phase"] != "staged", 600)
    boots.device.epoch_s = MIDNIGHT  # somebody set it
    assert updated(boots)


def test_a_deferral_outlives_resets_and_ends_by_ticks_or_by_the_clock():
    for epoch in (MIDNIGHT, None):
        boots = started()
        boots.device.epoch_s = epoch
        boots.start().agent.defer(3600)
        assert boots.waits("the end of a deferral") and boots.state()["phase"] == "offered"
        for _ in range(3):
            boots.run(lambda: False, 600)
            boots.start()
            assert boots.waits("the end of a deferral")
        assert updated(boots)
        passed = boots.device.now_ms // 1000
        assert 3600 <= passed < (3800 if epoch else 6000), passed
        assert kept(boots.device).get("defer") is None
    boots = started()
    boots.agent.defer(3600)
    assert boots.waits("the end of a deferral")
    boots.agent.defer(0)
    assert boots.run(lambda: boots.agent.status()["phase"] != "offered", 60)
    for wrong in (-1, 1.5, None, True, 31 * DAY):
        misuse("defer", boots.agent.defer, wrong)


def test_the_off_time_counts_where_there_is_a_clock():
    boots = started()
    boots.agent.defer(3600)
    assert boots.waits("the end of a deferral")
    boots.device.now_ms += 3600_000
    assert boots.start().run(lambda: boots.agent.status()["phase"] != "offered", 60)


def test_a_busy_device_is_not_reset():
    boots = started()
    with boots.agent.busy("printing"):
        assert boots.waits("the device, which is busy: printing") and boots.state()["phase"] == "staged"
        with boots.agent.busy("printing"):
            with boots.agent.busy("cooling"):
                assert boots.waits("the device, which is busy: cooling")
        assert boots.waits("the device, which is busy: printing")
        assert not boots.run(lambda: boots.device.boots > 2, 600)
    assert updated(boots)
    try:
        with boots.agent.busy("failing"):
            raise ValueError
    except ValueError:
        assert boots.agent.locks == []
    for wrong in (None, "", "x" * 65, 5):
        misuse("busy", boots.agent.busy, wrong)
    for _ in range(16):
        boots.agent.busy("x").__enter__()
    misuse("busy", boots.agent.busy("x").__enter__)


def test_a_second_activation_waits_for_the_window_too_and_is_not_asked_for_again():
    asked = []
    boots = started(
        hooks={"approve": lambda stage, release: asked.append(stage) or "yes", "healthy": lambda: False},
        window="00:00-01:00",
        trial_timeout_ms=3_600_000,
    )
    assert boots.run(lambda: boots.device.record()["trial"])
    for _ in range(2):
        boots.start().run(lambda: False, 60)
    boots.device.now_ms += 3 * 3600_000
    boots.start()
    assert boots.waits("the window 00:00-01:00") and boots.state()["phase"] == "staged"
    boots.hooks["healthy"] = lambda: True
    assert updated(boots, HOURS_MS) and asked == ["download", "activate"] and boots.cloud.lies == []


# The trial


def test_each_end_of_a_trial_has_its_reason():
    def broken():
        raise OSError("a secret")

    def one(reason, healthy):
        boots = started(hooks={"healthy": healthy})
        assert boots.run(lambda: told(boots.cloud))
        outcome, why = told(boots.cloud)[0]
        assert outcome == "rolled_back" and (why == reason or reason[-1] == ":" and why.startswith(reason)), why
        assert "secret" not in why and boots.state()["refused"] == [[digest(IMAGE), why]]

    for reason, healthy in (
        ("health check app", lambda: False),
        ("health check app: OSError test_gates.py:", broken),
        ("health check sensor", {"radio": lambda: True, "sensor": lambda: False}),
        ("health check radio: OSError test_gates.py:", {"radio": broken}),
    ):
        one(reason, healthy)
    assert updated(started(hooks={"healthy": {"a": lambda: True, "b": lambda: True}}))


def test_a_server_that_does_not_answer_the_trial():
    class Deaf(decada_cloud.Cloud):
        def connect(self, device, login):
            if device.record()["trial"]:
                refusing(device, login)
            return super().connect(device, login)

    r = fresh()
    cloud = Deaf(world(r))
    boots = Boots(device_of(cloud, r), cloud).start()
    assert boots.run(lambda: told(cloud)) and told(cloud) == [("rolled_back", "no server contact")]


def refusing(device, login):
    raise UnreachableError("unreachable", "nobody is there")


def test_a_trial_that_loses_its_power_again_and_again():
    boots = started(hooks={"healthy": lambda: False}, trial_boots=4, trial_timeout_ms=3_600_000)
    assert boots.run(lambda: boots.agent.status()["phase"] == "trial")
    for _ in range(20):
        boots.start().run(lambda: told(boots.cloud), 60)
        if told(boots.cloud):
            break
    assert told(boots.cloud) == [("rolled_back", "power lost 4 times")]
    assert boots.state()["refused"] == [] and boots.agent.status()["version"] == "1.0.0"


def test_nothing_but_the_journal_changes_on_trial():
    """What the old agent has to be able to read stays as it is; the journal keeps its format, identity, clock and floor."""
    boots = started(hooks={"healthy": lambda: False}, trial_timeout_ms=600_000)
    assert boots.run(lambda: boots.agent.status()["phase"] == "trial")

    def seen():
        record = kept(boots.device)
        stays = {name: record.get(name) for name in ("format", "identity", "clock", "freshness")}
        others = {n: d for n, d in boots.device.records.items() if n not in journal.COPIES + ("telemetry",)}
        return stays, record["update"]["floor"], others, dict(boots.device.secrets), boots.device.notes["a"]

    before = seen()
    for _ in range(2):
        boots.run(lambda: False, 100)
        assert boots.agent.status()["phase"] == "trial" and seen() == before
        boots.device.push(*boots.cloud._push())
        boots.start()
    boots.run(lambda: False, 100)
    assert seen() == before


def test_only_a_loop_that_turns_feeds_the_watchdog():
    boots = started(consent_download="ask")
    device, agent = boots.device, boots.agent
    assert device.feeds == 0
    for turns in range(1, 4):
        agent.step(20)
        assert device.feeds == turns, "once a turn"
    agent.platform.clock.sleep_ms(60_000)
    agent.publish("x", 1)
    agent.status()
    assert device.feeds == 3, "nothing but a turn feeds it"
    # Offline, where nothing is to be done for minutes: a turn a second all the same.
    assert boots.waits("consent to download")
    boots.cloud.connect = refusing
    device.hang_up()
    before, then = device.feeds, device.now_ms
    agent.serve(120_000)
    assert device.feeds - before >= (device.now_ms - then) // 1000 - 2


# The way back


def rolled_forward(hooks=None, r=None, note=True):
    r = r or Repo().add(PATH, IMAGE, requires=">=1.0.0")
    boots = started(r, hooks=hooks)
    if note:
        factory = "app/sim/1.0.0/app.img"
        r.add(factory, FACTORY, version="1.0.0", requires="<1.0.0")
        boots.device.notes["a"] = json.dumps(dict(json.loads(boots.device.notes["a"]), target=factory))
    assert updated(boots)
    assert boots.run(lambda: not boots.agent.reports() and boots.agent.status()["online"], 100)
    return boots, r


def test_the_app_goes_back_without_a_download():
    boots, _ = rolled_forward()
    del boots.cloud.requests[:]
    boots.agent.rollback()
    assert boots.run(lambda: boots.agent.status()["version"] == "1.0.0")
    assert boots.run(lambda: told(boots.cloud)[-1:] == [("updated", "")] and not boots.agent.reports())
    assert not [url for url, _ in boots.cloud.requests if "/targets/" in url], "it was downloaded"
    assert boots.device.images[boots.device.record()["active"]] == FACTORY
    assert "install" not in boots.device.records and kept(boots.device)["last"]["outcome"] == "updated"
    boots.agent.rollback()  # and forward again: the image of 1.1.0 ran here, too
    assert boots.run(lambda: boots.agent.status()["version"] == "1.1.0")


def test_an_operator_orders_the_way_back():
    boots, _ = rolled_forward()
    factory = digest(FACTORY)
    del boots.cloud.requests[:]
    boots.cloud.world = dict(
        boots.cloud.world,
        image=FACTORY,
        sha256=factory,
        version="1.0.0",
        target="app/sim/1.0.0/app.img",
        offer={"downgrade": True},
    )
    boots.cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
    boots.device.hang_up()
    assert updated(boots) and boots.agent.status()["version"] == "1.0.0" and boots.cloud.lies == []
    assert not [url for url, _ in boots.cloud.requests if "/targets/" in url]


def test_the_way_back_passes_the_gates_and_the_trial():
    asked, well = [], []
    hooks = {"approve": lambda stage, release: asked.append(release["version"]) or "yes"}
    boots, _ = rolled_forward(hooks)
    boots.hooks["healthy"] = lambda: well.append(1)
    boots.agent.rollback()
    assert boots.run(lambda: told(boots.cloud)[-1] == ("rolled_back", "health check app"))
    assert asked == ["1.1.0", "1.1.0", "1.0.0", "1.0.0"] and boots.agent.status()["version"] == "1.1.0"
    assert boots.run(lambda: boots.agent.status()["phase"] == "idle" and not boots.agent.reports(), 60)
    boots.agent.rollback()
    assert boots.run(lambda: told(boots.cloud)[-1] == ("refused", "refused before: health check app"))


def test_no_way_back_to_what_is_withdrawn_below_the_floor_or_not_there():
    boots, r = rolled_forward()
    del r.bins[bin_of("app/sim/1.0.0/app.img")]["app/sim/1.0.0/app.img"]
    r.resign(bin_of("app/sim/1.0.0/app.img"))
    boots.agent.rollback()
    assert boots.run(lambda: told(boots.cloud)[-1][0] == "failed")
    assert plain(told(boots.cloud)[-1][1]).startswith("not_signed")
    boots, r = rolled_forward(r=Repo().add(PATH, IMAGE, security=3))
    boots.agent.rollback()
    assert boots.run(lambda: told(boots.cloud)[-1] == ("refused", "security 0 is below the floor 3"))
    boots, r = rolled_forward(note=False)
    misuse("rollback_none", boots.agent.rollback)
    boots = started(consent_download="ask")
    assert boots.waits("consent to download")
    misuse("install_busy", boots.agent.rollback)


def test_what_never_ran_here_is_no_way_back():
    answers = {"download": "yes", "activate": "yes"}
    boots, r = rolled_forward({"approve": lambda stage, release: answers[stage]})
    path, answers["activate"] = "app/sim/1.2.0/app.img", "no"
    r.add(path, OTHER, version="1.2.0")
    boots.cloud.world = dict(world(r, image=OTHER, version="1.2.0"), target=path)
    boots.cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
    boots.device.hang_up()
    assert boots.run(lambda: told(boots.cloud)[-1] == ("refused", "refused by app: the activation"))
    assert json.loads(boots.device.notes["a"])["target"] == path and boots.device.images["a"] == OTHER
    misuse("rollback_none", boots.agent.rollback)


def test_a_request_to_go_back_is_done_once_though_the_power_goes():
    boots, _ = rolled_forward()
    boots.device.records["install"] = json.dumps({"rollback": True, "id": "one"}).encode()
    boots.start()
    assert boots.run(lambda: boots.agent.status()["version"] == "1.0.0")
    boots.device.records["install"] = json.dumps({"rollback": True, "id": "one"}).encode()
    boots.start().run(lambda: False, 60)
    assert boots.agent.status()["version"] == "1.0.0" and "install" not in boots.device.records
    boots.device.notes["b"] = None  # meanwhile something else was put there
    boots.device.records["install"] = json.dumps({"rollback": True, "id": "two"}).encode()
    boots.start().run(lambda: False, 60)
    assert kept(boots.device)["last"]["reason"].startswith("rollback_none") and "install" not in boots.device.records


def test_a_life_with_waits_is_as_safe_as_one_without():
    """One of four effects is cut; what waits goes on waiting, and it ends as it would have."""
    r = fresh()

    def life(cuts):
        boots = started(
            r, consent_remote="accept", consent_activate="ask", consent_deadline_s=3600, window="00:00-01:00"
        )
        boots.device.effects, boots.device.trace, boots.device.cuts = 0, [], cuts
        while boots.boots_in_vain(lambda: boots.agent.defer(90)):
            pass
        for _ in range(40):
            boots.run(lambda: boots.agent.status()["waiting"] == "consent to activate" or over(boots), 100)
            if over(boots):
                break
            if boots.agent.status()["waiting"]:
                boots.boots_in_vain(lambda: consent(boots, "activate"), False)
                boots.run(lambda: over(boots), 10)
        return boots

    def over(boots):
        return boots.cloud.job["state"] not in ("queued", "pushed")

    clean = life({})
    assert clean.cloud.job["state"] == "updated"
    for at in range(1, clean.device.effects, 4):
        boots = life({at: memory.BEFORE if at % 2 else memory.AFTER})
        assert boots.cloud.job["state"] == "updated" and boots.cloud.lies == [], (at, boots.cloud.told, boots.state())
        assert boots.state()["refused"] == []
