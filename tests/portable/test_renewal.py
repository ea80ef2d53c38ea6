# SPDX-License-Identifier: MIT
"""Certificates over the life of a device: when they are renewed, by which proof, and what is kept meanwhile.

Power cuts are `identity_sweep`'s.
"""

import json

import authority
import identity_cloud
import identity_sweep
import remembered
from agent import life
from agent.clouds import est
from agent.crypto import p256_sign
from agent.errors import MisuseError
from agent.runtime import Agent
from agent.wire import der, elements
from expect import device_error, refused

HEAP = "576k"  # the world around the device takes 400 of it
START = identity_cloud.START
LIFE_S = 1000

REMEMBERS = True
remembered.signatures_of_file()


def live(device, done, steps=600):
    """Boot once, and step until `done(agent)`; gives the agent.  AssertionError when that never comes."""
    agent = Agent(device.power_on())
    run(agent, done, steps)
    return agent


def run(agent, done, steps=600):
    for _ in range(steps):
        wait = agent.step(20)
        if done(agent):
            return
        agent.platform.clock.sleep_ms(min(max(wait, 1), 1000) if agent.uplink.online else max(wait, 1))
    raise AssertionError("never: %s %s" % (agent.identity, agent.platform._life.device.events[-6:]))


def at_rest(agent):
    return agent.identity["phase"] == "enrolled" and agent.uplink.online and agent.uplink.informed


def on(label):
    return lambda agent: at_rest(agent) and agent.identity["label"] == label


def names(device):
    return [event[0] for event in device.events]


# When


def leaf(begin, end, serial=7):
    return authority.Authority(START).issue(serial, "pk/dk", p256_sign.public(bytes(31) + b"\x09"), begin, end)


def test_due_at_two_thirds_less_up_to_a_tenth_of_that_the_same_at_every_look():
    drawn = set()
    for serial in range(100, 104):
        data = leaf(START, START + 100_000, serial)
        why, due, end = life.plan(life.dates(data), 0, START + 5, 66)
        assert why == "" and end == (START + 100_000) * 1000
        assert 59_400_000 <= due - START * 1000 <= 66_000_000
        assert life.plan(life.dates(data), 0, START + 50_000, 66)[1] == due
        drawn.add(due)
    assert len(drawn) == 4, "a fleet does not renew in one hour"


def test_a_short_life_begins_when_the_certificate_came():
    data = leaf(START - 3600, START + 6)  # dated back by an hour
    assert life.plan(life.dates(data), START, START, 66)[1] > (START + 3) * 1000
    assert life.plan(life.dates(data), 0, START, 66)[1] < START * 1000


def test_a_clock_that_cannot_be_right_decides_nothing():
    data = leaf(START, START + 1000)
    assert life.plan(life.dates(data), START, START - 1, 66)[0] == life.BEHIND
    assert life.plan(life.dates(data), 5, 6, 66)[0] == life.BEHIND, "as in 1970"
    ahead = START + 9_000_000
    assert life.plan(life.dates(data), ahead, ahead + 5, 66)[0] == life.AHEAD, "or it would ask for ever"
    assert life.plan(life.dates(data), ahead, START + 5, 66)[0] == "", "the clock was set since"
    assert life.plan(life.dates(data), START, ahead, 66)[0] == "", "it is over"


def test_what_a_certificate_says_is_kept_under_its_hash_and_counts_for_no_other():
    data, other = leaf(START, START + 1000), leaf(START, START + 9)
    kept = life.dates(data)
    assert (kept["begin"], kept["end"]) == (START, START + 1000)
    assert life.dates(data, kept) is kept, "it was not read again"
    assert life.dates(other, kept)["end"] == START + 9
    for strange in (None, 7, {}, {"leaf": kept["leaf"]}, dict(kept, end="soon"), dict(kept, begin=True)):
        assert life.dates(data, strange) == kept


