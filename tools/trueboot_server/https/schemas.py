# SPDX-License-Identifier: MIT
"""JSON Schemas of what operators' roads take and give (JSON Schema 2020-12, as OpenAPI 3.1 uses it).

Answers list every member that they have; more may come, and clients skip what they do not know.  Bodies are closed:
an unknown member is refused by name.
"""

from __future__ import annotations

from .operations import Schema


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(required: str | None = None, /, **members: Schema) -> Schema:
    """An object.  All members are there, unless `required` names those that must be (a body: and no others)."""
    closed = {"additionalProperties": False} if required is not None or not members else {}
    names = list(members) if required is None else required.split()
    return {"type": "object", "properties": members, **({"required": names} if names else {}), **closed}


def both(name: str, **members: Schema) -> Schema:
    """What `name` is, and more."""
    return {"allOf": [ref(name), obj(**members)]}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def text(description: str = "") -> Schema:
    return {"type": "string", **({"description": description} if description else {})}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least, **({"maximum": most} if most is not None else {})}


def table(values: Schema) -> Schema:
    """An object whose names are data."""
    return {"type": "object", "additionalProperties": values}


FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
ANY: Schema = {}
FREE: Schema = {"type": "object"}
TIME: Schema = {"type": "string", "format": "date-time"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
SHARE: Schema = {"type": "string", "pattern": "^[0-9]{1,3} *%$"}
KEY: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
TOKEN_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}

REASON = {
    "description": "by name, or by CRLReason's number",
    "anyOf": [{"type": "string"}, {"type": "integer"}],
}

_CERTIFICATE = {
    "serial": text("hex"),
    "status": one_of("good", "superseded", "expired", "revoked"),
    "issuer": null(text()),
    "issued_at": TIME,
    "not_after": TIME,
    "revoked_at": null(TIME),
    "reason": null(text()),
}

