# SPDX-License-Identifier: MIT
"""A life for `identity_sweep`: from nothing to a session, by esthesis's registration with a CSR, the power cut at each effect."""

import esthesis_cloud
import identity_sweep
from agent.runtime import Agent
from platform_adapters import memory

IN_USE = {"phase", "label", "tries", "since"}


class Run(identity_sweep.Run):
    def __init__(self, kind, cuts=None):
        self.kind = kind
        self.cloud = cloud = Cloud({"version": "", "sha256": ""})
        config = {"cloud": "esthesis", "device_key": esthesis_cloud.ID, "https": esthesis_cloud.URL, "hardware": "sim"}
        self.device = device = memory.Device(peer=cloud, config=config, anchors=[cloud.authority.root])
        device.epoch_s = esthesis_cloud.NOW
        device.install("a", identity_sweep.FACTORY, {"version": "1.0.0", "sha256": "", "security": 0})
        device.cuts = cuts or {}
        device.tears_records = "mixed"
        self.boots = 0
        self.before_trial = None
        self.problem = ""

    def rests(self, agent):
        return agent.identity["phase"] == "enrolled" and agent.uplink.online and agent.uplink.informed

    def judge(self):
        device, cloud = self.device, self.cloud
        if cloud.lies:
            self.problem = "lies: %s" % cloud.lies
        elif device.secrets.get(self.phase["label"]) is None or len(device.secrets) != 1:
            self.problem = "a lost key"
        elif not device.records["cert." + self.phase["label"]].startswith(cloud.certificate):
            self.problem = "lies: it uses another certificate than the server gave"
        elif Agent(device.power_on()).record["identity"] != self.phase or set(self.phase) != IN_USE:
            self.problem = "the journal says something else: %s" % self.phase
        elif not cloud.sessions:
            self.problem = "stranded: no session"


class Cloud(esthesis_cloud.Cloud):
    sessions = 0
    certificates = ()

    def connect(self, device, login):
        self.sessions += 1
        return super().connect(device, login)

    def measured(self, device, kind, line):
        self.told.append((kind, line))
