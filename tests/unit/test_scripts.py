"""Lua scripts get the helpers they use, and no others: the server makes each of them anew at every run."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from dtq.queue.scripts import load, needed

HELPERS = """local A = 'a'
local function first(x)
  return A .. x
end
local function second(x) return first(x) end
local function third(x) return x end
"""
NAMES = sorted(path.name.removesuffix(".lua") for path in (files("dtq") / "lua").iterdir() if path.name != "common.lua")


def names(text: str) -> list[str]:
    return re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE)


def test_what_is_used_comes_with_all_that_it_uses() -> None:
    assert names(needed(HELPERS, "return second('b')")) == ["A", "first", "second"]
    assert names(needed(HELPERS, "return third('b')")) == ["third"]


def test_a_name_within_another_is_no_use() -> None:
    assert needed(HELPERS, "return thirds") == ""


def test_what_is_kept_is_unchanged_and_in_order() -> None:
    assert needed(HELPERS, "return second('b') .. third('c')") == HELPERS


@pytest.mark.parametrize("name", NAMES)
def test_no_script_has_a_helper_that_it_does_not_use(name: str) -> None:
    text = load(name).text
    common = (files("dtq") / "lua" / "common.lua").read_text("utf-8")
    for helper in set(names(common)) & set(names(text)):
        assert len(re.findall(rf"\b{helper}\b", text)) > 1, helper
