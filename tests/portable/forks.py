# SPDX-License-Identifier: MIT
"""What a power cut leaves behind, at every effect of one life: the beginnings of other lives.

A cut takes all RAM, so that the life after it depends on nothing but what is
durable, and on what the cloud has heard.  Instead of living from the start to
each cut again, one life is lived, and at each of its effects a `Point` keeps
what a cut before, inside and after it would leave; `back` makes a device of it.
Points that are alike in all but clock, chance and counts are one.

`test_sweep.py` holds this against lives that are really cut.
"""

import hashlib

from platform_adapters.memory_power import AFTER, BEFORE, TORN, Life

_effect = Life.effect
# Of a device and a cloud: what stays as it is, and what is but an observation or the time
_CONSTANT = ("peer", "life", "config", "anchors", "root", "seed", "cuts", "failures", "world", "authority")
_OBSERVED = ("trace", "events", "resets", "told", "requests", "pushes")
_PASSING = ("effects", "boots", "feeds", "drawn", "now_ms")


class Point:
    """`cuts`: the effects and ways by which to come here in one life."""

    def __init__(self, run, cuts):
        self.cuts = cuts
        self._run = [run.boots, run.before_trial]
        self._device = _kept(run.device)
        self._cloud = _kept(run.cloud)
        self.key = _key([self._run[1], self._device, self._cloud])

    def back(self, run):
        run.boots, run.before_trial = self._run
        run.problem = ""
        run.device.life = None
        _restore(run.device, self._device)
        _restore(run.cloud, self._cloud)
        run.device.trace = []
        run.device.events = []
        run.cloud.told = []


class Watch:
    """While `run` lives: `points`, one for each new thing that a cut of an effect number for which `wanted` leaves."""

    def __init__(self, run, seen, cuts=(), wanted=None):
        self.run, self.seen, self.cuts = run, seen, list(cuts)
        self.wanted = wanted
        self.points = []
        self.count = 0  # of cuts looked at

    def live(self):
        Life.effect = self._watched()
        try:
            self.run.live()
        finally:
            Life.effect = _effect

    def _watched(self):
        def effect(life, name, do, tear=None):
            life.check()
            device, at = life.device, life.device.effects + 1
            if self.wanted and not self.wanted(at):
                return _effect(life, name, do, tear)
            device.effects = at  # as a cut leaves it
            self._keep(at, BEFORE)
            if tear:
                before = _kept(device)
                tear()
                self._keep(at, TORN)
                _restore(device, before)
            else:
                self.count += 1  # it would leave what a cut before it leaves
            device.effects = at - 1
            result = _effect(life, name, do, tear)
            self._keep(at, AFTER)
            return result

        return effect

    def _keep(self, at, way):
        self.count += 1
        point = Point(self.run, self.cuts + [[at, way]])
        if point.key not in self.seen:
            self.seen.add(point.key)
            self.points.append(point)


def _copy(value):
    if isinstance(value, dict):
        return {name: _copy(value[name]) for name in value}
    if isinstance(value, list):
        return [_copy(one) for one in value]
    return bytes(value) if isinstance(value, bytearray) else value


def _kept(thing):
    """The members of a device (its board's flash among them) or a cloud that a life changes."""
    kept = {}
    for name in dir(thing):
        if name[0] == "_" or name in _CONSTANT or name in _OBSERVED:
            continue
        value = getattr(thing, name)
        if value is None or isinstance(value, (dict, list, bytearray, bytes, str, int, bool, tuple)):
            kept[name] = _copy(value)
    if hasattr(thing, "board"):
        kept["board"] = _shared(thing.board)
    return kept


def _shared(board):
    """The flash, partitions that did not change since the last time being the same bytes."""
    last = getattr(board, "last_kept", {})
    kept = {}
    for label in board.flash:
        data = board.flash[label]
        kept[label] = last[label] if label in last and last[label] == data else bytes(data)
    board.last_kept = kept
    return kept


def _restore(thing, kept):
    """In place, since closures hold on to parts."""
    for name in kept:
        if name == "board":
            for label in kept[name]:
                thing.board.flash[label][:] = kept[name][label]
            continue
        there = getattr(thing, name)
        if isinstance(there, dict) and isinstance(kept[name], dict):
            there.clear()
            there.update(_copy(kept[name]))
        elif isinstance(there, list) and isinstance(kept[name], list):
            there[:] = _copy(kept[name])
        else:
            setattr(thing, name, _copy(kept[name]))


def _key(value):
    """30 bits would be too few for tens of thousands of points; so it is a short hash."""
    hasher = hashlib.sha256()
    _feed(hasher, value)
    return hasher.digest()[:10]


def _feed(hasher, value):
    if isinstance(value, dict):
        for name in sorted(value):
            if name not in _PASSING:
                hasher.update(b"k" + str(name).encode() + b":")
                _feed(hasher, value[name])
    elif isinstance(value, (list, tuple)):
        hasher.update(b"[%d" % len(value))
        for one in value:
            _feed(hasher, one)
    elif isinstance(value, bytes):
        hasher.update(b"%d:" % len(value))
        hasher.update(value)
    else:
        hasher.update(repr(value).encode() + b";")
