# SPDX-License-Identifier: MIT
"""The peer on MicroPython: a bare streamed download by mutual TLS, 4 KB at a time, hashed and stored.  Trusts the answer."""

import binascii
import hashlib
import json
import socket
import time

import tls


def contents(name):
    with open(name, "rb") as file:
        return file.read()


def main():
    config = json.loads(contents("bench.json"))
    start = time.ticks_ms()
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED
    context.load_verify_locations(contents(config["ca"]))
    context.load_cert_chain(contents(config["certificate"]), contents(config["key"]))
    raw = socket.socket()
    raw.connect(socket.getaddrinfo(config["host"], config["port"])[0][-1])
    stream = context.wrap_socket(raw, server_hostname=config["host"])
    stream.write(("GET %s HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (config["path"], config["host"], config["port"])).encode())
    while True:
        line = stream.readline()
        if line == b"\r\n":
            break
        if line.lower().startswith(b"content-length:"):
            left = int(line[15:])
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(4096))
    with open("plain.bin", "wb") as target:
        while left:
            piece = buffer[: stream.readinto(buffer[: min(4096, left)])]
            digest.update(piece)
            target.write(piece)
            left -= len(piece)
    stream.close()
    duration = time.ticks_diff(time.ticks_ms(), start)
    print(json.dumps({"sha256": binascii.hexlify(digest.digest()).decode(), "ms": duration}))


main()
