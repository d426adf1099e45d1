"""How durable the servers are in each pass."""

from __future__ import annotations

PASSES = {
    "memory": "Valkey without persistence; PostgreSQL durable, as by default",
    "everysec": "Valkey appendfsync everysec; PostgreSQL synchronous_commit=off, about the same promise",
    "always": "Valkey appendfsync always; PostgreSQL durable, as by default",
}
