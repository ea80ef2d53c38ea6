# SPDX-License-Identifier: MIT
"""`trueboot-agent forget-identity --yes`: a device loses its identity, and may get another one.

What goes: device secret, certificates, keys.  What stays: the configuration, what runs, what is trusted for releases,
the security floor, the roots that the CA vouched for.  At its next start the device begins like a new one; its server
lets it do so only after an operator's order (`trueboot device replace`), or with a secret that it does not know yet.

A power cut leaves a device that rests as one that was revoked, and the verb may be given again: the journal says so
before anything goes, and says that all is new after everything went.  A key is never used for two identities.
"""

from __future__ import annotations

import os
from typing import Any

from agent import identity, journal
from platform_adapters.linux_install import become_owner, platform_of
from platform_adapters.linux_service import Stop, take

FAILED = 1
LABELS = ("a", "b")


def forget(config: dict[str, Any], agreed: bool) -> int:
    if not agreed:
        raise Stop(FAILED, "nothing was done: it cannot be undone, say --yes when you are sure")
    become_owner(config["state"])
    lock = take(config["state"])
    try:
        _forget(config)
    finally:
        os.close(lock)
    print("forgotten: secret, certificates and keys; the next start enrols anew, if the server agrees")
    return 0


def _forget(config: dict[str, Any]) -> None:
    platform = platform_of(config)
    store, record = platform.store, journal.load(platform.store)
    if "identity" in record:
        resting = {"phase": identity.REVOKED, "label": "a", "tries": 0, "reason": "forgotten"}
        journal.save(store, {**record, "identity": resting})
    for label in LABELS:
        store.drop("cert." + label)
        platform.keys.drop(label)
    store.drop("secret")
    if "identity" in record:
        journal.save(store, {**record, "identity": identity.initial()})
