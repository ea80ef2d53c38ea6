# SPDX-License-Identifier: MIT
"""A device of somebody else's: the unmodified EnOS Python SDK, told what to do line by line.

Runs in the SDK's own virtual environment.  Standard input: one JSON list a line, [verb, argument, ...]; standard output:
one JSON object a line, what the SDK said.  The handlers are those of the SDK's samples.  `connect` is the SDK's way with
a callback, since its other one may wait ten seconds for a CONNACK that came already.
"""

import json
import logging
import sys
import threading
import warnings

warnings.simplefilter("ignore")  # paho's, about the interface that the SDK uses

from enos.core.internal.Profile import Profile  # noqa: E402
from enos.core.login.DynamicActivationLogin import DynamicActivationLogin  # noqa: E402
from enos.core.login.NormalDeviceLogin import NormalDeviceLogin  # noqa: E402
from enos.core.message.IConnectCallback import IConnectCallback  # noqa: E402
from enos.core.MqttClient import MqttClient  # noqa: E402
from enos.message.downstream.ota.OtaUpgradeCommand import OtaUpgradeCommand  # noqa: E402
from enos.message.downstream.tsl.MeasurepointGetCommand import MeasurepointGetCommand  # noqa: E402
from enos.message.downstream.tsl.MeasurepointGetReply import MeasurepointGetReply  # noqa: E402
from enos.message.downstream.tsl.MeasurepointSetCommand import MeasurepointSetCommand  # noqa: E402
from enos.message.downstream.tsl.MeasurepointSetReply import MeasurepointSetReply  # noqa: E402
from enos.message.downstream.tsl.ServiceInvocationCommand import ServiceInvocationCommand  # noqa: E402
from enos.message.downstream.tsl.ServiceInvocationReply import ServiceInvocationReply  # noqa: E402
from enos.message.upstream.ota.OtaGetVersionRequest import OtaGetVersionRequest  # noqa: E402
from enos.message.upstream.ota.OtaProgressReportRequest import OtaProgressReportRequest  # noqa: E402
from enos.message.upstream.ota.OtaVersionReportRequest import OtaVersionReportRequest  # noqa: E402
from enos.message.upstream.resume.MeasurepointResumeBatchRequest import MeasurepointResumeBatchRequest  # noqa: E402
from enos.message.upstream.resume.MeasurepointResumeRequest import MeasurepointResumeRequest  # noqa: E402
from enos.message.upstream.tag.TagDeleteRequest import TagDeleteRequest  # noqa: E402
from enos.message.upstream.tag.TagQueryRequest import TagQueryRequest  # noqa: E402
from enos.message.upstream.tag.TagUpdateRequest import TagUpdateRequest  # noqa: E402
from enos.message.upstream.tsl.AttributeDeleteRequest import AttributeDeleteRequest  # noqa: E402
from enos.message.upstream.tsl.AttributeQueryRequest import AttributeQueryRequest  # noqa: E402
from enos.message.upstream.tsl.AttributeUpdateRequest import AttributeUpdateRequest  # noqa: E402
from enos.message.upstream.tsl.EventPostRequest import EventPostRequest  # noqa: E402
from enos.message.upstream.tsl.MeasurepointPostBatchRequest import MeasurepointPostBatchRequest  # noqa: E402
from enos.message.upstream.tsl.MeasurepointPostRequest import MeasurepointPostRequest  # noqa: E402
from enos.message.upstream.tsl.ModelUpRawRequest import ModelUpRawRequest  # noqa: E402
from enos.message.upstream.tsl.TslTemplateGetRequest import TslTemplateGetRequest  # noqa: E402

_says = threading.Lock()


def say(**what):
    with _says:
        print(json.dumps(what), flush=True)


class Refusals(logging.Handler):
    """A refused CONNECT is told to the SDK's log alone."""

    def emit(self, record):
        if record.getMessage().startswith("bad connection"):
            say(said="refused", text=record.getMessage())


class OnConnect(IConnectCallback):
    def on_connect(self):
        say(said="connected")

    def on_disconnect(self):
        say(said="disconnected")