def test_the_journal_knows_the_life_from_the_certificate_on():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud, LIFE_S)
    live(device, lambda agent: at_rest(agent) and len(cloud.certificates) == 3, 400)
    record = Agent(device.power_on()).record
    assert record["life"] == life.dates(cloud.certificates[2]["der"])


def test_pauses_grow_with_what_is_left():
    assert life.pause_ms(1, 1000, 1 << 40) == 1000
    assert life.pause_ms(9, 1000, 2_000_000) == 100_000
    assert life.pause_ms(9, 1000, 1 << 40) == 21_600_000
    assert life.pause_ms(9, 300_000, 0) == 300_000


# The chain


def test_chains_of_one_and_of_two_are_taken():
    point = p256_sign.public(bytes(31) + b"\x09")
    for chained in (False, True):
        ca = authority.Authority(START, chained)
        made = ca.issue(7, "pk/dk", point, START, START + 9)
        assert est.check(ca.between + [made], point, [ca.root], check) == [made] + ca.between
        assert est.check([made] + ca.between + [ca.root], point, [ca.root], check) == [made] + ca.between
        assert elements.split(b"".join([made] + ca.between)) == [made] + ca.between


def check(key_type, scheme, public, data, signature):
    from agent.crypto.verify import Whole, verify

    return verify(key_type, scheme, public, Whole(data), signature)


def test_chains_that_are_none_are_refused():
    point = p256_sign.public(bytes(31) + b"\x09")
    ca, direct = authority.Authority(START, True), authority.Authority(START)
    made = ca.issue(7, "pk/dk", point, START, START + 9)
    between = ca.between[0]
    always = (START - 9, START + 9_000_000)
    issuing = p256_sign.public(authority.ISSUING_SECRET)

    def other(*parts, **changes):
        about = {"issuer": "Root", "subject": "Issuing", "point": issuing, "validity": always}
        about.update({"signer": authority.ROOT_SECRET, "extensions": authority.CA_EXTENSIONS})
        about.update(changes)
        return authority.certificate(3, **about)

    def refuse(*certificates):
        refused("certificate", est.check, list(certificates), point, [ca.root], check, START)

    assert est.check([other(), made], point, [ca.root], check, START)
    refuse(made)  # nothing between it and the anchor
    refuse(between)  # not for our key
    refuse(made, other(signer=authority.ISSUING_SECRET))  # the anchor did not sign it
    refuse(made, other(issuer="Rood"))
    refuse(made, other(subject="Issuinh"))
    refuse(made, other(extensions=authority.LEAF_EXTENSIONS))  # no CA
    refuse(made, other(extensions=authority.CA_EXTENSIONS[:1] + authority.LEAF_EXTENSIONS[1:]))  # may not certify
    refuse(made, other(validity=(START - 9, START - 1)))  # over
    refuse(made, other(validity=(START + 20, START + 30)))  # begins when the leaf is over
    refuse(made, other(extensions=authority.CA_EXTENSIONS + (authority.extension("1.2.3", True, b"\x05\x00"),)))
    refuse(ca.issue(7, "pk/dk", point, START - 9, START), between)  # over before this device's software was made
    refuse(ca.issue(7, "pk/dk", point, START + 9, START), between)
    refuse(ca.issue(7, "pk/dk", point, START, START + 9, authority.CA_EXTENSIONS), between)  # a CA is no device
    last = authority.extension("2.5.29.19", True, der.sequence(b"\x01\x01\xff", der.integer(0)))
    root = authority.certificate(
        1, "Root", "Root", p256_sign.public(authority.ROOT_SECRET), always, authority.ROOT_SECRET, (last,)
    )
    refused("certificate", est.check, [made, between], point, [root], check)  # the root allows no CA below it
    made = direct.issue(7, "pk/dk", point, START, START + 9)
    assert est.check([made], point, [root], check) == [made]


