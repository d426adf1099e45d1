"""Asking the Sentinels who the primary is, with an error that says in one line what each of them answered."""

from __future__ import annotations

from typing import Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import AuthenticationError, RedisError

__all__ = ["Sentinels"]


class Sentinels(Sentinel):
    """The Sentinels of a ``sentinel://`` address. One that refuses, or is none, is passed over like one that is away.

    redis-py's own error shows the inside of its clients, and a server at REDISADDR that is no Sentinel looks to it like a
    fault of the program.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary; the Sentinel that knew it is asked first the next time.

        Raises:
            MasterNotFoundError: none of them knows one that is up.
        """
        answers = []
        for number, sentinel in enumerate(self.sentinels):
            try:
                known: Any = await sentinel.sentinel_masters()
            except (RedisError, OSError) as error:
                answers.append(f"{_place(sentinel)}: {_refusal(error)}")
                continue
            state = known.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels[0], self.sentinels[number] = sentinel, self.sentinels[0]
                return state["ip"], state["port"]
            answers.append(f"{_place(sentinel)}: {'it is down' if state else 'no such service'}")
        raise MasterNotFoundError(f"no Sentinel of REDISADDR names a primary for {service_name!r} ({'; '.join(answers)})")


def _place(sentinel: Any) -> str:
    where = sentinel.connection_pool.connection_kwargs
    return f"{where['host']}:{where['port']}"


def _refusal(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, AuthenticationError):
        return f"{text} (sentinel_username and sentinel_password say who asks)"
    return "this server is no Sentinel" if text.startswith("unknown command") else text
