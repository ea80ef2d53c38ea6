# SPDX-License-Identifier: MIT
"""A batch: what is wrong is named by row and column, and the good rows go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueboot.flash import batch
from trueboot.problem import Problem

HEAD = "serial,board,group,wifi_ssid,wifi_psk_ref,label_customer\n"


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "batch.csv"
    path.write_bytes(text.encode(encoding))
    return batch.read(path)


def test_rows_with_all_that_they_may_have(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_PSK", "correct horse")
    (tmp_path / "psk").write_text("battery staple\n")
    text = (
        HEAD
        + "RB-1,ESP32_GENERIC,pilot,office,env:BENCH_PSK,Müller & Söhne\nRB-2,,,depot,file:psk,\n\nRB-3,,,guests,,\n"
    )
    found = read(tmp_path, text, "utf-8-sig")
    assert not found.bad
    first, second, third = found.rows
    assert first[1:4] == ("RB-1", "ESP32_GENERIC", "pilot") and first.labels == {"customer": "Müller & Söhne"}
    assert first.wifi == {"networks": [{"ssid": "office", "password": "correct horse"}]}
    assert second.wifi == {"networks": [{"ssid": "depot", "password": "battery staple"}]}
    assert third.wifi == {"networks": [{"ssid": "guests"}]} and third.line == 5


@pytest.mark.parametrize(
    "row, column",
    [
        ("RB 1,,,,,", "serial"),
        (",ESP32_GENERIC,,,,", "serial"),
        ("x" * 65 + ",,,,,", "serial"),
        ("GOOD,,,,,", "serial"),
        ("RB-1,ESP8266,,,,", "board"),
        ("RB-1,,,,env:PATH,", "wifi_ssid"),
        ("RB-1,,," + "x" * 33 + ",,", "wifi_ssid"),
        ("RB-1,,,office,hunter2hunter2,", "wifi_psk_ref"),
        ("RB-1,,,office,env:NOBODY_HAS_SET_THIS,", "wifi_psk_ref"),
        ("RB-1,,,office,file:/nowhere/at/all,", "wifi_psk_ref"),
        ("RB-1,,,office,file:short,", "wifi_psk_ref"),
        ("RB-1,,a\x07b,,,", "group"),
        ("RB-1,,,,," + "x" * 65, "label_customer"),
        ("RB-1,,", "wifi_ssid"),
        ("RB-1,,,,,a,b", "label_customer"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_on(tmp_path, row, column):
    (tmp_path / "short").write_text("1234567")
    found = read(tmp_path, HEAD + "GOOD,,,,,\n" + row + "\nALSO,,,,,\n")
    assert [(bad.line, bad.column) for bad in found.bad] == [(3, column)]
    assert [good.serial for good in found.rows] == ["GOOD", "ALSO"]
    assert "hunter2" not in str(found.bad[0])  # a password that was put there by mistake is not repeated


@pytest.mark.parametrize(
    "text", ["", "board\nx\n", "serial,private_key\na,b\n", "serial,serial\na,b\n", 'serial\n"a\n']
)
def test_a_file_that_is_no_batch(tmp_path, text):
    with pytest.raises(Problem) as told:
        read(tmp_path, text)
    assert told.value.code == "csv_unusable"


def test_another_encoding_is_no_guess(tmp_path):
    with pytest.raises(Problem) as told:
        read(tmp_path, HEAD + "RB-1,,,,,Müller\n", "latin-1")
    assert told.value.code == "csv_unusable"


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("csv", numbered=True) / "batch.csv"
    path.write_bytes((HEAD + text).encode("utf-8", "surrogatepass"))
    try:
        found = batch.read(path)
    except Problem as problem:
        assert problem.code == "csv_unusable"
    else:
        assert len({row.serial for row in found.rows}) == len(found.rows)