def test_a_record_that_is_not_whole_is_lost():
    data = leaf(START, START + 9)
    for broken in (
        b"",
        data[:-1],
        data + b"\x30",
        data + b"\x30\x82\xff\xff",
        b"\x31" + data[1:],
        b"0",
        b"0\x80\x00\x00",
    ):
        device_error("certificate_lost", elements.split, broken)


# By which proof


def test_renewed_over_the_session_of_the_certificate_and_promoted_after_it_was_accepted():
    cloud = identity_cloud.Cloud(LIFE_S, chained=True, backdate_s=3600)
    device = identity_sweep.known(cloud, LIFE_S * 7 // 10)
    live(device, on("b"))
    assert cloud.roads[-1] == "certificate" and cloud.lies == [] and len(cloud.certificates) == 3
    assert elements.split(device.records["cert.b"])[1:] == cloud.authority.between
    told = names(device)
    assert told.index("identity.certificate_stored") < told.index("identity.renewed")
    assert device.secrets["a"], "the old key stays until the next renewal"


def test_before_its_time_nothing_is_renewed_and_the_life_is_told_once():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud, LIFE_S // 10)
    agent = live(device, at_rest)
    run(agent, lambda agent: agent.platform.clock.ticks_ms() > 100_000)
    assert cloud.roads[-1] == "factory" and names(device).count("identity.life") == 1


def test_ten_in_a_row():
    cloud = identity_cloud.Cloud(60)
    device = identity_sweep.known(cloud)
    live(device, lambda agent: at_rest(agent) and len(cloud.certificates) == 12, 2000)
    assert cloud.roads[2:] == ["certificate"] * 10 and cloud.lies == []


def test_after_its_end_the_last_key_speaks():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud, LIFE_S + 5)
    live(device, on("b"))
    assert cloud.roads[-1] == "statement" and cloud.lies == []


def test_a_device_without_a_clock_finds_out_by_refusals():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud, LIFE_S + 5)
    device.epoch_s = None
    live(device, on("b"))
    assert cloud.roads[-1] == "statement" and cloud.lies == []
    assert [event[1]["why"] for event in device.events if event[0] == "identity.clock"][0] == life.BEHIND


def test_a_clock_before_the_certificate_is_told_once_and_starts_nothing():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud)
    device.epoch_s = START - 90_000_000
    agent = live(device, at_rest)
    run(agent, lambda agent: agent.platform.clock.ticks_ms() > 4_000_000, 9000)
    assert len(cloud.certificates) == 2 and names(device).count("identity.clock") == 1


def test_a_clock_that_is_ahead_makes_no_storm():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud)
    device.epoch_s = START + 900_000_000
    agent = live(device, on("b"))
    run(agent, lambda agent: agent.platform.clock.ticks_ms() > 4_000_000, 9000)
    assert len(cloud.certificates) <= 3


def test_a_server_that_gives_none_is_asked_ever_more_slowly_and_the_old_one_works_on():
    cloud = identity_cloud.Cloud(100_000)
    device = identity_sweep.known(cloud, 70_000)
    cloud.closed = True
    agent = live(device, lambda agent: agent.uplink.online)
    run(agent, lambda agent: agent.platform.clock.ticks_ms() > 10_000_000, 20_000)
    asked = len([name for name in device.trace if "simplereenroll" in name])
    assert 6 < asked < 20 and at_rest_by(agent, "a"), asked
    cloud.closed = False
    run(agent, on("b"), 20_000)
    assert cloud.lies == []


def at_rest_by(agent, label):
    return agent.uplink.online and agent.label() == label


def test_servers_that_refuse_every_new_one_wear_no_flash_out():
    cloud = identity_cloud.Cloud(1_000_000)
    device = identity_sweep.known(cloud, 700_000)
    cloud.refusals = 1 << 20
    agent = live(device, at_rest)
    run(agent, lambda agent: agent.platform.clock.ticks_ms() > 6_000_000, 20_000)
    saves = [name for name in device.trace if name.startswith("store.save")]
    assert len(saves) < 60, len(saves)
    assert agent.identity.get("kept") and agent.label() == "a" and device.trace.count("keys.make b") <= 1


