"""The blob store as handlers use it: its errors say in one way what a job does about them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtq.blobs import BlobInfo, BlobStore
from dtq.config import Settings
from dtq.errors import BlobNotFound, BlobTooLarge, BlobUnavailable, Permanent, Retry

__all__ = ["blob_errors", "store_blob", "store_of"]


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


def store_blob(key: str, data: bytes | Path, settings: Settings) -> BlobInfo:
    """Write a blob.

    Raises:
        Retry: the store does not take it now.
    """
    with blob_errors():
        return store_of(settings).put(key, data)
