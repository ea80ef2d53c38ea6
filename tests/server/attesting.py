# SPDX-License-Identifier: MIT
"""A device that speaks the two steps of an attestation; what its TPM says is for the tests."""

from __future__ import annotations

import base64

import requests
from server_client import PATIENCE_S, Device


class AttestingDevice(Device):
    def __init__(self, first, device_key, folder):
        super().__init__(first, device_key, folder)
        self.name = f"{self.product_key}/{device_key}"
        self.by_certificate = False

    def ask(self, path, body=None):
        with requests.Session() as session:
            session.trust_env = False
            if self.by_certificate:
                session.cert = self.identity
            else:
                session.auth = (self.device_key, self.device_secret)
            url = self.first["https"] + "/api/device/v1/" + path
            return session.post(url, json=body, verify=self.ca_file, timeout=PATIENCE_S)

    def nonce(self):
        return self.ask("nonce").json()["nonce"]

    def finish(self, begun, secret):
        return self.ask("attest/" + begun.json()["session"], {"secret": base64.b64encode(secret).decode()})