COMPONENTS: dict[str, Schema] = {
    "Error": obj(error=obj(code=text("see docs/errors.md"), message=text(), hint=text())),
    "Token": obj(
        name=TOKEN_NAME,
        scope=one_of("read", "operate"),
        state=one_of("good", "expired", "revoked"),
        created_at=TIME,
        expires_at=null(TIME),
        used_at=null(TIME),
        revoked_at=null(TIME),
    ),
    "AuditEntry": obj(
        id=whole(1),
        time=TIME,
        who=text("the token's name"),
        via=one_of("api", "page"),
        what=text("the operation's name"),
        on=text(),
        result=one_of("begun", "done", "refused", "not_permitted"),
        code=null(text()),
        detail=null(text()),
    ),
    "Running": obj(
        version=text(),
        image=text(),
        slot=text(),
        outcome=text(),
        reason=null(text()),
        on_trial=FLAG,
        below_floor=FLAG,
        signed=FLAG,
        remarks=array(text()),
        fell_back=null(FREE),
        measured=text(),
        boot=whole(0),
        floor=whole(0),
        at=null(TIME),
    ),
    "Device": obj(
        product_key=KEY,
        device_key=KEY,
        state=one_of("registered", "activated", "enrolled", "revoked"),
        online=FLAG,
        slot=null(text()),
        claimed_version=null(text("what the device writes into the cloud's own field")),
        proven_version=null(text("of the last signed report of a confirmed image")),
        image=null(SHA256),
        running=null(ref("Running")),
        certificate=null(obj(serial=text(), not_after=TIME)),
        key=obj(
            storage=one_of("tpm", "unknown"),
            attested=FLAG,
            attested_at=null(TIME),
            tpm=null(FREE),
            ek=null(SHA256),
        ),
        reflashed_at=null(TIME),
        last_seen=null(TIME),
        last_report=null(FREE),
        created_at=TIME,
    ),
    "Notes": obj(attributes=FREE, tags=table(text())),
    "Product": obj(
        product_key=KEY,
        claims_count=FLAG,
        attestation=one_of("none", "optional", "required"),
        certificate_life_s=null(whole(1)),
        allow_password_login=FLAG,
        auto_update=one_of("off", "latest"),
        dialect=one_of("decada", "esthesis"),
        registration=one_of("DISABLED", "OPEN", "OPEN_WITH_SECRET", "ID"),
        registration_secret=FLAG,
        tokens=one_of("required", "optional", "off"),
        pushed_tags=FLAG,
        generated_keys=FLAG,
        created_at=TIME,
    ),
    "Certificate": obj(
        product_key=KEY,
        device_key=KEY,
        handle=whole(0),
        first_used_at=null(TIME),
        superseded_at=null(TIME),
        key=text("RFC 7638 thumbprint"),
        **_CERTIFICATE,
    ),
    "ServerCertificate": obj(kind=text(), **_CERTIFICATE),
    "Release": obj(
        target=text(),
        version=text(),
        sha256=SHA256,
        length=whole(0),
        kind=text(),
        hardware=array(text()),
        security=whole(0),
        custom=FREE,
        published_at=TIME,
    ),
    "Attempt": obj(
        id=text(),
        product_key=KEY,
        device_key=KEY,
        state=text(),
        claimed_version=null(text()),
        proven=FLAG,
        step=null({"type": "integer"}),
        desc=null(text()),
        reason=null(text()),
        settled=FLAG,
        running=null(ref("Running")),
        runs_it=FLAG,
        fell_back=FLAG,
        now=null(text()),
        pushes=whole(0),
        updated_at=TIME,
    ),
    "Job": obj(
        id=text(),
        product_key=KEY,
        target=text(),
        version=text(),
        state=one_of("running", "done", "halted", "cancelled"),
        reason=null(text()),
        max_failures=whole(0),
        retry=FLAG,
        downgrade=FLAG,
        created_at=TIME,
        ended_at=null(TIME),
        counts=table(whole(0)),
        attempts=array(ref("Attempt")),
    ),
    "Phase": obj(
        phase=whole(1),
        size={"anyOf": [whole(1), SHARE]},
        state=text(),
        devices=whole(0),
        waiting=whole(0),
        queued=whole(0),
        begun=whole(0),
        proven=whole(0),
        claimed=whole(0),
        failed=whole(0),
        cancelled=whole(0),
        success=whole(0, 100),
        needed=whole(0),
        max_failures={"anyOf": [whole(0), SHARE]},
        allowed=whole(0),
        soak_s=whole(0),
        phase_s=null(whole(1)),
        begun_at=null(TIME),
        reached_at=null(TIME),
        ends_at=null(TIME),
    ),
    "Campaign": obj(
        id=text(),
        kind=one_of("job", "campaign", "auto"),
        name=null(text()),
        product_key=KEY,
        target=null(text()),
        version=null(text()),
        wanted=FREE,
        state=one_of("created", "scheduled", "running", "paused", "done", "halted", "cancelled"),
        reason=null(text()),
        scope=FREE,
        dynamic=FLAG,
        on_request=FLAG,
        tries=whole(1),
        at_once=null(whole(1)),
        window=null(text()),
        in_window=FLAG,
        timeout_s=null(whole(1)),
        retry=FLAG,
        downgrade=FLAG,
        phase=whole(1),
        phases=array(ref("Phase")),
        counts=table(whole(0)),
        start_at=null(TIME),
        started_at=null(TIME),
        created_at=TIME,
        ended_at=null(TIME),
    ),
    "Turn": obj(
        product_key=KEY,
        device_key=KEY,
        phase=whole(1),
        state=text(),
        step=null({"type": "integer"}),
        desc=null(text()),
        reason=null(text()),
        attempt=null(text()),
        updated_at=null(TIME),
    ),
    "Fault": FREE,
    "Event": obj(seq=whole(1), time=TIME, event=text()),
    "Versions": obj(root=whole(0), timestamp=whole(0), snapshot=whole(0), roles=table(whole(0))),
}
