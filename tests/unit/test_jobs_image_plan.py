"""How large a resized image becomes, and what is cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtq_worker.handlers.image_plan import plan_resize

side = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("width", "height", "fit", "size", "box"),
    [
        (100, None, "contain", (100, 50), (0, 0, 400, 200)),
        (None, 100, "cover", (200, 100), (0, 0, 400, 200)),
        (100, 100, "contain", (100, 50), (0, 0, 400, 200)),
        (100, 100, "cover", (100, 100), (100, 0, 300, 200)),
        (100, 100, "fill", (100, 100), (0, 0, 400, 200)),
        (800, 800, "contain", (800, 400), (0, 0, 400, 200)),
        (1, 1, "contain", (1, 1), (0, 0, 400, 200)),
    ],
)
def test_a_plan_for_400_by_200_pixels(
    width: int | None, height: int | None, fit: str, size: tuple[int, int], box: tuple[float, ...]
) -> None:
    assert plan_resize((400, 200), width, height, fit) == (size, box)


@given(side, side, side, side, st.sampled_from(["contain", "cover", "fill"]))
def test_a_plan_stays_inside_its_source_and_its_target(sw: int, sh: int, width: int, height: int, fit: str) -> None:
    size, (left, upper, right, lower) = plan_resize((sw, sh), width, height, fit)
    assert 0 <= left < right <= sw
    assert 0 <= upper < lower <= sh
    assert 1 <= size[0] <= width
    assert 1 <= size[1] <= height
