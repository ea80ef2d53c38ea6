# SPDX-License-Identifier: MIT
"""Repositories that delegate, good and attacked, made with python-tuf; `build` adds its cases to those of cases.py."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

from cases import PAST, PATH, Repository
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, SuccinctRoles, Targets

APP = "app/sim/*/*"


class Delegating(Repository):
    """`extra`: {role: Targets}.  The target is moved out of the top-level role."""

    def __init__(self):
        super().__init__()
        self.target = self.targets.targets.pop(PATH)
        self.extra: dict[str, Targets] = {}

    def role(self, name, has_target=False) -> Targets:
        if name not in self.extra:
            self.extra[name] = Targets(expires=self.expires)
            self.signers[name] = [CryptoSigner.generate_ecdsa()]
        if has_target:
            self.extra[name].targets[PATH] = self.target
        return self.extra[name]

    def delegate(self, name, parent="targets", paths=(APP,), prefixes=None, terminating=False, target=False, key=None):
        self.role(name, target)
        above = self.targets if parent == "targets" else self.extra[parent]
        if above.delegations is None:
            above.delegations = Delegations({}, {})
        paths = None if prefixes else list(paths)
        above.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths, prefixes)
        above.add_key((key or self.signers[name][0]).public_key, name)
        return self

    def bins(self, bit_length=5, prefix="bin", listed=True):
        """The target in the hash bin that is its own."""
        key = CryptoSigner.generate_ecdsa()
        succinct = SuccinctRoles([], 1, bit_length, prefix)
        self.targets.delegations = Delegations({}, None, succinct)
        self.targets.add_key(key.public_key)
        name = succinct.get_role_for_target(PATH)
        if listed:
            self.role(name, True)
            self.signers[name] = [key]
        return name

    def bend(self, change):
        self.files["1.targets.json"] = self.sign_anew(self.files["1.targets.json"], "targets", change)

    def publish(self):
        for name, signed in self.extra.items():
            self.announce(name, signed.version)
            self.files[file_name(name, signed.version)] = self.sign(signed, name)
        return super().publish()


def file_name(role, version):
    return "%d.%s.json" % (version, quote(role, safe=""))


def build(case) -> None:
    """`case(name, code, repository)` adds one."""
    sha256 = hashlib.sha256(PATH.encode()).hexdigest()

    def new(name, code="", **options) -> Delegating:
        return case(name, code, Delegating(), **options)

    new("good: a delegated role").delegate("d", target=True).publish()
    r = new("good: a role two delegations below")
    r.delegate("a", paths=["app/*/*/*"]).delegate("b", "a", target=True).publish()
    new("good: path hash prefixes").delegate("d", prefixes=["00", sha256[:3]], target=True).publish()
    for bits in (1, 5, 10, 32):
        r = new("good: %d-bit hash bins" % bits)
        r.bins(bits)
        r.publish()
    r = new("good: two delegations to one role; the second has its keys")
    r.delegate("a", paths=["other/*"]).delegate("b")
    r.delegate("d", "a", key=CryptoSigner.generate_ecdsa()).delegate("d", "b", target=True).publish()
    r = new("good: keys out of order in every file")
    r.delegate("d", target=True).publish()
    r.files = {name: unordered(data) for name, data in r.files.items()}
    r.pinned = unordered(r.pinned)
    for name in ("../../../etc/passwd", "/", "?#%", "a b", "..", "\u00fcml\u00e4ut", "1.root", "x" * 100):
        r = new("good: a role named %r" % name)
        r.delegate(name, target=True).publish()

    new("a path that the delegation does not cover", "none").delegate(
        "d", paths=["app/pico/*/*"], target=True
    ).publish()
    new("a hash prefix that is another's", "none").delegate("d", prefixes=["g" + sha256[1:3]], target=True).publish()
    for pattern in (
        "*",
        "app/*",
        "app/sim/*",
        "app/sim/*/app.im",
        "app/sim/?/*",
        "app?sim/*/*",
        "App/sim/*/*",
        "app/sim/*/*/",
        "/app/sim/*/*",
        "",
    ):
        new("a pattern that does not reach: %r" % pattern, "none").delegate("d", paths=[pattern], target=True).publish()
    for pattern in ("*/*/*/*", "app/sim/1.?.0/a*p.i?g", "app/sim/*/*.img", "a*p/s**m/*/*", PATH):
        new("good: pattern %r" % pattern).delegate("d", paths=["x", pattern], target=True).publish()
    r = new("a terminating role ends the search", "none")
    r.delegate("a", terminating=True).delegate("b", target=True).publish()
    r = new("a terminating role ends the search above it, too", "none", asked=6)
    r.delegate("a").delegate("b", target=True).delegate("c", "a", terminating=True).publish()
    r = new("good: a terminating role's own delegations are searched")
    r.delegate("a", terminating=True).delegate("b").delegate("c", "a", target=True).publish()
    r = new("good: a terminating role that does not cover the path ends nothing")
    r.delegate("a", paths=["x"], terminating=True).delegate("b", target=True).publish()
    r = new("delegations in a circle", "none", asked=6)
    r.delegate("a").delegate("b", "a").delegate("a", "b").publish()
    r = new("delegations too deep", "metadata_limit", asked=4 + 8)
    for depth in range(9):
        r.delegate("d%d" % (depth + 1), "d%d" % depth if depth else "targets", target=depth == 8)
    r.publish()
    r = new("good: eight delegations deep", asked=4 + 8)
    for depth in range(8):
        r.delegate("d%d" % (depth + 1), "d%d" % depth if depth else "targets", target=depth == 7)
    r.publish()
    r = new("delegations to too many", "metadata_limit", asked=4 + 32)
    key = CryptoSigner.generate_ecdsa()
    for number in range(34):
        r.delegate("d%d" % number, key=key, target=number == 33)
        r.signers["d%d" % number] = [key]
    r.publish()
    r = new("good: many delegations, none of them too late", asked=4 + 1)
    r.delegate("first", key=key, target=True)
    r.signers["first"] = [key]
    for number in range(34):
        r.delegate("d%d" % number, key=key)
        r.signers["d%d" % number] = [key]
    r.publish()

    r = new("a delegated role that the snapshot does not list", "metadata_missing", asked=4)
    r.delegate("d", target=True).publish()
    del r.snapshot.meta["d.json"]
    Repository.publish(r)
    r = new("a bin that the snapshot does not list is empty", "none", asked=4)
    r.bins(listed=False)
    r.publish()
    r = new("a delegated role signed by another role's key", "metadata_signature")
    r.delegate("a", paths=["x"]).delegate("d", target=True)
    r.signers["d"] = r.signers["a"]
    r.publish()
    r = new("a delegated role signed by its delegator", "metadata_signature")
    r.delegate("d", target=True)
    r.signers["d"] = r.signers["targets"]
    r.publish()
    r = new("a bin signed by the key of targets", "metadata_signature")
    r.signers[r.bins()] = r.signers["targets"]
    r.publish()
    r = new("a role that one delegator vouches for and another does not", "metadata_signature")
    r.delegate("a", paths=["other/*"]).delegate("b")
    r.delegate("d", "a", target=True).delegate("d", "b", key=CryptoSigner.generate_ecdsa())
    r.publish()
    r = new("one bin in the place of another", "metadata_version")
    name = r.bins()
    r.role("other", True).version = 2
    r.signers["other"] = r.signers[name]
    r.publish()
    r.files[file_name(name, 1)] = r.files["2.other.json"]
    r = new("freeze: an expired delegated role", "metadata_expired")
    r.delegate("d", target=True)
    r.extra["d"].expires = PAST
    r.publish()
    for by in ("snapshot", "file"):
        r = new("rollback of a delegated role, by its " + by, "metadata_version")
        r.delegate("d", target=True)
        r.extra["d"].version = 2
        r.publish().visit()
        r.extra["d"].version = 1 + (by == "file")
        r.bump("snapshot", "timestamp")
        if by == "file":
            r.extra["d"].version = 1
            r.files["2.d.json"] = r.sign(r.extra["d"], "d")
    r = new("a delegated role vanishes from the snapshot", "metadata_version")
    r.delegate("d", target=True).publish().visit()
    del r.snapshot.meta["d.json"]
    del r.extra["d"]
    r.bump("snapshot", "timestamp")
    r = new("good: a delegated role may vanish with the snapshot's keys", "none")
    r.delegate("d", target=True).publish().visit()
    del r.snapshot.meta["d.json"]
    del r.extra["d"]
    r.targets.delegations = None
    r.rotate("snapshot")
    r.bump("targets", "snapshot", "timestamp")

    for name in ("root", "timestamp", "snapshot", "targets", ""):
        r = new("a delegation to a role named %r" % name, "metadata_field", asked=4)
        r.delegate("d", target=True).publish()
        r.bend(lambda d, name=name: d["delegations"]["roles"][0].update(name=name))
    for what, bend in {
        "both paths and prefixes": lambda roles: roles[0].update(path_hash_prefixes=[sha256[:2]]),
        "neither paths nor prefixes": lambda roles: roles[0].pop("paths"),
        "no name": lambda roles: roles[0].pop("name"),
        "a threshold of none": lambda roles: roles[0].update(threshold=0),
        "one key id twice": lambda roles: roles[0].update(keyids=roles[0]["keyids"] * 2),
    }.items():
        r = new("a delegation with " + what, "metadata_field", asked=4)
        r.delegate("d", target=True).publish()
        r.bend(lambda d, bend=bend: bend(d["delegations"]["roles"]))
    r = new("a delegation to keys that are not there", "metadata_signature")
    r.delegate("d", target=True).publish()
    r.bend(lambda d: d["delegations"]["roles"][0].update(keyids=["00" * 32]))
    r = new("hash bins of no bits", "metadata_field", asked=4)
    r.bins()
    r.publish()
    r.bend(lambda d: d["delegations"]["succinct_roles"].update(bit_length=0))


def unordered(data: bytes) -> bytes:
    """The same document with the members of every object the other way round."""

    def turn(value):
        if isinstance(value, dict):
            return {key: turn(value[key]) for key in sorted(value, reverse=True)}
        return [turn(item) for item in value] if isinstance(value, list) else value

    return json.dumps(turn(json.loads(data)), indent=1).encode()
