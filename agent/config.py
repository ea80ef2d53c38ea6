# SPDX-License-Identifier: MIT
"""The configuration of a device: one schema for every platform, checked at once.

Unknown keys are refused by name, defaults are the safe choice, units are in the
names.  Where the values come from (TOML on Linux, JSON on boards) is the
platform's business.  Errors: MisuseError("config").
"""

from agent.errors import MisuseError, RefusedError
from agent.wire.address import address

# name -> (type, default); a default of None: required.
KEYS = {
    "cloud": (str, "decada"),
    "product_key": (str, ""),
    "device_key": (str, None),
    "product_secret": (str, ""),
    "device_secret": (str, ""),
    "https": (str, None),
    "mqtt": (str, ""),
    "mqtt_activate": (str, ""),
    "ca_file": (str, "ca.pem"),
    "root_file": (str, "root.json"),
    "hardware": (str, None),
    "state": (str, "state"),
    "keys": (str, "software"),
    "tpm": (str, ""),
    "slots": (str, "slots"),
    "slots_kind": (str, ""),
    "consent_download": (str, "yes"),
    "consent_activate": (str, "yes"),
    "consent_remote": (str, "no"),
    "consent_deadline_s": (int, 0),
    "window": (str, ""),
    "window_gates": (str, "activate"),
    "auto_update": (str, "off"),
    "auto_update_interval_s": (int, 86_400),
    "auto_update_version": (str, "latest"),
    "bandwidth_bytes_s": (int, 0),
    "encodings": (str, "deflate,patch"),
    "ntp": (str, ""),
    "crl": (str, "auto"),
    "trial_timeout_ms": (int, 120_000),
    "trial_boots": (int, 5),
    "keepalive_s": (int, 60),
    "renew_percent": (int, 66),
    "log": (str, "json"),
    "reset": (str, "exec"),
}
CHOICES = {
    "cloud": ("decada", "esthesis"),
    "auto_update": ("off", "check", "download", "install"),
    "consent_download": ("yes", "ask"),
    "consent_activate": ("yes", "ask"),
    "consent_remote": ("no", "accept"),
    "window_gates": ("activate", "both"),
    "log": ("json", "text"),
    "keys": ("software", "tpm"),
    "slots_kind": ("", "app", "firmware", "system"),
    "reset": ("exec", "exit"),
    "crl": ("auto", "off"),
}
BOUNDS = {
    "auto_update_interval_s": (300, 2_592_000),
    "consent_deadline_s": (0, 31_536_000),
    "trial_timeout_ms": (1000, 3_600_000),
    "trial_boots": (1, 10),
    "keepalive_s": (10, 300),
    "bandwidth_bytes_s": (0, 1 << 30),
    "renew_percent": (10, 95),
}
ENCODINGS = ("deflate", "patch")  # of images on their way; see agent/wire/encoded.py
LEAST_BANDWIDTH_BYTES_S = 1024
_KEY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


class _Decada:
    KEYS = {}
    REQUIRED = ("product_key", "mqtt")

    @staticmethod
    def check(config):
        pass


def check(given, keys=None):
    """A complete configuration from `given`, or MisuseError("config") that names the key and what to do.

    `keys`: the platform's key store, of which more may be asked than it can do.
    """
    config = {}
    dialect = _Decada
    if given.get("cloud") == "esthesis":
        from agent.clouds import esthesis_config as dialect
    for name in given:
        if name not in KEYS and name not in dialect.KEYS:
            known = ", ".join(sorted(list(KEYS) + list(dialect.KEYS)))
            raise MisuseError("config", "unknown key %s; known: %s" % (name, known))
    for name in list(KEYS) + list(dialect.KEYS):
        kind, default = KEYS.get(name) or dialect.KEYS[name]
        value = given.get(name, default)
        if value is None or (value == "" and name in dialect.REQUIRED):
            raise MisuseError("config", "key %s is missing" % name)
        if type(value) is not kind:
            raise MisuseError("config", "key %s must be %s" % (name, "a text" if kind is str else "a whole number"))
        if name in CHOICES and value not in CHOICES[name]:
            raise MisuseError("config", "key %s must be one of: %s" % (name, ", ".join(CHOICES[name])))
        if name in BOUNDS and not BOUNDS[name][0] <= value <= BOUNDS[name][1]:
            raise MisuseError("config", "key %s must be from %d to %d" % ((name,) + BOUNDS[name]))
        config[name] = value
    if config["keys"] == "tpm" and keys and not hasattr(keys, "attest_begin"):
        raise MisuseError("config", 'this platform has no TPM: key keys must be "software"')
    dialect.check(config)
    for name in ("product_key", "device_key"):
        value = config[name]
        if not value and name not in dialect.REQUIRED and name != "device_key":
            continue  # the service tells
        # The characters and the length that EnOS gives a key; they also keep a CN and a topic unambiguous.
        if not 0 < len(value) <= 64 or [c for c in value if c not in _KEY_CHARACTERS]:
            raise MisuseError("config", "key %s must be 1 to 64 letters, digits, '-', '_' or '.'" % name)
    if 0 < config["bandwidth_bytes_s"] < LEAST_BANDWIDTH_BYTES_S:
        raise MisuseError("config", "key bandwidth_bytes_s must be 0, for no limit, or at least 1024")
    if config["auto_update_version"] != "latest":
        from agent import version

        try:
            version.parse(config["auto_update_version"])
        except RefusedError as error:
            raise MisuseError("config", "key auto_update_version is latest or a version: " + error.detail)
    if config["ntp"]:
        ntp_address(config["ntp"])
    for name in config["encodings"].split(",") if config["encodings"] else ():
        if name not in ENCODINGS:
            raise MisuseError("config", "key encodings must be empty or name, with commas: " + ", ".join(ENCODINGS))
    if config["window"]:
        from agent import window

        window.parse(config["window"])
    for name, scheme in (("https", "https://"), ("mqtt", "mqtts://"), ("mqtt_activate", "mqtts://")):
        value = config[name]
        if value or name == "https":
            if not value.startswith(scheme):
                raise MisuseError("config", "key %s must begin with %s" % (name, scheme))
            address(value)
    return config


def ntp_address(text):
    """(host, port) of host or host:port.  An IPv6 literal stands in brackets, and takes a port."""
    return address("ntp://" + text if ":" in text else "ntp://%s:123" % text)
