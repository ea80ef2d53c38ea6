# SPDX-License-Identifier: MIT
"""What portable tests expect of a failing call; runs on both interpreters."""

from agent.errors import AgentError, DeviceError, MisuseError, RefusedError, UnreachableError


def refused(code, function, *arguments):
    _fails(RefusedError, code, function, arguments)


def misuse(code, function, *arguments):
    _fails(MisuseError, code, function, arguments)


def unreachable(code, function, *arguments):
    _fails(UnreachableError, code, function, arguments)


def device_error(code, function, *arguments):
    _fails(DeviceError, code, function, arguments)


def value_or_agent_error(function, *arguments):
    """The result, or the AgentError itself.  Any other exception passes, and so fails the test."""
    try:
        return function(*arguments)
    except AgentError as error:
        return error


def _fails(kind, code, function, arguments):
    try:
        value = function(*arguments)
    except AgentError as error:
        assert isinstance(error, kind), (kind.__name__, error)
        assert error.code == code, (code, error.code, error.detail)
        return
    raise AssertionError("should have failed with %s but returned %r" % (code, value))
