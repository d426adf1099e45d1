"""DTQ's worker: claims jobs, runs their handlers, reports how they ended.

Roles, one small module each: the Fetcher claims jobs into free slots, the Executor runs them (async handlers on the event
loop, sync ones in a pool of killable processes), the Reporter ends attempts in batches, the Recorder carries finished
jobs to PostgreSQL, the Heartbeat renews leases from a thread of its own, and the Worker starts and stops them in order.
"""
