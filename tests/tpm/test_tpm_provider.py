# SPDX-License-Identifier: MIT
"""The OpenSSL provider road, with the provider that this machine has: it works, or is refused with its version.

In a process of its own, since what OpenSSL has loaded stays.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
MODULES = ("/usr/lib/*/ossl-modules/tpm2.so", "/usr/lib64/ossl-modules/tpm2.so")
SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import contract_keys
from agent.errors import DeviceError
from platform_adapters.keystores import tpm, tpm_link
from platform_adapters.keystores.store import KeyStore
keys = KeyStore(tpm.TpmBackend(Path(sys.argv[1]) / "keys", tpm_link.Link(sys.argv[2])), roads=("provider",))
world = contract_keys.World(Path(sys.argv[1]))
for version in contract_keys.VERSIONS:
    for check in (contract_keys.check_requests, contract_keys.check_paho, contract_keys.check_many_sessions_one_key):
        try:
            check(keys, world, version)
        except DeviceError as error:
            print(error)
            sys.exit(9)
print(keys.tls_road())
"""


def test_the_provider_road(tmp_path, chip):
    if not [path for pattern in MODULES for path in Path("/").glob(pattern[1:])]:
        pytest.skip("tpm2-openssl is not installed")
    folders = [str(TESTS / "contract"), str(TESTS / "portable")]
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), chip.tcti, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    if done.returncode == 9:
        found = re.search(r"tls_road: .*provider: the OpenSSL provider tpm2 (\d+)\.(\d+)", done.stdout)
        assert found and (int(found[1]), int(found[2])) < (1, 3), done.stdout
    else:
        assert (done.returncode, done.stdout) == (0, "provider\n"), done.stdout + done.stderr


def test_without_the_provider_or_its_tpm_the_reason_is_told(tmp_path, chip):
    script = SCRIPT.replace("keys = KeyStore", "tpm.PROVIDER = 'no-such-provider'\nkeys = KeyStore")
    folders = [str(TESTS / "contract"), str(TESTS / "portable")]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), chip.tcti, *folders], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 9 and "no OpenSSL provider no-such-provider" in done.stdout, done.stdout + done.stderr
