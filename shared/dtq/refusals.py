"""Why a submission was refused, in the caller's terms: the path of each wrong field as the caller wrote it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from dtq.errors import InvalidPayload, InvalidRequest, UnknownType

__all__ = ["MalformedJson", "describe", "path_of", "refusal"]

MAX_ERRORS = 50
"""Wrong fields named in one answer."""
MAX_NAME = 100
"""Characters shown of a name that the caller made up."""


class MalformedJson(InvalidRequest):
    """The body is not JSON as RFC 8259 has it."""


def refusal(error: Exception, body: bytes, models: Mapping[str, type[BaseModel]]) -> InvalidRequest:
    """The typed error for what a parser refused. ``models`` are the request models by type name."""
    if not isinstance(error, PydanticError):
        # pydantic has passed it, so what remains is what RFC 8259 leaves out, and nesting.
        return MalformedJson("the body is not JSON: NaN and Infinity are no JSON numbers, and nesting is limited")
    found = error.errors(include_url=False, include_context=True, include_input=False)
    if found[0]["type"] == "json_invalid":
        message = found[0]["msg"].removeprefix("Invalid JSON: ")
        return MalformedJson(f"the body is not JSON: {message[:200]}")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    return _refusal(found[:MAX_ERRORS], data, models)


def _refusal(found: list[Any], data: object, models: Mapping[str, type[BaseModel]]) -> InvalidRequest:
    errors: dict[tuple[str, str], None] = {}
    unknown = payload = True
    for item in found:
        keys = path_of(item["loc"], data)
        if item["type"] in ("union_tag_invalid", "union_tag_not_found") or (item["type"] == "literal_error" and keys[-1:] == ["type"]):
            keys = keys if keys[-1:] == ["type"] else [*keys, "type"]
            message = describe_type(item["type"], _value(data, keys), models)
        else:
            unknown = False
            message = describe(item, _known(keys, data, models))
        payload = payload and "payload" in keys
        errors[_join(keys), message] = None
    listed = list(errors)
    field, message = listed[0]
    kind = UnknownType if unknown else InvalidPayload if payload else InvalidRequest
    return kind(f"{field}: {message}" if field else message, listed)


def path_of(loc: tuple[int | str, ...], data: object) -> list[int | str]:
    """The steps of a pydantic location that lead through ``data``: without the names of union members."""
    keys: list[int | str] = []
    for position, step in enumerate(loc):
        item = isinstance(step, int) and isinstance(data, list) and step < len(data)
        named = isinstance(step, str) and isinstance(data, dict)
        if item or (named and step in cast("Any", data)):
            data = cast("Any", data)[step]
        elif not (named and position == len(loc) - 1):
            continue  # a union member's name; only a missing field may end a path without being there
        keys.append(step)
    return keys


def describe(item: Mapping[str, Any], known: list[str]) -> str:
    """One error of pydantic in a sentence."""
    kind, message = item["type"], str(item["msg"])
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(item["loc"][-1])[:MAX_NAME].lower(), known, 1)
        return "unknown field" + (f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}" if known else "")
    if kind == "missing":
        return "required, but missing"
    if kind == "string_pattern_mismatch" and item["loc"][-1] == "queue":
        return "a queue's name is a-z, 0-9, '.', '_' and '-', starting with a letter or digit, up to 63 characters"
    return message.removeprefix("Value error, ")[:500]


def describe_type(kind: str, value: object, models: Mapping[str, type[BaseModel]]) -> str:
    """What is wrong with the job type."""
    known = ", ".join(sorted(models))
    if kind == "union_tag_not_found":
        return f"required, but missing; known types are {known}"
    shown = repr(value)[:MAX_NAME]
    close = difflib.get_close_matches(value[:MAX_NAME], list(models), 1) if isinstance(value, str) else []
    return f"unknown job type {shown}; " + (f"did you mean {close[0]!r}? " if close else "") + f"known types are {known}"


def _known(keys: list[int | str], data: object, models: Mapping[str, type[BaseModel]]) -> list[str]:
    """The fields that could stand where the path ends: of the request, or of its payload."""
    if keys[:1] == ["jobs"] and len(keys) == 1:
        return []
    if keys[:1] == ["jobs"]:
        data, keys = _value(data, keys[:2]), keys[2:]
    if not isinstance(data, dict):
        return []
    model = models.get(str(data.get("type")))
    if model is None:
        return ["jobs"]
    if len(keys) == 1:
        return list(model.model_fields)
    payload = model.model_fields["payload"].annotation
    if len(keys) == 2 and keys[0] == "payload" and isinstance(payload, type) and issubclass(payload, BaseModel):
        return [info.alias or name for name, info in payload.model_fields.items()]
    return []


def _value(data: Any, keys: list[int | str]) -> Any:
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _join(keys: list[int | str]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f"{'.' if text else ''}{key[:MAX_NAME]}"
    return text
