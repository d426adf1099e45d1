"""PostgreSQL whose answers do not arrive: reads end, and go on when it is well again."""

from __future__ import annotations

import asyncio
import urllib.parse

import pytest
from faultkit.proxy import PASS, Link, Mode

from dtq.errors import StoreUnavailable
from dtq.storage import Store
from dtq.storage import store as store_module

UNKNOWN = "0199ca4d40000000n-default"


async def test_a_read_on_a_connection_that_has_gone_silent_ends_and_the_next_one_is_answered(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = urllib.parse.urlsplit(pg_dsn)
    link = Link(url.port or 0)
    host = await link.open()
    store = Store(url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@{host}").geturl())
    await store.open()
    try:
        assert await store.get(UNKNOWN) is None
        await link.set_mode(Mode("mute"))
        with monkeypatch.context() as patch:  # only here: others may take longer on a busy machine
            patch.setattr(store_module, "READ_SECONDS", 1.0)
            async with asyncio.timeout(60):
                with pytest.raises(StoreUnavailable):
                    await store.get(UNKNOWN)
        await link.set_mode(PASS)
        assert await store.get(UNKNOWN) is None
    finally:
        await store.close()
        await link.close()
