# SPDX-License-Identifier: MIT
"""A repository without a server: keys, a clock that stands until it is moved, and python-tuf's own client to look at it."""

import hashlib
import json

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Root
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from trueboot_server.clock import now_ms
from trueboot_server.repo import dev, paths, signing
from trueboot_server.repo.online import OnlineKeys
from trueboot_server.repo.published import file_name, split_name
from trueboot_server.repo.repository import Repository
from trueboot_server.state import State

DAY_MS = 24 * 3600 * 1000
IMAGE = b"image" * 1000


def custom_for(path, **more):
    kind, hardware, version, _ = path.split("/")
    return {"kind": kind, "version": version, "hardware": [hardware], "security": 0, "size": 10, **more}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def named(roles):
    return {file_name(json.loads(data)["signed"]["version"], role): data for role, data in roles.items()}


class Clock:
    def __init__(self):
        self.now = now_ms()

    def __call__(self):
        return self.now


class Rig:
    """Not --dev: root, targets and release keys are here, and the server has only its own."""

    def __init__(self, folder, clock=None, publish=True):
        self.clock = clock or Clock()
        self.state = State(folder)
        self.state.open()
        self.root, self.targets, self.release = (CryptoSigner.generate_ecdsa() for _ in range(3))
        online = OnlineKeys(self.state)
        self.online = signing.load_public(online.public_file)
        Repository(self.state.repo, online)
        first = signing.new_root([self.root], [self.targets.public_key], self.online)
        (self.state.repo / "metadata/1.root.json").write_bytes(first)
        self.open()
        if publish:
            self.repository.publish(named({"targets": self.first_targets()}))

    def open(self):
        self.repository = dev.open_repository(self.state, dev=False, clock=self.clock)
        return self.repository

    def close(self):
        self.state.close()

    # Signing

    def first_targets(self, bit_length=5):
        return signing.new_targets([self.targets], [self.release.public_key], bit_length=bit_length)

    def metadata(self, role):
        version = self.repository.published.version(role)
        return self.repository.metadata_file(version, role).read_bytes() if version else None

    def put(self, path, content=IMAGE):
        place = self.repository.targets / paths.stored_name(path, digest(content))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def role_for(self, path):
        return signing.role_for(self.metadata("targets"), path)

    def added(self, *targets, content=IMAGE, signer=None, upload=True, role=None, **custom):
        """{role: next metadata} with these paths in them."""
        roles = {}
        for path in targets:
            if upload:
                self.put(path, content)
            at = role or self.role_for(path)
            before = roles.get(at, self.metadata(at))
            made = signing.add_target(
                before, path, len(content), digest(content), custom_for(path, **custom), [signer or self.release]
            )
            if at in roles:  # one version more is enough
                metadata = signing.read_targets(made)
                metadata.signed.version -= 1
                made = signing.sign(metadata, [signer or self.release])
            roles[at] = made
        return roles

    def add(self, *targets, **more):
        assert self.repository.publish(named(self.added(*targets, **more)))

    def withdrawn(self, path):
        role = self.role_for(path)
        return {role: signing.remove_target(self.metadata(role), path, [self.release])}

    def next_root(self, change, signers, after=None):
        root = signing.read(after or self.metadata("root"), Root)
        root.signed.version += 1
        change(root.signed)
        return signing.sign(root, signers)

    def with_release_key(self, signer, targets_signer=None):
        """targets, and all bins that there are, for another release key."""
        targets = signing.read_targets(self.metadata("targets"))
        targets.signed.version += 1
        targets.signed.revoke_key(self.release.public_key.keyid)
        targets.signed.add_key(signer.public_key)
        bins = [name for name in self.repository.published.delegated() if name != "targets"]
        return {"targets": signing.sign(targets, [targets_signer or self.targets])} | {
            name: signing.renew(self.metadata(name), [signer]) for name in bins
        }


class Here(FetcherInterface):
    """python-tuf's client on a repository without HTTP."""

    def __init__(self, repository):
        self._repository = repository
        self.asked = []

    def _fetch(self, url):
        from urllib.parse import unquote

        kind, _, name = url.removeprefix("http://here/").partition("/")
        name = unquote(name)
        self.asked.append(name)
        if kind == "targets":
            path = self._repository.target_file(name)
        elif name == "timestamp.json":
            return iter([self._repository.published.stamp])
        else:
            found = split_name(name)
            path = self._repository.metadata_file(*found) if found else None
        if path is None:
            raise DownloadHTTPError(url, 404)
        return iter([path.read_bytes()])


def client(repository, folder):
    """It keeps its trusted state in `folder`, as a device does, and begins with the first root."""
    for name in ("metadata", "targets"):
        (folder / name).mkdir(exist_ok=True, parents=True)
    return Updater(
        str(folder / "metadata"),
        "http://here/metadata/",
        str(folder / "targets"),
        "http://here/targets/",
        Here(repository),
        UpdaterConfig(),
        bootstrap=repository.root_file.read_bytes(),
    )


def looked_up(repository, folder):
    """{path: content} of everything that is published, as the client gets it."""
    updater = client(repository, folder)
    updater.refresh()
    found = {}
    for path in repository.published.files:
        info = updater.get_targetinfo(path)
        found[path] = open(updater.download_target(info), "rb").read()
    return found
