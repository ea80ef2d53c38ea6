# SPDX-License-Identifier: MIT
"""A configuration is checked at once: unknown keys by name, wrong types, bounds, no way to skip verification."""

from agent import config
from expect import misuse

GOOD = {
    "product_key": "pk",
    "device_key": "dk",
    "https": "https://127.0.0.1:8443",
    "mqtt": "mqtts://[::1]:8883",
    "hardware": "sim",
}


def test_defaults_are_filled_in():
    checked = config.check(GOOD)
    assert checked["cloud"] == "decada" and checked["keepalive_s"] == 60 and checked["device_key"] == "dk"
    assert set(checked) == set(config.KEYS)


def test_unknown_keys_are_refused_by_name():
    for name in ("verify", "insecure", "tls_verify", "ca_fil"):
        try:
            config.check(dict(GOOD, **{name: "x"}))
        except config.MisuseError as error:
            assert error.code == "config" and name in error.detail
        else:
            raise AssertionError(name)


def test_missing_and_wrong_values_are_refused():
    for name in GOOD:
        misuse("config", config.check, {k: v for k, v in GOOD.items() if k != name})
    wrong = (
        ("keepalive_s", "60"),
        ("keepalive_s", True),
        ("keepalive_s", 5),
        ("cloud", "aws"),
        ("consent_download", "no"),
    )
    wrong += (("https", "http://h:1"), ("mqtt", "mqtt://h:1"), ("https", "https://h"), ("https", "https://h:x"))
    wrong += (
        ("https", "https://h:0"),
        ("https", "https://h:70000"),
        ("https", "https://:1"),
        ("https", "https://h/x:1"),
    )
    wrong += (("device_key", ""), ("device_key", "a/b"), ("device_key", "a&b"), ("device_key", "x" * 65))
    for name, value in wrong:
        misuse("config", config.check, dict(GOOD, **{name: value}))


class PlainKeys:
    pass


class TpmKeys:
    def attest_begin(self):
        pass


def test_a_tpm_that_the_platform_has_not_is_never_passed_over():
    given = dict(GOOD, keys="tpm")
    assert config.check(given, TpmKeys())["keys"] == "tpm"
    assert config.check(GOOD, PlainKeys())["keys"] == "software"
    misuse("config", config.check, given, PlainKeys())


def test_addresses():
    assert config.address("mqtts://[::1]:8883") == ("::1", 8883)
    assert config.address("https://example.org:1/") == ("example.org", 1)
