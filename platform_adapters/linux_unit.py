# SPDX-License-Identifier: MIT
"""The texts that `trueboot-agent install-service` writes: the unit, its drop-ins, the user.  Pure.

What a unit may do stands in three places, each with a bound of its own, which tests hold it to
(`systemd-analyze security --offline=true`):
  * the unit alone runs an app from its slots: a user of its own, no capability, no device, nothing writable but
    /var/lib/trueboot;
  * `20-tpm.conf` adds one device and its group, and memory that is written and then run: a key in a TPM gets into
    TLS by a callback (docs/tpm.md);
  * `10-tryboot.conf` is for slots that are whole systems: root, the disks, the boot partitions and the reset.

Source: systemd.exec(5), systemd.service(5), sysusers.d(5).
"""

from __future__ import annotations

from collections.abc import Iterable

NAME = "trueboot-agent.service"
USER = "trueboot"
STATE = "/var/lib/trueboot"
CONFIG = "/etc/trueboot"
EXPOSURE_MAX = {"app": 1.5, "tpm": 1.7, "tryboot": 2.2}  # of 10; see the docstring

# Why each line is there: docs/service.md.
UNIT = """\
# Written by `trueboot-agent install-service`, which writes it again: changes belong into a drop-in (systemctl edit).
[Unit]
Description=Trueboot agent
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=%(command)s
Restart=always
RestartSec=1
RestartPreventExitStatus=2 77 78
WatchdogSec=120
TimeoutStartSec=120
TimeoutStopSec=20
User=trueboot
Group=trueboot
StateDirectory=trueboot
StateDirectoryMode=0700
WorkingDirectory=/var/lib/trueboot
UMask=0077
SyslogIdentifier=trueboot-agent

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

TPM = """\
# Written by `trueboot-agent install-service`: the key is in a TPM.
[Service]
MemoryDenyWriteExecute=no
"""

TPM_DEVICE = """\
PrivateDevices=no
DevicePolicy=closed
DeviceAllow=%(device)s rw
SupplementaryGroups=tss
"""

# A crash of a system on trial has to end in a reset: nobody else goes back to the other one.  Five starts, twenty seconds
# apart, leave a person the time to get in.
TRYBOOT = """\
# Written by `trueboot-agent install-service`: the slots are whole systems.
[Unit]
StartLimitIntervalSec=10min
StartLimitBurst=5
StartLimitAction=reboot
RequiresMountsFor=%(mounts)s

[Service]
ExecStart=
ExecStart=%(command)s
Environment=%(config)s
RestartSec=20
RestartPreventExitStatus=
RestartPreventExitStatus=77
User=root
Group=root
StateDirectory=
WorkingDirectory=/
ProcSubset=all
PrivateUsers=no
PrivateDevices=no
DevicePolicy=closed
DeviceAllow=block-mmc rw
DeviceAllow=block-sd rw
DeviceAllow=block-blkext rw
ReadWritePaths=%(writable)s
CapabilityBoundingSet=CAP_SYS_BOOT
"""

SYSUSERS = """\
# Written by `trueboot-agent install-service`.
u %(user)s - "Trueboot agent" %(state)s
%(more)s"""


def quoted(words: Iterable[str]) -> str:
    """A command line, or a list of paths, as systemd reads it."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    word = word.replace("%", "%%")
    if any(character in word for character in " \t\"'\\$;"):
        return '"%s"' % word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return word


def unit(command: Iterable[str]) -> str:
    return UNIT % {"command": quoted(command)}


def tpm(tcti: str) -> str:
    """`tcti`: as in agent.toml.  What is no device (a TPM in software) is reached by a socket, and needs no more."""
    kind, _, device = tcti.partition(":")
    return TPM + (TPM_DEVICE % {"device": quoted([device])} if kind == "device" else "")


def tryboot(command: Iterable[str], config: str, writable: Iterable[str]) -> str:
    """`config`: the file on the data partition."""
    return TRYBOOT % {
        "command": quoted(command),
        "config": quoted(["TRUEBOOT_CONFIG=" + config]),
        "mounts": quoted(sorted({*writable, config.rpartition("/")[0] or "/"})),
        "writable": quoted(sorted(set(writable)) + ["-/run"]),
    }


def sysusers(in_tss: bool) -> str:
    return SYSUSERS % {"user": USER, "state": STATE, "more": "m %s tss\n" % USER if in_tss else ""}
