# SPDX-License-Identifier: MIT
"""Numbers for Prometheus, under names that stay.

Rules kept:
- Labels hold what this code names (roads, states, events), or the commonest few of what devices name (versions): the
  number of series is bounded whatever a peer sends.  No device, address or token is ever a label.
- Numbers of the fleet are read from the database when somebody asks, and at most every few seconds.
- A registry a server: two of them in one process do not add up.

`MeteredDesk` stands between the MQTT endpoint and the desk, `metered` between the store and the log, so that neither
knows of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .fleet import overview
from .fleet.desk import FleetDesk
from .limits import Limits
from .log import Log
from .mqtt import codec
from .mqtt.desk import Admitted, Message, Peer, Refused
from .names import Identity
from .store import Store
from .store.schema import attempts, jobs

_VERSIONS = 10
_FRESH_S = 5.0
_LAG_S = 1.0
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_HTTP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_MQTT_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1)
_WAITING = ("/api/v1/events", "/ui/live")  # they answer late on purpose


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own: Any = {"registry": self.registry}
        self._requests = Counter(
            "trueboot_http_requests", "Answers by road and status", ["method", "road", "status"], **own
        )
        self._http = Histogram("trueboot_http_seconds", "Until the answer ended", ["road"], buckets=_HTTP_S, **own)
        self._events = Counter("trueboot_events", "What happened, by name", ["event"], **own)
        self._issued = Counter("trueboot_certificates_issued", "Certificates that the CA has issued", **own)
        self._reports = Counter("trueboot_reports", "Boot reports by verdict", ["verdict"], **own)
        self._connects = Counter("trueboot_mqtt_connects", "MQTT log-ins by outcome", ["outcome"], **own)
        self._messages = Counter("trueboot_mqtt_messages", "MQTT messages that arrived", **own)
        self._mqtt = Histogram("trueboot_mqtt_seconds", "Until a message was committed", buckets=_MQTT_S, **own)
        self._lag = Histogram("trueboot_event_loop_lag_seconds", "How late the loop comes", buckets=_HTTP_S, **own)
        for verdict in ("accepted", "rejected"):
            self._reports.labels(verdict)
        for outcome in ("admitted", "refused"):
            self._connects.labels(outcome)
        self._good, self._bad = (self._connects.labels(outcome) for outcome in ("admitted", "refused"))
        # Found once, since looking for a label costs more than counting; bounded as the series are.
        self._of_request: dict[tuple[str, str, int], tuple[Counter, Histogram | None]] = {}
        self._of_event: dict[str, Counter] = {}

    def answered(self, method: str, road: str, status: int, began: float) -> None:
        """`road`: as the code names it, "unknown" for an address that leads nowhere; `began`: of time.monotonic."""
        key = method if method in _METHODS else "other", road, status
        found = self._of_request.get(key)
        if found is None:
            taken = None if road in _WAITING else self._http.labels(road)
            found = self._of_request[key] = self._requests.labels(key[0], road, str(status)), taken
        found[0].inc()
        if found[1] is not None:
            found[1].observe(time.monotonic() - began)

    def metered(self, log: Log) -> Log:
        def tell(event: str, /, **fields: Any) -> None:
            counter = self._of_event.get(event)
            if counter is None:
                counter = self._of_event[event] = self._events.labels(event)
            counter.inc()
            if event == "certificate.issued":
                self._issued.inc()
            elif event.startswith("report."):
                self._reports.labels(event.removeprefix("report.")).inc()
            log(event, **fields)

        return tell

    def admitted(self, good: bool) -> None:
        (self._good if good else self._bad).inc()

    def arrived(self, began: float) -> None:
        self._messages.inc()
        self._mqtt.observe(time.monotonic() - began)

    async def watch_loop(self) -> None:
        """For ever: how much later than asked for the loop wakes us."""
        while True:
            asked = time.monotonic()
            await asyncio.sleep(_LAG_S)
            self._lag.observe(max(0.0, time.monotonic() - asked - _LAG_S))

    def follow(self, store: Store, desk: FleetDesk, limits: Limits, database: Path, pages: Callable[[], int]) -> None:
        self.registry.register(_Fleet(store, desk, limits, database, pages))


class MeteredDesk:
    """What `mqtt.desk.Desk` promises, counted."""

    def __init__(self, desk: FleetDesk, metrics: Metrics):
        self._desk = desk
        self._metrics = metrics

    def admit(self, peer: Peer, connect: codec.Connect) -> Admitted | Refused:
        verdict = self._desk.admit(peer, connect)
        self._metrics.admitted(isinstance(verdict, Admitted))
        return verdict

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]:
        began = time.monotonic()
        answer = self._desk.arrived(admitted, topic, payload)
        self._metrics.arrived(began)
        return answer

    def connected(self, admitted: Admitted) -> list[Message]:
        return self._desk.connected(admitted)

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]:
        return self._desk.subscribed(admitted, topic_filter)

    def gone(self, identity: Identity, reason: str) -> None:
        self._desk.gone(identity, reason)


class _Fleet(Collector):
    def __init__(self, store: Store, desk: FleetDesk, limits: Limits, database: Path, pages: Callable[[], int]):
        self._store, self._desk, self._limits, self._database, self._pages = store, desk, limits, database, pages
        self._read_at = -_FRESH_S
        self._kept: list[GaugeMetricFamily] = []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        now = time.monotonic()
        if now - self._read_at >= _FRESH_S:
            self._kept, self._read_at = self._read(), now
        return self._kept

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []  # no read at registration

    def _read(self) -> list[GaugeMetricFamily]:
        with self._store.transaction() as t:
            states = overview.counts(t, self._desk.online, self._limits)
            versions = overview.versions(t, _VERSIONS)
            by_state: dict[str, dict[str, int]] = {}
            for name, table in (("jobs", jobs), ("attempts", attempts)):
                rows = t.rows(sa.select(table.c.state, sa.func.count().label("number")).group_by(table.c.state))
                by_state[name] = {row.state: row.number for row in rows}
        sizes = {file.name: file.stat().st_size for file in self._files() if file.exists()}
        connections = {"mqtt": self._desk.endpoint.count, "http": self._desk.http.count, "page": self._pages()}
        return [
            _family("trueboot_devices", "Devices by state; a device may be in more than one", "state", states),
            _family("trueboot_device_versions", "Devices by proven version, the commonest", "version", versions),
            _family("trueboot_jobs", "Jobs by state", "state", by_state["jobs"]),
            _family("trueboot_attempts", "Attempts of jobs by state", "state", by_state["attempts"]),
            _family("trueboot_connections", "Connected now, by way", "way", connections),
            _family("trueboot_database_bytes", "Size of the database's files", "file", sizes),
        ]

    def _files(self) -> list[Path]:
        return [self._database, self._database.with_name(self._database.name + "-wal")]


def _family(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
