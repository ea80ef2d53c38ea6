# SPDX-License-Identifier: MIT
"""A TUF repository in RAM, and a device that visits it; runs on both interpreters.

Its signatures are hashes with the public key, which anybody could make: they
cost nothing, so that thousands of visits can be paid.  Real signatures, made by
the reference implementation, are in tests/trust.
"""

import hashlib
from binascii import hexlify

from agent.errors import AgentError
from agent.trust.walk import LIMITS, Walk

NOW = 1780000000  # 2026-05-28
FAR = "2030-01-01T00:00:00Z"
PAST = "2026-05-01T00:00:00Z"
TOP = ("root", "timestamp", "snapshot", "targets")
TARGET = {"custom": {"version": "1.1.0"}, "hashes": {"sha256": "ab" * 32}, "length": 9}


def dump(value):
    """JSON as TUF signs it."""
    if isinstance(value, dict):
        return "{" + ",".join([dump(key) + ":" + dump(value[key]) for key in sorted(value)]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([dump(item) for item in value]) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def copy(value):
    if isinstance(value, dict):
        return {key: copy(value[key]) for key in value}
    return [copy(item) for item in value] if isinstance(value, list) else value


def public(name):
    return hashlib.sha256(name.encode()).digest()


def key(name):
    return {"keytype": "ed25519", "keyval": {"public": hexlify(public(name)).decode()}, "scheme": "ed25519"}


def sign(signed, names):
    """The bytes of a file, signed with the keys of these names."""
    digest = hashlib.sha256(dump(signed).encode()).digest()
    signatures = [
        {"keyid": name, "sig": hexlify(hashlib.sha256(public(name) + digest).digest()).decode()} for name in names
    ]
    return dump({"signatures": signatures, "signed": signed}).encode()


def verify(key_type, scheme, point, message, signature):
    return signature == hashlib.sha256(point + message.sha256()).digest()


class Repository:
    """`signed`: {role: what is signed}      `signers`: {role: [names of keys]}      `files`: what is published"""

    def __init__(self, member=True):
        """`member`: whether timestamps say when they were issued and what the newest root is."""
        self.member = member
        self.signers = {role: [role + " key"] for role in TOP}
        self.signed = {role: self.role(role) for role in TOP}
        root = self.signed["root"]
        root["consistent_snapshot"] = True
        root["keys"] = {role + " key": key(role + " key") for role in TOP}
        root["roles"] = {role: {"keyids": [role + " key"], "threshold": 1} for role in TOP}
        self.signed["targets"]["targets"] = {"a/b": copy(TARGET)}
        self.files = {}
        self.root_signers = self.signers["root"]
        self.publish()

    def role(self, kind):
        made = {"_type": kind, "expires": FAR, "spec_version": "1.0.31", "version": 1}
        if kind == "targets":
            made["targets"] = {}
        return made

    def delegate(self, parent, name, paths=("*/*",), **more):
        """Delegate to a role, which is made if there is none of this name."""
        if name not in self.signed:
            self.signed[name] = self.role("targets")
            self.signers[name] = [name + " key"]
        delegations = self.signed[parent].setdefault("delegations", {"keys": {}, "roles": []})
        delegations["keys"][name + " key"] = key(name + " key")
        role = {"keyids": [name + " key"], "name": name, "terminating": False, "threshold": 1}
        if paths is not None:
            role["paths"] = list(paths)
        role.update(more)
        delegations["roles"].append(role)

    def bins(self, bit_length, parent="targets"):
        self.signed[parent]["delegations"] = {
            "keys": {"bin key": key("bin key")},
            "succinct_roles": {"bit_length": bit_length, "keyids": ["bin key"], "name_prefix": "bin", "threshold": 1},
        }

    def rotate(self, *roles):
        """The next root, with a new key for each of these roles."""
        root = self.signed["root"]
        root["version"] += 1
        self.root_signers = list(self.signers["root"])
        for role in roles:
            name = "%s key %d" % (role, root["version"])
            root["keys"][name] = key(name)
            root["roles"][role]["keyids"] = self.signers[role] = [name]
        for name in self.signers["root"]:
            if name not in self.root_signers:
                self.root_signers.append(name)
        self.files["%d.root.json" % root["version"]] = sign(root, self.root_signers)

    def bump(self, *roles):
        """Publish the next versions of these roles, and of those that announce them."""
        for role in roles:
            self.signed[role]["version"] += 1
        self.publish()

    def publish(self):
        signed = self.signed
        meta = {name + ".json": {"version": signed[name]["version"]} for name in signed if name not in TOP[:3]}
        signed["snapshot"]["meta"] = meta
        signed["timestamp"]["meta"] = {"snapshot.json": {"version": signed["snapshot"]["version"]}}
        if self.member:
            signed["timestamp"]["trueboot"] = {"issued": "2026-05-20T00:00:00Z", "root": signed["root"]["version"]}
        self.write()

    def write(self):
        for role in self.signed:
            data = sign(self.signed[role], self.root_signers if role == "root" else self.signers[role])
            name = role.replace("/", "%2F") + ".json"
            self.files[name if role == "timestamp" else "%d.%s" % (self.signed[role]["version"], name)] = data


class Device:
    """`stored`: what survives a power cut."""

    def __init__(self, root, fresh=True, now=NOW):
        self.stored = {"root": root}
        self.fresh = fresh
        self.now = now
        self.base = None
        self.walk = None

    @staticmethod
    def of(stored):
        """A device of which no more is left."""
        device = Device(None)
        device.stored = dict(stored)
        return device

    def visit(self, files, path="a/b", keep=True):
        """ "" when the target was found, "none" when there is none, else the code of the refusal."""
        self.asked, self.checks, self.walk = [], 0, None
        try:
            self.walk = Walk(dict(self.stored), self.now, self.verify, fresh=self.fresh, base=self.base)
            self.feed(files)
            self.walk.seek(path)
            self.feed(files)
            return "" if self.walk.target == TARGET else "none" if self.walk.target is None else "another target"
        except AgentError as error:
            return error.code
        finally:
            self.taken = self.walk.take() if self.walk else []
            if keep:
                self.keep(self.taken)

    def keep(self, taken):
        for name, data in taken:
            self.stored[name] = data

    def feed(self, files):
        wanted = self.walk.wanted()
        while wanted:
            name, most_bytes = wanted
            assert most_bytes <= max(LIMITS.values())
            self.asked.append(name)
            self.walk.feed(files.get(name))
            wanted = self.walk.wanted()

    def verify(self, *arguments):
        self.checks += 1
        return verify(*arguments)

    def version(self, role):
        """Of a stored copy."""
        data = self.stored[role]
        at = data.rfind(b'"version":')
        return int(data[at + 10 :].split(b"}")[0])
