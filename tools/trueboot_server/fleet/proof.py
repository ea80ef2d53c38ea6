# SPDX-License-Identifier: MIT
"""What a boot report proves.

A report counts when the key of one of the device's unrevoked certificates signed it for this product and this
device, its boot counter has not fallen and its sequence number has risen (both per key); a repetition of a
report that is known, claim for claim, is accepted again and changes nothing.  It is about an attempt when job
and nonce are that attempt's; it proves "updated" only with the image and the version of the job's release.  The
report of a trial needs the same two, marks the attempt as on trial, and settles nothing.  What is said of a device
and no attempt ("running", "below_floor", "fell_back") changes what is shown of the device: see `running`.  A report
that waited under the last key, while the next one already spoke, still decides its attempt and is shown no more.

Whatever is wrong raises `RefusedReport`, and the caller's transaction is rolled back whole.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .. import reports as boot_reports
from ..ca import BadRequest, public_point
from ..errors import RefusedReport
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import certificates, reports
from . import jobs, registry, running

_DECIDING = ("updated", "rolled_back", "failed", "refused")


def accept(t: Transaction, identity: Identity, text: object, limits: Limits) -> dict[str, Any]:
    """The claims of a report that holds; its consequences are in the transaction."""
    report = boot_reports.parse(text, limits.report_bytes)
    claims = boot_reports.verify(report, _point(t, identity, report.kid))
    if claims["aud"] != identity.product_key or claims["sub"] != identity.common_name:
        raise RefusedReport("the report is another device's")
    known = t.row(sa.select(reports).where(reports.c.thumbprint == report.kid, reports.c.seq == claims["seq"]))
    if known is not None:
        if known.claims != claims:
            raise RefusedReport("this sequence number was used with other claims")
        return claims
    _check_counters(t, report.kid, claims)
    running.check(t, claims)
    row = _attempt(t, identity, claims)
    report_id = _keep(t, identity, report.kid, claims, limits)
    told = {name: claims.get(name) for name in ("outcome", "version", "job", "reason")}
    t.event("report.accepted", identity, **told)
    if not _is_late(t, identity, report.kid):
        running.follow(t, identity, claims)
    if row is not None and claims["outcome"] == "trial":
        jobs.on_trial(t, row, claims["version"], claims["slot"])
    if row is not None and claims["outcome"] in _DECIDING:
        jobs.proven(t, row, claims["outcome"], report_id, claims.get("reason", ""))
    return claims


def _point(t: Transaction, identity: Identity, kid: str) -> bytes:
    # By device and key: a key that is only another device's is as good as none.
    row = t.execute(
        sa.select(certificates.c.der)
        .where(
            *registry.is_device(certificates, identity),
            certificates.c.thumbprint == kid,
            certificates.c.revoked_at.is_(None),
        )
        .limit(1)
    ).first()
    if row is None:
        raise RefusedReport("the key is not one of this device's")
    try:
        return public_point(row.der)
    except BadRequest as error:  # an RSA key of somebody else's client
        raise RefusedReport("the key is of a kind that signs no reports") from error


def _is_late(t: Transaction, identity: Identity, kid: str) -> bool:
    """Whether a report under a newer key came before: this one had waited, and tells of what was."""
    newest = sa.func.max(certificates.c.issued_at)
    mine = sa.select(newest).where(*registry.is_device(certificates, identity), certificates.c.thumbprint == kid)
    others = (
        sa.select(newest)
        .join(reports, reports.c.thumbprint == certificates.c.thumbprint)
        .where(*registry.is_device(certificates, identity), certificates.c.thumbprint != kid)
    )
    other = t.execute(others).scalar()
    return other is not None and other > t.execute(mine).scalar_one()


def _check_counters(t: Transaction, thumbprint: str, claims: dict[str, Any]) -> None:
    own = reports.c.thumbprint == thumbprint
    seq = t.execute(sa.select(sa.func.max(reports.c.seq)).where(own)).scalar()
    boot = t.execute(sa.select(sa.func.max(reports.c.boot)).where(own)).scalar()
    if seq is not None and claims["seq"] <= seq:
        raise RefusedReport("the sequence number has not risen")
    if boot is not None and claims["boot"] < boot:
        raise RefusedReport("the boot counter has fallen")


def _attempt(t: Transaction, identity: Identity, claims: dict[str, Any]) -> Any | None:
    if claims.get("job") is None:
        if claims.get("nonce") is not None:
            raise RefusedReport("a nonce without a job")
        return None
    row = jobs.attempt(t, identity, claims["job"])
    if row is None:
        raise RefusedReport("the job is not one of this device's")
    if claims.get("nonce") != row.nonce:
        raise RefusedReport("the nonce is not this job's")
    if claims["outcome"] not in (*_DECIDING, "trial"):
        return row
    if row.proven_at is not None:
        raise RefusedReport("this job's outcome is already proven")
    job = jobs.job_of(t, row)
    if claims.get("target_version") not in (None, job.version):
        raise RefusedReport("the target version is not this job's")
    if claims["outcome"] in ("updated", "trial"):
        if claims["image"] != job.sha256:
            raise RefusedReport("the running image is not the release's")
        if claims["version"] != job.version:
            raise RefusedReport("the running version is not the release's")
    return row


def _keep(t: Transaction, identity: Identity, thumbprint: str, claims: dict[str, Any], limits: Limits) -> int:
    result = t.execute(
        reports.insert().values(
            thumbprint=thumbprint,
            seq=claims["seq"],
            boot=claims["boot"],
            product_key=identity.product_key,
            device_key=identity.device_key,
            claims=claims,
            received_at=t.now,
        )
    )
    newest = (
        sa.select(reports.c.id)
        .where(reports.c.thumbprint == thumbprint)
        .order_by(reports.c.seq.desc())
        .limit(limits.reports_per_key)
    )
    t.execute(reports.delete().where(reports.c.thumbprint == thumbprint, reports.c.id.not_in(newest)))
    return int(result.inserted_primary_key[0])  # type: ignore[index]
