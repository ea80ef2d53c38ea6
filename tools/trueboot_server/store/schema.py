# SPDX-License-Identifier: MIT
"""The tables, as SQLAlchemy Core knows them.  `migrations` creates them; a test compares the two.

Times are milliseconds since 1970.  Device secrets, product secrets and the organisation's secret key are
kept in clear: EnOS's password and signatures are plain digests over the secret (enos-decada, 2 and 8.2),
so a verifier must know it.  Tokens that are only ever compared (operator, registration) are kept as SHA-256.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _device_reference() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["product_key", "device_key"], ["devices.product_key", "devices.device_key"])


meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

products = Table(
    "products",
    metadata,
    Column("product_key", Text, primary_key=True),
    Column("product_secret", Text, nullable=False),
    Column("allow_password_login", Boolean, nullable=False),
    Column("claims_count", Boolean, nullable=False),  # a claimed attempt settles a job (devices that cannot sign)
    Column("created_at", Integer, nullable=False),
    Column("attestation", Text, nullable=False),  # of a key in a TPM: none, optional, required
    Column("certificate_life_s", Integer),  # of devices' certificates; else the CA's profile
    Column("dialect", Text, nullable=False),  # decada or esthesis: see fleet.dialect
    Column("auto_update", Text, nullable=False),  # what a device that asks by itself is offered: off, latest
    # Of products that speak esthesis: see esthesis.registration
    Column("registration", Text, nullable=False),
    Column("registration_secret", Text),  # SHA-256: it is only ever compared
    Column("pushed_tags", Boolean, nullable=False),
    Column("generated_keys", Boolean, nullable=False),
    Column("tokens", Text, nullable=False),  # for a device that asks what there is: required, optional, off
)

devices = Table(
    "devices",
    metadata,
    Column("product_key", Text, primary_key=True),
    Column("device_key", Text, primary_key=True),
    Column("device_secret", Text, nullable=False),
    Column("state", Text, nullable=False),  # registered, activated, enrolled, revoked
    Column("secret_used_at", Integer),  # the first proof made with the secret; it is not handed out after that
    Column("key_thumbprint", Text),  # the one public key that the secret may certify
    Column("claimed_version", Text),
    Column("claimed_at", Integer),
    Column("proven_version", Text),
    Column("proven_at", Integer),
    Column("image", Text),
    Column("slot", Text),
    Column("last_seen", Integer),
    Column("last_report", JSON),  # of any outcome; the four above are of the last that was not a trial's
    Column("created_at", Integer, nullable=False),
    Column("reported_at", Integer),
    Column("fell_back", JSON),  # {"version", "image"} of what was proven before, "reason", "at"; see fleet.running
    Column("asset_id", Text, unique=True),  # what EnOS calls the device in REST; made at registration
    Column("name", JSON),  # EnOS's deviceName: {"defaultValue", "i18nValue"}
    Column("timezone", Text),
    Column("attributes", JSON),
    Column("license", Text),  # a field of the DECADA flow; kept, and shown
    Column("ek", Text),  # SHA-256, hex, of the endorsement key's SubjectPublicKeyInfo: the one TPM of this device
    Column("attested_at", Integer),  # when the key in use was proven to be in that TPM
    Column("tpm", JSON),  # {"manufacturer", "model", "version"} as the EK certificate says
    Column("reflashed_at", Integer),  # somebody with the product secret asked again for a secret that was used
    Column("description", Text),  # EnOS's deviceDesc
    Column("tags", JSON),  # EnOS's deviceTags
    ForeignKeyConstraint(["product_key"], ["products.product_key"]),
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", Text, primary_key=True),  # lower-case hex: 64 bits and more do not fit an INTEGER
    Column("product_key", Text, nullable=False),
    Column("device_key", Text, nullable=False),
    Column("thumbprint", Text, nullable=False),  # RFC 7638, of the public key
    Column("der", LargeBinary, nullable=False),
    Column("not_after", Integer, nullable=False),
    Column("issued_at", Integer, nullable=False),
    Column("first_used_at", Integer),
    Column("superseded_at", Integer),
    Column("revoked_at", Integer),
    Column("reason", Integer),  # of the revocation: CRLReason (RFC 5280, 5.3.1)
    Column("handle", Integer, unique=True),  # 31 bits: the serial number of EnOS clients, which hold it in an int
    Column("issuer", Text),  # the CA that signed it, as `ca.profiles.short_id` names it; none: the first root
    Column("attested", Boolean),  # its key was proven to be in the device's TPM
    _device_reference(),
)

own_certificates = Table(  # the server's
    "own_certificates",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("not_after", Integer, nullable=False),
    Column("issued_at", Integer, nullable=False),
    Column("revoked_at", Integer),
    Column("reason", Integer),
)

reports = Table(
    "reports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("thumbprint", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("boot", Integer, nullable=False),
    Column("product_key", Text, nullable=False),
    Column("device_key", Text, nullable=False),
    Column("claims", JSON, nullable=False),
    Column("received_at", Integer, nullable=False),
    UniqueConstraint("thumbprint", "seq"),
    _device_reference(),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("product_key", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("length", Integer, nullable=False),
    Column("max_failures", Integer, nullable=False),
    Column("state", Text, nullable=False),  # created, scheduled, running, paused, done, halted, cancelled
    Column("created_at", Integer, nullable=False),
    Column("ended_at", Integer),
    Column("reason", Text),  # of a halt that no device caused
    Column("retry", Boolean, nullable=False),  # a device that refused the image is asked anew
    Column("downgrade", Boolean, nullable=False),  # the release need not be newer than what runs
    Column("kind", Text, nullable=False),  # job, campaign, auto: see fleet.plan
    Column("name", Text),
    Column("plan", JSON),  # fleet.plan; none: a plain job's, of before there were others
    Column("wanted", JSON),  # the release as it was asked for: {"target"}, {"version"} or {"newest"}
    Column("scope", JSON),  # fleet.scope
    Column("timeout_s", Integer),  # of a device, from the moment that it was told; none: the server's
    Column("start_at", Integer),
    Column("started_at", Integer),  # release and devices are settled on
    Column("phase", Integer, nullable=False),  # from 0
    Column("phase_at", Integer),
    Column("reached_at", Integer),  # the phase's threshold: the soak begins
    Column("paused_at", Integer),
    Column("firmware_id", Integer),  # of a job that was made over EnOS's REST
    Column("enos", JSON),  # what its caller said, to be told again
    sqlite_autoincrement=True,
)

firmwares = Table(  # EnOS's name for a published release: see https.enos_firmwares
    "firmwares",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("product_key", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("told", JSON, nullable=False),  # the metadata that it was made with
    Column("verification", Boolean, nullable=False),  # no upgrade before a job of the type verify has succeeded
    Column("created_at", Integer, nullable=False),
    ForeignKeyConstraint(["product_key"], ["products.product_key"]),
    sqlite_autoincrement=True,
)

members = Table(  # a job's devices
    "members",
    metadata,
    Column("job_id", Integer, primary_key=True),
    Column("product_key", Text, primary_key=True),
    Column("device_key", Text, primary_key=True),
    Column("phase", Integer, nullable=False),
    Column("position", Integer, nullable=False),  # in the order of their turns
    Column("attempt_id", Integer),  # the last; none: it was not its turn yet
    Column("tries", Integer, nullable=False),  # attempts so far
    Column("dropped", Text),  # why it does not count any more
    ForeignKeyConstraint(["job_id"], ["jobs.id"]),
    _device_reference(),
)

history = Table(  # what became of a job, step by step; devices' steps are events
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, nullable=False),
    Column("time", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("fields", JSON, nullable=False),
    ForeignKeyConstraint(["job_id"], ["jobs.id"]),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, nullable=False),
    Column("product_key", Text, nullable=False),
    Column("device_key", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("settled", Boolean, nullable=False),  # the job waits for it no longer
    Column("pushes", Integer, nullable=False),
    Column("started_at", Integer),  # the time-out counts from here
    Column("step", Integer),
    Column("desc", Text),
    Column("reason", Text),
    Column("claimed_version", Text),
    Column("claimed_at", Integer),
    Column("proven_at", Integer),
    Column("report_id", Integer),
    Column("updated_at", Integer, nullable=False),
    ForeignKeyConstraint(["job_id"], ["jobs.id"]),
    _device_reference(),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("time", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("product_key", Text),
    Column("device_key", Text),
    Column("fields", JSON, nullable=False),
    sqlite_autoincrement=True,
)

releases = Table(
    "releases",
    metadata,
    Column("target", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("length", Integer, nullable=False),
    Column("custom", JSON, nullable=False),
    Column("published_at", Integer, nullable=False),
)

images = Table(  # every image that was ever signed here, withdrawn ones too
    "images",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("security", Integer),
)

packages = Table(  # that an operator made, for devices that speak esthesis
    "packages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("product_key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("kind", Text, nullable=False),  # INTERNAL, EXTERNAL
    Column("size", Integer),
    Column("sha256", Text, nullable=False),
    Column("url", Text),
    Column("tags", JSON, nullable=False),
    Column("prerequisite", Text),
    Column("available", Boolean, nullable=False),
    Column("created_at", Integer, nullable=False),
    ForeignKeyConstraint(["product_key"], ["products.product_key"]),
)

download_tokens = Table(
    "download_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("product_key", Text, nullable=False),
    Column("device_key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("used_at", Integer),
    _device_reference(),
    sqlite_autoincrement=True,
)

esthesis_commands = Table(
    "esthesis_commands",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("product_key", Text, nullable=False),
    Column("device_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("asynchronous", Boolean, nullable=False),
    Column("command", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("replied_at", Integer),
    Column("succeeded", Boolean),
    Column("output", Text),
    Column("trimmed", Boolean),
    _device_reference(),
    sqlite_autoincrement=True,
)

points = Table(
    "points",
    metadata,
    Column("product_key", Text, primary_key=True),
    Column("device_key", Text, primary_key=True),
    Column("point", Text, primary_key=True),
    Column("value", JSON, nullable=False),
    Column("time", Integer, nullable=False),
    _device_reference(),
)

operator_tokens = Table(
    "operator_tokens",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("scope", Text, nullable=False),  # read, operate
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("used_at", Integer),
    Column("revoked_at", Integer),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Integer, nullable=False),
    Column("who", Text, nullable=False),  # the token's name
    Column("via", Text, nullable=False),  # api, page
    Column("what", Text, nullable=False),  # the operation's name
    Column("subject", Text, nullable=False),  # what it was done to
    Column("result", Text, nullable=False),  # begun, done, refused, not_permitted
    Column("code", Text),  # of a refusal
    Column("detail", Text),
    sqlite_autoincrement=True,
)

version_samples = Table(  # how many devices ran which version, for the curves of the page
    "version_samples",
    metadata,
    Column("time", Integer, primary_key=True),
    Column("counts", JSON, nullable=False),  # {version: devices}, the commonest ones
)
