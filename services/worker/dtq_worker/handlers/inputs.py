"""Gets the files that payloads name, and says in one way what to do when they cannot be had."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtq.blobs import BlobInfo, BlobStore
from dtq.config import Settings
from dtq.errors import BlobNotFound, BlobTooLarge, BlobUnavailable, Permanent, Retry
from dtq.jobs.fields import Source, decode_base64
from dtq_worker.fetch import fetch_bytes, rules_of

__all__ = ["blob_errors", "read_source", "store_blob", "store_of"]


@functools.lru_cache(maxsize=4)
def _open(url: str) -> BlobStore:
    return BlobStore.from_url(url)


def store_of(settings: Settings) -> BlobStore:
    """The blob store of this process.

    Raises:
        ConfigError: BLOBURL cannot be used.
    """
    return _open(settings.bloburl)


@contextmanager
def blob_errors() -> Iterator[None]:
    """Turn the blob store's errors into what a job does about them."""
    try:
        yield
    except (BlobNotFound, BlobTooLarge) as error:
        raise Permanent(str(error)) from None
    except BlobUnavailable as error:
        raise Retry(str(error)) from error


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


def store_blob(key: str, data: bytes | Path, settings: Settings) -> BlobInfo:
    """Write a blob.

    Raises:
        Retry: the store does not take it now.
    """
    with blob_errors():
        return store_of(settings).put(key, data)
