# SPDX-License-Identifier: MIT
"""Configuration keys of the `esthesis` dialect, and what they must be.  Loaded with `agent.config` where they count."""

from agent.errors import MisuseError

REQUIRED = ()  # what `decada` cannot go without, the service tells here: product_key, mqtt

KEYS = {
    "registration_secret": (str, ""),
    "tags": (str, ""),
    "attributes": (str, ""),
    "esthesis_api": (str, "/api/v1"),
    "esthesis_foreign_key": (str, "refuse"),
    "esthesis_packages": (str, "signed"),
    "esthesis_script": (str, ""),
    "mqtt_plaintext": (str, "refuse"),
    "commands": (str, "fph"),
    "programs": (str, ""),
    "shutdown_program": (str, ""),
    "program_timeout_s": (int, 60),
    "ping_interval_s": (int, 60),
    "health_interval_s": (int, 300),
}
CHOICES = {
    "esthesis_api": ("/api/v1", "/api/agent/v1"),
    "esthesis_foreign_key": ("refuse", "accept"),
    "esthesis_packages": ("signed", "unsigned-by-script"),
    "mqtt_plaintext": ("refuse", "i-accept-unencrypted"),
}
BOUNDS = {"program_timeout_s": (1, 3600), "ping_interval_s": (0, 86_400), "health_interval_s": (0, 86_400)}
_HARDWARE_ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


def check(config):
    """MisuseError("config")."""
    for name in CHOICES:
        if config[name] not in CHOICES[name]:
            raise MisuseError("config", "key %s must be one of: %s" % (name, ", ".join(CHOICES[name])))
    for name in BOUNDS:
        if not BOUNDS[name][0] <= config[name] <= BOUNDS[name][1]:
            raise MisuseError("config", "key %s must be from %d to %d" % ((name,) + BOUNDS[name]))
    name = config["device_key"]
    if len(name) < 3 or [c for c in name if c not in _HARDWARE_ID]:
        raise MisuseError("config", "key device_key is the hardware id here: 3 to 64 letters, digits, '-' or '_'")
    letters = config["commands"]
    if [c for c in letters if c not in "efrsph" or letters.count(c) > 1]:
        raise MisuseError("config", "key commands names some of e, f, r, s, p, h, each once")
    for path in programs(config) + ([config["shutdown_program"]] if config["shutdown_program"] else []):
        if path[:1] != "/" or " " in path or "/../" in path:
            raise MisuseError("config", "keys programs and shutdown_program name programs by absolute paths")

    if config["esthesis_packages"] != "signed":
        try:  # by name: boards have no such file
            policy = __import__("agent.clouds.esthesis_unsigned", None, None, ("check",))
        except ImportError:
            raise MisuseError("config", 'this platform runs no scripts: key esthesis_packages must be "signed"')
        policy.check(config)


def programs(config):
    return config["programs"].split(",") if config["programs"] else []
