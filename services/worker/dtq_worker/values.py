"""What handlers return, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel

from dtq.errors import Permanent

__all__ = ["MAX_RESULT", "encode_result"]

MAX_RESULT = 1024 * 1024
"""Bytes of a result kept with its job; larger ones belong into the blob store (``ctx.output``)."""


def _other(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_other)


def encode_result(value: Any) -> bytes | None:
    """The JSON text of a handler's return value; None for None.

    Raises:
        Permanent: JSON cannot hold it, or it is too large. Running the handler again would not help.
    """
    if value is None:
        return None
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError, NotImplementedError, RecursionError, UnicodeEncodeError) as error:
        raise Permanent(f"the handler returned a {type(value).__name__} that JSON cannot hold: {error}") from error
    if len(text) > MAX_RESULT:
        raise Permanent(f"the handler's result has {len(text)} bytes, {MAX_RESULT} are allowed; write it to the blob store instead")
    return text
