# SPDX-License-Identifier: MIT
from agent.version import compare, parse, satisfies
from expect import refused

# semver.org, clause 11.4.4
ASCENDING = (
    "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 "
    "1.0.1 1.1.0 1.2.0 1.10.0 2.0.0"
).split()


def test_parts():
    assert parse("1.20.300-rc.1.x-y+sha.0017") == (1, 20, 300, ("rc", 1, "x-y"), ("sha", "0017"))
    assert parse("0.0.0") == (0, 0, 0, (), ())
    assert parse("1.0.0--")[3] == ("-",)
    assert parse("1.0.0+a-b")[4] == ("a-b",)


def test_precedence_is_that_of_the_specification():
    for i, older in enumerate(ASCENDING):
        assert compare(older, older) == 0
        for newer in ASCENDING[i + 1 :]:
            assert compare(older, newer) == -1
            assert compare(newer, older) == 1


def test_build_metadata_have_no_rank():
    assert compare("1.0.0+a", "1.0.0+b") == 0


def test_what_is_no_version_is_refused():
    for text in (
        "", "1", "1.2", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3+", "1.2.3-01", "1.2.3-a..b",
        "1.2.3-a_b", "1.2.3+a+b", "v1.2.3", " 1.2.3", "1.2.3\n", "-1.2.3", "1.2.x", "\u0661.2.3", "1.2.3-\u00e9",
    ):  # fmt: skip
        refused("version_syntax", parse, text)
    for thing in (None, 1, b"1.2.3", ("1", "2", "3")):
        refused("version_syntax", parse, thing)


def test_length_is_bounded():
    assert parse("1.2." + "3" * 60)[2] == int("3" * 60)
    refused("version_syntax", parse, "1.2." + "3" * 61)
    refused("version_syntax", satisfies, "1.2.3", ">=1.0.0 " * 33)


def test_ranges():
    for version, wanted, verdict in (
        ("1.2.0", ">=1.2.0 <2.0.0", True),
        ("1.9.9", ">=1.2.0 <2.0.0", True),
        ("2.0.0", ">=1.2.0 <2.0.0", False),
        ("1.1.9", ">=1.2.0 <2.0.0", False),
        ("2.0.0-rc.1", "<2.0.0", True),
        ("1.2.3", "=1.2.3", True),
        ("1.2.3", "!=1.2.3", False),
        ("1.2.4", "!=1.2.3 >1.2.3 <=1.2.4", True),
    ):
        assert satisfies(version, wanted) is verdict, (version, wanted)


def test_what_is_no_range_is_refused():
    for wanted in (
        "",
        " ",
        "1.2.3",
        "==1.2.3",
        ">=1.2",
        ">= 1.2.3",
        "=>1.2.3",
        "<>1.2.3",
        "<9.0.0 ~1.2.3",
        "^1.0.0",
        None,
    ):
        refused("version_syntax", satisfies, "1.2.3", wanted)


def test_a_false_condition_does_not_hide_a_malformed_one():
    refused("version_syntax", satisfies, "1.2.3", ">9.0.0 nonsense")
