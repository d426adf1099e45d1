"""How large a resized image becomes and what is cut off: pure arithmetic."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Plan", "plan_resize", "redrafted"]


class Plan(NamedTuple):
    """Resize ``box`` (left, upper, right, lower; pixels of the source) to ``size`` (width, height)."""

    size: tuple[int, int]
    box: tuple[float, float, float, float]


def plan_resize(source: tuple[int, int], width: int | None, height: int | None, fit: str) -> Plan:
    """The plan for an image of ``source`` pixels. At least one of ``width`` and ``height`` is given; small images grow.

    With one side the proportions decide the other. With both: ``contain`` makes the image as large as fits inside them,
    ``cover`` fills them and cuts equally from both ends, ``fill`` distorts. (The words and their meaning are CSS's object-fit.)
    """
    whole = (0.0, 0.0, float(source[0]), float(source[1]))
    if width is None or height is None:
        scale = width / source[0] if width is not None else (height or 1) / source[1]
        return Plan(_scaled(source, scale), whole)
    if fit == "fill":
        return Plan((width, height), whole)
    if fit == "contain":
        return Plan(_scaled(source, min(width / source[0], height / source[1])), whole)
    scale = max(width / source[0], height / source[1])
    cut_x, cut_y = (source[0] - width / scale) / 2, (source[1] - height / scale) / 2
    return Plan((width, height), (max(0.0, cut_x), max(0.0, cut_y), source[0] - max(0.0, cut_x), source[1] - max(0.0, cut_y)))


def _scaled(source: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def redrafted(plan: Plan, draft: tuple[int, int], source: tuple[int, int]) -> Plan:
    """The plan for the same picture decoded at ``draft`` instead of ``source`` pixels."""
    x, y = draft[0] / source[0], draft[1] / source[1]
    left, upper, right, lower = plan.box
    return Plan(plan.size, (left * x, upper * y, min(right * x, draft[0]), min(lower * y, draft[1])))