# On request, and never on trial


def ask(device):
    """The operator's word, as it comes over MQTT."""
    message = {"id": "5", "method": "thing.service.trueboot.renew", "params": {}}
    assert device.push("/sys/pk/dk/thing/service/trueboot.renew", json.dumps(message).encode())


def test_on_request_at_once():
    cloud = identity_cloud.Cloud(100_000)
    device = identity_sweep.known(cloud)
    agent = live(device, at_rest)
    ask(device)
    run(agent, on("b"))
    assert cloud.roads[-1] == "certificate" and "asked" not in agent.identity


def test_on_trial_nothing_is_renewed_and_the_request_is_kept_over_a_reset():
    cloud = identity_cloud.Cloud(100_000)
    device = identity_sweep.known(cloud)
    agent = live(device, at_rest)
    ask(device)
    agent.uplink._hear(agent.platform.mqtt.poll(0))
    assert agent.identity["asked"]
    agent.record["update"]["phase"], before = "trial", agent.record["update"]["phase"]
    agent.renew_at = 0
    assert not agent.uplink.may_renew([])
    agent.record["update"]["phase"], agent.record["update"]["slot"] = "staged", "b"
    assert not agent.uplink.may_renew([]), "between activation and reset"
    agent.record["update"]["phase"], agent.record["update"]["slot"] = before, ""
    agent.save()
    live(device, on("b"))


def test_a_download_is_left_alone_until_the_certificate_is_about_to_end():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud, LIFE_S // 10)
    agent = live(device, at_rest)
    agent.record["update"] = dict(agent.update_state, phase="fetching", release={"job": None})
    run(agent, lambda agent: cloud.now(device) > START + 940, 2000)
    assert len(cloud.certificates) == 2
    run(agent, lambda agent: len(cloud.certificates) == 3, 2000)
    assert cloud.now(device) < START + LIFE_S and cloud.roads[-1] == "certificate"


# Reports, and what is lost


def test_a_report_that_waited_is_signed_by_the_key_of_its_time():
    cloud = identity_cloud.Cloud(LIFE_S)
    device = identity_sweep.known(cloud)
    agent = live(device, at_rest)
    claims = dict(agent.module("claims").running(agent) or {}, outcome="failed", seq=900, step=1, reason="x", label="a")
    for name in ("job", "nonce", "target_version", "version"):
        claims[name] = claims.get(name) or "1"
    agent.save(outbox=[claims])
    old = cloud.certificates[1]
    ask(device)
    run(agent, lambda agent: agent.identity["label"] == "b" and at_rest(agent) and not agent.reports())
    from agent import token

    assert token.thumbprint(old["public"]) in cloud.told and cloud.lies == []


def test_a_lost_certificate_is_asked_for_again():
    cloud = identity_cloud.Cloud(100_000)
    device = identity_sweep.known(cloud)
    del device.records["cert.a"]
    live(device, on("a"))
    assert "identity.lost" in names(device) and cloud.lies == [] and device.trace.count("keys.make a") == 0


def test_a_lost_key_waits_for_an_operator_and_says_so():
    cloud = identity_cloud.Cloud(100_000)
    device = identity_sweep.known(cloud)
    agent = live(device, at_rest)
    device.secrets.pop("a")
    agent.platform.mqtt.close()
    agent.uplink.session = {"phase": "offline", "until": 1 << 40, "failures": 0, "since": 0}
    agent.module("doubt").refused(agent, "a", MisuseError("no_key", "a"))
    for _ in range(60):
        agent.platform.clock.sleep_ms(max(1, agent.step(20)))
    assert agent.identity["phase"] == "keyed"
    assert [e for e in device.events if e[0] == "error" and "another_key" in e[1]["detail"]]
