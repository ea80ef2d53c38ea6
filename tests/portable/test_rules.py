# SPDX-License-Identifier: MIT
import tuf_repo
from agent import rules
from expect import device_error, refused

PATH = "app/sim/1.1.0/app.img"
DEVICE = {"kind": "app", "hardware": "sim", "version": "1.4.0", "capacity": 1000}
IMAGE = b"x" * 300


def target(**custom):
    return tuf_repo.release(IMAGE, **dict({"version": "2.5.0"}, **custom))


def judge(device=DEVICE, **custom):
    return rules.release(PATH, target(**custom), device)


def refuses(code, device=DEVICE, **custom):
    refused(code, rules.release, PATH, target(**custom), device)


def too_big(device=DEVICE, **custom):
    device_error("slot_full", rules.release, PATH, target(**custom), device)


def test_a_release_is_what_signed_data_say():
    found = judge(security=3, note="unknown members do no harm")
    assert found == {
        "target": PATH,
        "length": 300,
        "sha256": tuf_repo.digest(IMAGE),
        "version": "2.5.0",
        "kind": "app",
        "security": 3,
    }


def test_another_kind_is_refused():
    for own in ("app", "firmware", "system"):
        device = dict(DEVICE, kind=own)
        for kind in ("app", "firmware", "system"):
            if kind == own:
                assert judge(device, kind=kind)["kind"] == kind
            else:
                refuses("release_kind", device, kind=kind)
        for kind in ("App", "", None, ["app"], 1):
            refuses("release_kind", device, kind=kind)


def test_another_board_is_refused():
    assert judge(hardware=["other", "sim"])
    for hardware in ([], ["other"], ["SIM"], "sim", {"sim": 1}, None):
        refuses("release_hardware", hardware=hardware)


def test_it_must_fit_into_the_slot():
    assert judge(size=1000)
    too_big(size=1001)
    # An image that is longer than the size it claims needs its length.
    too_big(dict(DEVICE, capacity=299), size=10)
    assert judge(dict(DEVICE, capacity=300), size=0)
    for size in (-1, "300", 3.5, True, None):
        refuses("release", size=size)


def test_the_size_may_be_left_out():
    found = target()
    del found["custom"]["size"]
    assert rules.release(PATH, found, DEVICE)
    device_error("slot_full", rules.release, PATH, found, dict(DEVICE, capacity=299))


def test_only_what_is_newer_unless_an_operator_orders_a_downgrade():
    ordered = dict(DEVICE, downgrade=True)
    for version in ("1.4.0", "1.3.9", "1.4.0-rc.1", "1.4.0+build"):
        refuses("older", version=version)
        assert judge(ordered, version=version)
    assert judge(version="1.4.1-rc.1") and judge(dict(DEVICE, version="no version"), version="0.0.1")
    digest = tuf_repo.digest(IMAGE)
    assert judge(dict(DEVICE, image=digest), version="1.3.0"), "it runs already, and the update machine says so"


def test_what_ran_here_before_need_not_follow_what_runs():
    """Its `requires` was for the way up."""
    digest = tuf_repo.digest(IMAGE)
    back = dict(DEVICE, downgrade=True, previous=digest)
    assert judge(back, version="1.3.0", requires="<1.3.0", prerequisite="9.0.0")
    refuses("release_requires", dict(back, previous="ab" * 32), version="1.3.0", requires="<1.3.0")
    refuses("release_requires", dict(back, downgrade=False), version="2.5.0", requires="<1.3.0")


def test_requires_is_a_range_on_the_running_version():
    for wanted in (">=1.2.0 <2.0.0", "=1.4.0", ">1.3.9", "!=1.4.1", "<=1.4.0"):
        assert judge(requires=wanted)
    for wanted in (">=1.5.0", ">=1.2.0 <1.4.0", "=1.0.0", "!=1.4.0", "<1.4.0 >=1.0.0"):
        refuses("release_requires", requires=wanted)
    assert judge(dict(DEVICE, version="2.0.0-rc.1"), requires="<2.0.0")


def test_a_malformed_range_is_refused_whatever_runs():
    for wanted in ("", "1.2.0", ">=1.2", "^1.0.0", ">= 1.2.0", ">=1.0.0 or", 5, ["=1.4.0"], {}, "x" * 300, False):
        refuses("release", requires=wanted)


def test_a_prerequisite_is_a_stepping_stone():
    for stone in ("1.4.0", "1.3.9", "1.4.0-rc.1", "1.4.0+build.7"):
        assert judge(prerequisite=stone)
    for stone in ("1.4.1", "2.0.0", "1.5.0-rc.1"):
        refuses("release_prerequisite", prerequisite=stone)
    for stone in ("", "1.4", ">=1.0.0", "1.0.0 2.0.0", 1, [], True):
        refuses("release", prerequisite=stone)


def test_what_runs_may_have_no_semantic_version():
    odd = dict(DEVICE, version="build 7")
    assert judge(odd)
    refuses("release_requires", odd, requires=">=0.0.0")
    refuses("release_prerequisite", odd, prerequisite="0.0.0")


def test_what_is_missing_or_of_another_type_is_refused():
    for name in ("kind", "version", "hardware", "security"):
        target = tuf_repo.release(IMAGE)
        del target["custom"][name]
        code = {"kind": "release_kind", "hardware": "release_hardware"}.get(name, "release")
        refused(code, rules.release, PATH, target, DEVICE)
    for version in ("1.1", "v1.1.0", "", 1, None, ["1.1.0"]):
        refuses("release", version=version)
    for security in (-1, "1", 1.0, True, None):
        refuses("release", security=security)
    target = tuf_repo.release(IMAGE)
    for change in (
        {"custom": None},
        {"custom": []},
        {"length": "9"},
        {"length": -1},
        {"length": None},
        {"hashes": {"sha512": "ab" * 64}},
        {"hashes": {"sha256": "AB" * 32}},
        {"hashes": {"sha256": "ab" * 31}},
        {"hashes": {"sha256": 5}},
        {"hashes": None},
    ):
        refused("release", rules.release, PATH, dict(target, **change), DEVICE)
    refused("release", rules.release, "a" * 129, target, DEVICE)
    del target["custom"]
    refused("release", rules.release, PATH, target, DEVICE)


def test_hints_must_agree_where_they_are_given():
    rules.agree({"version": "1.1.0", "length": None}, version="1.1.0", length=300, digest="ab")
    refused("offer", lambda: rules.agree({"version": "1.2.0"}, version="1.1.0"))
    refused("offer", lambda: rules.agree({"length": 301}, length=300))
    refused("offer", lambda: rules.agree({"length": 0}, length=300))
