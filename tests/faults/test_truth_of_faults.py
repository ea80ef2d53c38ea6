# SPDX-License-Identifier: MIT
"""After all those faults: no log, journal, boot record or event of any device, nor the server's log, holds a secret.

Looks at whatever the other tests of this folder have left behind, and at one device with a wrong secret of its own.
"""

import json

from rig import configuration, configure
from spy import holds, number_shapes, shapes, unwrapped
from test_truth import private_numbers


def test_no_secret_in_what_faults_made_anybody_say(rig):
    info = rig.server_info
    secrets = {name: shapes(info[name].encode()) for name in ("product_secret", "admin_token", "secret_key")}
    wrong = rig.device("cpython", secret="canary-of-a-wrong-product-secret")
    secrets["wrong product secret"] = shapes(b"canary-of-a-wrong-product-secret")
    wrong.power_on()
    assert rig.wait(wrong, "error")["code"] == "mqtt_refused"
    unknown = rig.device("cpython")
    configure(unknown, password="canary-under-an-unknown-key")
    secrets["value of an unknown key"] = shapes(b"canary-under-an-unknown-key")
    unknown.power_on()
    assert rig.wait_off(unknown) == 78
    assert "unknown key password" in unknown.last_words()
    assert "canary" in configuration(unknown).read_text()

    places = {"events": json.dumps(rig.events).encode(), "server": (rig.folder / "server.log").read_bytes()}
    for folder in sorted((rig.folder / "devices").iterdir()):
        state = folder / "state"
        if (state / "store" / "secret").exists():
            secrets["device secret of " + folder.name] = shapes((state / "store" / "secret").read_bytes())
        for number in private_numbers(state / "keys").values():
            secrets["key of " + folder.name] = number_shapes(number)
        kept = [
            folder / "stderr.log",
            *state.glob("boot.*"),
            *state.glob("store/journal.*"),
            *state.glob("store/telemetry"),
        ]
        places |= {str(path): path.read_bytes() for path in kept if path.exists()}
    everything = b"\x00".join(places.values())
    everything += unwrapped(everything)
    for name, forms in secrets.items():
        if any(form in everything for form in forms):
            raise AssertionError((name, [place for place, data in places.items() if holds(data, forms)]))
    assert len(places) > 4
