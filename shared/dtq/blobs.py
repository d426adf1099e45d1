"""The blob store: files too large for a payload or a result, in a folder or an object store named by BLOBURL.

``file:`` URLs name a folder, relative to the working directory unless absolute; it is made on demand. For ``s3://``,
``gs://`` and ``az://`` the credentials come from the usual environment variables (AWS_*, GOOGLE_*, AZURE_*).
A blob appears whole or not at all: writers never leave half of one under its name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from dtq.blobkey import check_key
from dtq.errors import BlobNotFound, BlobTooLarge, BlobUnavailable, ConfigError, InvalidRequest

__all__ = ["BlobInfo", "BlobStore", "BlobStream"]

CHUNK = 1024 * 1024
"""Bytes read from a blob at a time."""

_RETRY: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_CLIENT: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=10)}


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob's ``key`` and ``size`` in bytes; ``etag`` changes with its content."""

    key: str
    size: int
    etag: str | None


class BlobStream:
    """A blob being read: ``info`` at once, its bytes by ``async for``."""

    __slots__ = ("_result", "info")

    def __init__(self, info: BlobInfo, result: Any) -> None:
        """``result`` is obstore's."""
        self.info = info
        self._result = result

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated(self.info.key):
            async for chunk in self._result.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)


class BlobStore:
    """Reads and writes blobs by key. Safe to use from several threads; open one in each process."""

    def __init__(self, store: Any, root: Path | None = None) -> None:
        """``store`` is one of obstore's; ``root`` is its folder when it is local."""
        self._store = store
        self._root = root

    @classmethod
    def from_url(cls, url: str) -> BlobStore:
        """The store that BLOBURL names; nothing is connected yet.

        Raises:
            ConfigError: not a URL of a store, or its settings are incomplete.
        """
        if url.startswith("file:"):
            root = Path(unquote(url.removeprefix("file:").removeprefix("//"))).absolute()
            return cls(None, root)
        scheme = url.partition(":")[0]
        if scheme not in {"s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory"}:
            raise ConfigError(f"BLOBURL={url!r}: expected a file://, s3://, gs:// or az:// URL")
        try:
            options = {} if scheme == "memory" else {"retry_config": _RETRY, "client_options": _CLIENT}
            return cls(from_url(url, **options))
        except (BaseError, ValueError) as error:
            raise ConfigError(f"BLOBURL={url!r}: {_first_line(error)}") from error

    def _open(self, key: str) -> tuple[Any, str]:
        try:
            check_key(key)
        except ValueError as error:
            raise InvalidRequest(f"blob key {key[:80]!r}: {error}", [("key", str(error))]) from error
        if self._store is None and self._root is not None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self._root)
        return self._store, key

    def local_path(self, key: str) -> Path | None:
        """The file that holds the blob, if the store is a folder and has it; readers must not change it."""
        with _translated(key):
            self._open(key)
            path = self._root / key if self._root is not None else None
            return path if path is not None and path.is_file() else None

    def head(self, key: str) -> BlobInfo:
        """What is known of a blob without reading it.

        Raises:
            BlobNotFound, BlobUnavailable, InvalidRequest: as for every method that takes a key.
        """
        with _translated(key):
            store, path = self._open(key)
            return _info(key, obstore.head(store, path))

    async def head_async(self, key: str) -> BlobInfo:
        """As :meth:`head`, on the event loop."""
        with _translated(key):
            store, path = self._open(key)
            return _info(key, await obstore.head_async(store, path))

    def get(self, key: str, max_bytes: int) -> bytes:
        """A whole blob.

        Raises:
            BlobTooLarge: it has more than ``max_bytes``; nothing was read.
        """
        path = self.local_path(key)
        if path is not None:  # a tenth of the time that obstore's threads take
            with _translated(key), path.open("rb") as file:
                _limit(BlobInfo(key, os.fstat(file.fileno()).st_size, None), max_bytes)
                return file.read()
        with _translated(key):
            store, name = self._open(key)
            result = obstore.get(store, name)
            _limit(_info(key, result.meta), max_bytes)
            return bytes(result.bytes())

    async def get_async(self, key: str, max_bytes: int) -> bytes:
        """As :meth:`get`, on the event loop."""
        with _translated(key):
            store, path = self._open(key)
            result = await obstore.get_async(store, path)
            _limit(_info(key, result.meta), max_bytes)
            return bytes(await result.bytes_async())

    async def get_stream(self, key: str) -> BlobStream:
        """A blob of any size, chunk by chunk."""
        with _translated(key):
            store, path = self._open(key)
            result = await obstore.get_async(store, path)
            return BlobStream(_info(key, result.meta), result)

    def download(self, key: str, path: Path, max_bytes: int) -> int:
        """Copy a blob to a local file, and return its size.

        Raises:
            BlobTooLarge: it has more than ``max_bytes``; nothing was written.
        """
        with _translated(key):
            store, name = self._open(key)
            result = obstore.get(store, name)
            info = _info(key, result.meta)
            _limit(info, max_bytes)
            with path.open("wb") as file:
                for chunk in result.stream(min_chunk_size=CHUNK):
                    file.write(chunk)
            return info.size

    def put(self, key: str, data: bytes | Path) -> BlobInfo:
        """Write bytes or a local file's content as a blob; an older blob of this name is replaced."""
        with _translated(key):
            store, path = self._open(key)
            obstore.put(store, path, cast("Any", data))
        size = data.stat().st_size if isinstance(data, Path) else len(data)
        return BlobInfo(key, size, None)

    async def put_async(self, key: str, data: bytes | Path) -> BlobInfo:
        """As :meth:`put`, on the event loop."""
        with _translated(key):
            store, path = self._open(key)
            await obstore.put_async(store, path, cast("Any", data))
        size = data.stat().st_size if isinstance(data, Path) else len(data)  # noqa: ASYNC240 - one stat of a local file
        return BlobInfo(key, size, None)

    def delete(self, key: str) -> None:
        """Remove a blob; one that does not exist is no error."""
        with contextlib.suppress(BlobNotFound), _translated(key):
            store, path = self._open(key)
            obstore.delete(store, path)


def _info(key: str, meta: Any) -> BlobInfo:
    return BlobInfo(key, int(meta["size"]), meta["e_tag"])


def _limit(info: BlobInfo, max_bytes: int) -> None:
    if info.size > max_bytes:
        raise BlobTooLarge(f"blob {info.key!r} has {info.size} bytes, {max_bytes} are allowed")


def _first_line(error: BaseException) -> str:
    """obstore's messages end in a dump of its own structures."""
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFound(f"there is no blob {key!r}") from error
    except (BaseError, OSError) as error:
        raise BlobUnavailable(f"blob {key!r}: {_first_line(error)}") from error
