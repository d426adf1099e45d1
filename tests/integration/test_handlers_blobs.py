"""The blob store, in a folder and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtq.blobs import BlobStore
from dtq.errors import BlobNotFound, BlobTooLarge, BlobUnavailable, ConfigError, InvalidRequest


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore.from_url(f"file://{tmp_path}/made on demand" if request.param == "file" else "memory:///")


def test_a_blob_is_read_as_it_was_written(blobs: BlobStore) -> None:
    blobs.put("a/ö b.txt", b"content")
    assert blobs.get("a/ö b.txt", 7) == b"content"
    assert blobs.head("a/ö b.txt").size == 7


def test_a_later_write_replaces_an_earlier_one(blobs: BlobStore) -> None:
    blobs.put("k", b"long content")
    blobs.put("k", b"short")
    assert blobs.get("k", 100) == b"short"


async def test_a_blob_is_streamed_in_pieces(blobs: BlobStore) -> None:
    data = bytes(range(256)) * 20_000
    await blobs.put_async("big", data)
    stream = await blobs.get_stream("big")
    chunks = [chunk async for chunk in stream]
    assert stream.info.size == len(data)
    assert b"".join(chunks) == data


async def test_the_event_loop_reads_and_writes_too(blobs: BlobStore) -> None:
    await blobs.put_async("k", b"x")
    assert await blobs.get_async("k", 1) == b"x"
    assert (await blobs.head_async("k")).size == 1


def test_a_file_is_stored_and_downloaded(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 3_000_000)
    assert blobs.put("k", tmp_path / "in").size == 3_000_000
    assert blobs.download("k", tmp_path / "out", 3_000_000) == 3_000_000
    assert (tmp_path / "out").read_bytes() == b"x" * 3_000_000


def test_a_blob_that_is_too_large_is_not_read(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put("k", b"xx")
    with pytest.raises(BlobTooLarge):
        blobs.get("k", 1)
    with pytest.raises(BlobTooLarge):
        blobs.download("k", tmp_path / "out", 1)


async def test_a_missing_blob_is_told_by_name(blobs: BlobStore) -> None:
    for call in (lambda: blobs.get("none", 1), lambda: blobs.head("none")):
        with pytest.raises(BlobNotFound, match="'none'"):
            call()
    with pytest.raises(BlobNotFound):
        await blobs.get_stream("none")
    blobs.delete("none")


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../b", "", "a//b", "."])
def test_no_key_leads_out_of_the_store(blobs: BlobStore, key: str) -> None:
    for call in (lambda: blobs.get(key, 1), lambda: blobs.put(key, b""), lambda: blobs.head(key), lambda: blobs.local_path(key)):
        with pytest.raises(InvalidRequest):
            call()


def test_a_local_blob_has_a_path(tmp_path: Path) -> None:
    blobs = BlobStore.from_url(f"file://{tmp_path}")
    assert blobs.local_path("k") is None
    blobs.put("k", b"x")
    assert blobs.local_path("k") == tmp_path / "k"
    assert BlobStore.from_url("memory:///").local_path("k") is None


def test_a_folder_of_blobs_is_no_blob(tmp_path: Path) -> None:
    blobs = BlobStore.from_url(f"file://{tmp_path}")
    blobs.put("folder/a.txt", b"x")
    with pytest.raises(BlobNotFound):
        blobs.get("folder", 100)


def test_a_relative_url_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    BlobStore.from_url("file://./.data/blobs").put("k", b"x")
    assert (tmp_path / ".data/blobs/k").read_bytes() == b"x"


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobUnavailable):
        BlobStore.from_url(f"file://{tmp_path}/file/x").put("k", b"x")


@pytest.mark.parametrize("url", ["http://x/", "nonsense", "", "ftp://x", "az://container/x"])
def test_a_wrong_url_is_told_with_its_variable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigError, match="BLOBURL"):
        BlobStore.from_url(url)


def test_object_stores_need_no_connection_to_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for url in ("s3://bucket/prefix", "gs://bucket", "az://container"):
        BlobStore.from_url(url)