class Device:
    def __init__(self):
        self.client = None

    # Connections

    def activate(self, url, product_key, product_secret, device_key, ca):
        self._open(DynamicActivationLogin(url, product_key, product_secret, device_key), ca)
        self.client.on_device_dynamic_active = lambda secret: say(said="activated", secret=secret)
        self.client.connect(OnConnect())

    def connect(self, url, product_key, device_key, device_secret, ca, certificate=None, key=None):
        self._open(NormalDeviceLogin(url, product_key, device_key, device_secret), ca, certificate, key)
        self.client.connect(OnConnect())

    def _open(self, login, ca, certificate=None, key=None):
        self.client = MqttClient(profile=Profile.create_instance(login))
        if login.get_server_url().startswith("ssl:"):
            self.client.get_profile().set_ssl_context(ca, certificate, key)

    # Commands, as in the samples

    def handle_upgrades(self, *steps):
        def handler(command, _path):
            firmware = command.get_firmware_info()
            say(said="upgrade", version=firmware.version, url=firmware.file_url, size=firmware.file_size)
            for step in steps:
                self.progress(step, "as told")
            if int(steps[-1]) >= 0:
                self.inform(firmware.version)
            # Nothing is returned, so that no reply is sent.

        self.client.register_arrived_message_handler(OtaUpgradeCommand().get_class(), handler)

    def handle_services(self):
        def handler(command, path):
            given = command.get_params()
            say(said="service", name=path[2], params=given)
            if path[2] != "multiply":
                return ServiceInvocationReply.builder().set_message("unknown service").set_code(2220).build()
            reply = ServiceInvocationReply.builder().add_output_data("result", given["left"] * given["right"])
            return reply.set_code(200).build()

        self.client.register_arrived_message_handler(ServiceInvocationCommand.get_class(), handler)

    def handle_points(self):
        def put(command, _path):
            say(said="set", params=command.get_params())
            return MeasurepointSetReply().builder().set_code(200).set_message("set").build()

        def get(_command, _path):
            # The SDK's own spelling, which its sample gets wrong.
            return MeasurepointGetReply().builder().set_code(200).add_measureponit("temperature", 21).build()

        self.client.register_arrived_message_handler(MeasurepointSetCommand.get_class(), put)
        self.client.register_arrived_message_handler(MeasurepointGetCommand.get_class(), get)

    # Requests

    def inform(self, version):
        self._ask("inform", OtaVersionReportRequest.builder().set_version(version))

    def progress(self, step, description):
        self._ask("progress", OtaProgressReportRequest.builder().set_step(step).set_desc(description))

    def getversion(self):
        self._ask("getversion", OtaGetVersionRequest.builder())

    def post(self, points, time=None):
        self._ask("post", self._points(MeasurepointPostRequest, points, time))

    def post_batch(self, entries):
        built = [self._points(MeasurepointPostRequest, points, time).build() for points, time in entries]
        self._ask("post_batch", MeasurepointPostBatchRequest.builder().set_requests(built))

    def resume(self, points, time):
        self._ask("resume", self._points(MeasurepointResumeRequest, points, time))

    def resume_batch(self, entries):
        built = [self._points(MeasurepointResumeRequest, points, time).build() for points, time in entries]
        self._ask("resume_batch", MeasurepointResumeBatchRequest.builder().set_requests(built))

    def event(self, name, values):
        self._ask("event", EventPostRequest.builder().set_event_identifier(name).add_values(values))

    def attributes(self, verb, given):
        builder = {
            "update": lambda: AttributeUpdateRequest.builder().add_attributes(given),
            "query": lambda: AttributeQueryRequest.builder().add_attributes(given),
            "delete": lambda: AttributeDeleteRequest.builder().delete_attributes(given),
        }[verb]()
        self._ask("attributes", builder)

    def tags(self, verb, given):
        builder = {
            "update": lambda: TagUpdateRequest.builder().add_tags(given),
            "query": lambda: TagQueryRequest.builder().add_keys(given),
            "delete": lambda: TagDeleteRequest.builder().delete_tag_keys(given),
        }[verb]()
        self._ask("tags", builder)

    def template(self):
        self._ask("template", TslTemplateGetRequest.builder())

    def raw(self, hex_bytes):
        request = ModelUpRawRequest.builder().set_payload(bytes.fromhex(hex_bytes)).build()
        say(said="raw", payload=self.client.publish(request).get_payload().hex())

    @staticmethod
    def _points(kind, points, time):
        builder = kind.builder()
        add = getattr(builder, "add_measurepoints", None) or builder.add_measure_points  # post and resume differ
        add(points)
        return builder if time is None else builder.set_timestamp(time)

    def _ask(self, name, builder):
        response = self.client.publish(builder.build())
        say(said=name, code=response.get_code(), data=response.get_data(), message=response.get_message())


def main():
    logging.getLogger("enos").addHandler(Refusals())
    device = Device()
    for line in sys.stdin:
        verb, *given = json.loads(line)
        try:
            getattr(device, verb)(*given)
        except Exception as error:
            say(said=verb, error=repr(error))


if __name__ == "__main__":
    main()
