"""Gets what a payload names as its source: text in the payload itself, a URL or a blob."""

from __future__ import annotations

from dtq.config import Settings
from dtq.jobs.fields import Source, decode_base64
from dtq_worker.fetch import fetch_bytes
from dtq_worker.handlers.inputs import blob_errors, store_of
from dtq_worker.netrules import rules_of

__all__ = ["read_source"]


def read_source(source: Source, settings: Settings) -> bytes:
    """The content of a source, at most FETCHMAXBYTES.

    Raises:
        Permanent: it does not exist, is too large or may not be fetched.
        Retry: it may be had later.
    """
    if source.base64 is not None:
        return decode_base64(source.base64)
    if source.url is not None:
        return fetch_bytes(source.url, rules_of(settings))
    with blob_errors():
        return store_of(settings).get(source.blob or "", settings.fetchmaxbytes)
