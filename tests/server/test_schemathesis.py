# SPDX-License-Identifier: MIT
"""The operator's interface against its own description: Schemathesis makes requests of it, good ones and bad ones.

No road fails, every answer has a status and a form that the description names, and what is not as described is refused.
Bounded: a few examples for each road, the same ones each time.
"""

import hypothesis
import pytest
import schemathesis
from digest import digest
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from server_client import Operator, ServerThread

from trueboot_server.limits import Limits

EXAMPLES = 6
SEED = 6
CHECKS = [
    not_a_server_error,
    negative_data_rejection,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# A long poll takes its time, and a file of a repository is as long as it comes.
LEFT_OUT = ("/api/v1/repo/targets/{path}",)
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = Limits(long_poll_s=0.01, failed_proofs=1_000_000, command_timeout_s=0.05, nonce_asks=1_000_000)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits, faults=True)
    operator = Operator(running.first)
    operator.publish("app/sim/1.0.0/app.img", b"image" * 100)
    operator.post("/api/v1/devices", {"device_key": "a"})
    yield running
    running.stop()


def operations(document, url):
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path not in LEFT_OUT:
            yield operation


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as described", "otherwise"])
def test_no_road_does_what_it_does_not_say(server, mode):
    document = Operator(server.first).get("/api/openapi.json")
    token, ca, url = (server.first[name] for name in ("admin_token", "ca_file", "https"))
    tried, problems, before = 0, [], digest(server)
    for operation in operations(document, url):
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # names in a path are texts, as everything is; what a query has too much is passed over

        @SETTINGS
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def try_it(case):
            answer = case.call(headers={"Authorization": f"Bearer {token}"}, verify=ca)
            case.validate_response(answer, checks=CHECKS)

        try:
            try_it()
        except BaseException as problem:  # all of them are told, not the first only
            if isinstance(problem, KeyboardInterrupt):
                raise
            problems.append(f"{operation.label}: {problem}"[:1500])
        tried += 1
    assert tried > 10
    assert not problems, "\n\n".join(problems)
    if mode is GenerationMode.NEGATIVE:
        assert digest(server) == before
    assert '"event":"fault"' not in server.log() and "Traceback" not in server.log()
