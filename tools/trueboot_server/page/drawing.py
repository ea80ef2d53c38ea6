# SPDX-License-Identifier: MIT
"""Numbers as SVG, made here: no script draws anything.  Colours are classes of the style sheet; texts are escaped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

_SERIES = 6  # classes c0 to c5


def bar(counts: Sequence[tuple[str, int]], label: str) -> Markup:
    """One bar, filled from the left: [(class, how many), ...].  `label` says in words what it shows."""
    total = sum(number for _, number in counts) or 1
    parts, x = [], 0.0
    for tone, number in counts:
        width = 100 * number / total
        if number:
            parts.append(f'<rect class="t-{escape(tone)}" x="{x:.2f}" y="0" width="{width:.2f}" height="10"/>')
        x += width
    return Markup(  # noqa: S704 - numbers, and what `escape` returned
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{''.join(parts)}</svg>"
    )


def shares(samples: Sequence[tuple[int, dict[str, int]]], names: Sequence[str], label: str) -> Markup:
    """Stacked areas: how many devices ran which version, over time.  `names`: from the ground up, `other` last."""
    width, height = 600.0, 120.0
    if not samples:
        return Markup("")
    begin, end = samples[0][0], max(samples[-1][0], samples[0][0] + 1)
    most = max(1, *(sum(counts.values()) for _, counts in samples))
    xs = [width * (time - begin) / (end - begin) for time, _ in samples]
    if len(samples) == 1:
        xs, samples = [0.0, width], [samples[0], samples[0]]
    ground = [0.0] * len(samples)
    drawn = []
    for index, name in enumerate(names):
        top = [low + _of(counts, name, names) for low, (_, counts) in zip(ground, samples, strict=True)]
        upper = _steps(xs, [height - height * value / most for value in top])
        lower = _steps(xs, [height - height * value / most for value in ground])
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
        drawn.append(f'<polygon class="c{index % _SERIES}" points="{points}"><title>{escape(name)}</title></polygon>')
        ground = top
    return Markup(  # noqa: S704 - numbers, and what `escape` returned
        f'<svg class="shares" viewBox="0 0 {width:.0f} {height:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(drawn)}</svg>'
    )


def _of(counts: dict[str, int], name: str, names: Sequence[str]) -> int:
    if name == "other":
        return sum(number for version, number in counts.items() if version not in names or version == "other")
    return counts.get(name, 0)


def _steps(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """A number holds until the next sample: stairs, and no slope that nobody measured."""
    found = [(xs[0], ys[0])]
    for index in range(1, len(xs)):
        found += [(xs[index], ys[index - 1]), (xs[index], ys[index])]
    return found
