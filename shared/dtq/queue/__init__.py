"""The queue engine on Redis or Valkey: streams with consumer groups, one Lua script per transition.

Every queue has four streams (redelivered jobs, priority high, normal, low). A waiting job lives in its stream entry
alone, and its id says which; being in the consumer group's pending list *is* the state running, and the pair of worker
name and entry id is the claim's fencing token, since an entry never changes hands: a job that is retried, handed back or
taken from a dead worker gets a new entry. From its first retry on a job has a record of its own, and a finished job has
its JSON text until RESULTTTL. docs/architecture.md draws it.
"""

from dtq.queue.engine import Fired, FireTick, Queue, QueueStats, Reclaimed, Run, Submitted
from dtq.queue.live import LiveFilter

__all__ = ["FireTick", "Fired", "LiveFilter", "Queue", "QueueStats", "Reclaimed", "Run", "Submitted"]
