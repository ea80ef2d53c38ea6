# SPDX-License-Identifier: MIT
"""Every limit on what a peer can make the server do, by name and unit.

A test that wants a smaller one passes its own `Limits`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    # MQTT
    connect_packet_bytes: int = 4 * 1024
    packet_bytes: int = 512 * 1024  # what EnOS documents
    connect_timeout_s: float = 10.0  # from the TLS handshake to a complete CONNECT
    handshake_timeout_s: float = 10.0
    shutdown_timeout_s: float = 5.0
    activation_session_s: float = 30.0
    keepalive_max_s: int = 3600
    connections: int = 12_000
    inflight_messages: int = 20  # QoS 1 messages sent and not yet acknowledged, per device
    queue_messages: int = 100  # waiting behind them
    queue_bytes: int = 1024 * 1024
    subscriptions: int = 50
    filter_bytes: int = 256
    messages_per_s: int = 200  # above it the device's socket is read more slowly

    # HTTPS
    https_connections: int = 2_000
    https_idle_s: float = 30.0  # until a request's head is complete, and between requests
    json_body_bytes: int = 64 * 1024
    csr_body_bytes: int = 16 * 1024
    metadata_body_bytes: int = 4 * 1024 * 1024  # all that is published together; each file has the devices' limit
    target_bytes: int = 256 * 1024 * 1024
    body_timeout_s: float = 30.0  # for the small bodies
    upload_idle_s: float = 60.0  # between two pieces of a target
    encoded_image_bytes: int = 16 * 1024 * 1024  # above it images are sent as they are; bsdiff takes 17 times as much
    encoding_wait_s: float = 5.0  # of a request, for deflate to be made
    encodings_waiting: int = 16  # bodies that are being made or wait for their turn
    encodings_bytes: int = 256 * 1024 * 1024  # kept on disk
    patch_memory_bytes: int = 1024 * 1024 * 1024  # of the process that makes one
    patch_s: float = 300.0
    long_poll_s: float = 60.0
    page_rows: int = 1000

    # EnOS's HTTP device protocol, and downloads without a certificate
    http_sessions: int = 12_000
    http_session_s: float = 3600.0  # the longest silence that a device may ask for
    http_command_bytes: int = 4 * 1024  # of a command that rides in a header
    tickets: int = 12_000
    ticket_life_s: float = 3600.0

    # Proofs
    failed_proofs: int = 20  # per source address and window
    failed_proofs_window_s: float = 60.0
    failed_proofs_addresses: int = 10_000
    nonce_life_s: float = 300.0
    nonces_taken: int = 100_000  # remembered until they would have expired
    registrations: int = 600  # per source address and window, as esthesis's devices do
    registrations_window_s: float = 60.0
    nonce_asks: int = 600  # per source address and window: many devices may stand behind one
    nonce_asks_window_s: float = 60.0
    status_questions: int = 60  # how a certificate stands, per source address and window
    status_window_s: float = 60.0
    attestation_s: float = 60.0  # from the statement to the opened credential
    attestations: int = 1_000  # under way, one a device

    # What is kept
    events: int = 20_000
    reports_per_key: int = 200
    points_per_device: int = 256
    point_bytes: int = 4 * 1024
    points_per_message: int = 256
    samples_per_batch: int = 256
    attributes_per_device: int = 256
    attributes_bytes: int = 16 * 1024  # all of a device's, as JSON
    tags_per_device: int = 64
    told_bytes: int = 4 * 1024  # of an event, a log or raw bytes that a device tells
    text_chars: int = 256  # desc, reason, version: whatever a device writes as text
    report_bytes: int = 4 * 1024

    # Jobs and commands
    pushes_per_attempt: int = 20
    attempt_timeout_s: int = 7200
    command_timeout_s: float = 60.0
    commands_pending_per_device: int = 50
    packages: int = 1000
    queries: int = 5  # of one device, for what there is for it
    queries_window_s: float = 300.0
    queries_remembered: int = 20_000
    commands_kept: int = 50  # of one device that speaks esthesis, with their replies
    command_output_chars: int = 64 * 1024
    command_chars: int = 1024  # of a command and of its arguments
    registration_body_bytes: int = 16 * 1024
    devices_per_job: int = 10_000
    campaign_body_bytes: int = 1024 * 1024  # it may name its devices
    campaigns_open: int = 200  # not ended, at once
    devices_per_product: int = 10_000

    # Certificates
    certificate_life_s: int = 730 * 24 * 3600  # where the product does not say otherwise
    crl_life_s: int = 24 * 3600  # a new one is made at half of it, and at every revocation
    ocsp_life_s: int = 3600  # of an answer
    ocsp_body_bytes: int = 4 * 1024
    certificates_live: int = 2
    certificate_overlap_s: int = 24 * 3600  # a superseded certificate may still log in for this long

    # EnOS's REST interface
    enos_token_s: int = 7200
    enos_clock_s: int = 900  # between a caller's clock and ours
    enos_proofs: int = 4096  # remembered, so that none counts twice
    enos_document_bytes: int = 8 * 1024  # a device's name in many languages, as JSON
    enos_csr_chars: int = 16 * 1024
    enos_firmware_bytes: int = 32 * 1024 * 1024  # of one upload, in memory; the release itself is uploaded elsewhere
    enos_firmwares: int = 1000  # of one product

    # Operators
    operator_tokens: int = 1_000  # revoked ones included
    token_life_max_s: int = 10 * 365 * 24 * 3600
    audit_rows: int = 100_000
    silent_after_s: int = 24 * 3600  # neither connected nor heard

    # The page
    page_sessions: int = 100
    page_session_s: float = 8 * 3600.0
    page_streams: int = 100
    samples: int = 1_000  # of what runs, for its curves
    sample_s: float = 5.0  # between two that differ
    sample_idle_s: float = 3600.0  # between two that do not
