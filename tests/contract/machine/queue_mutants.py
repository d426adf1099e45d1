"""Faults to plant, one at a time: each is an edit of the scripts that the machine has to notice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

from dtq.queue import scripts
from dtq.queue.scripts import Script

__all__ = ["MUTANTS", "NAMES", "Mutant", "planted"]


@dataclass(frozen=True)
class Mutant:
    """``old`` becomes ``new`` wherever a script has it; ``rare``: many examples are needed, so that it is for long runs."""

    name: str
    old: str
    new: str
    rare: bool = False


MUTANTS = [
    Mutant("finish does not ask whose claim it is", "if not is_mine(lane, eid) then", "if false then"),
    Mutant("finish ends the same claim twice in a batch", "mine[lane][eid] = false", "mine[lane][eid] = true", rare=True),
    Mutant("finish leaves the entry", "redis.call('XDEL', p .. ':' .. lane, unpack(list))", ""),
    Mutant("finish counts no failure", "rec.n = text(tonumber(rec.n or '0') + 1)", "", rare=True),
    Mutant(
        "finish runs a job again that is to be cancelled",
        "if cancels and redis.call('HEXISTS'",
        "if false and redis.call('HEXISTS'",
        rare=True,
    ),
    Mutant("finish leaves the wish to cancel", "if cancels then redis.call('HDEL', p .. ':cancel', id) end", "", rare=True),
    Mutant("finish leaves the record", "if b == '1' then redis.call('DEL', p .. ':job:' .. id) end", ""),
    Mutant("a job handed back goes to the end", "enqueue(p, id, 'f')\n        wake(p)", "enqueue(p, id, 'n')\n        wake(p)", rare=True),
    Mutant("reclaim counts no crash", "rec.c = text(tonumber(rec.c or '0') + 1)", "rec.c = rec.c or '0'"),
    Mutant(
        "reclaim takes from live workers",
        "p .. ':workers', '-inf', text(now), 'LIMIT', 0, 16",
        "p .. ':workers', '-inf', '+inf', 'LIMIT', 0, 16",
    ),
    Mutant("reclaim forgets what is beyond its budget", "  if budget > 0 then\n    for", "  if true then\n    for", rare=True),
    Mutant("reclaim gives no time after a standstill", "if now < grace then return {0, 0, 0, 0} end", "", rare=True),
    Mutant(
        "reclaim leaves a dead worker idle", "redis.call('ZREM', p .. ':idle', worker)\n    redis.call('DEL'", "redis.call('DEL'", rare=True
    ),
    Mutant("cancel leaves the entry", "redis.call('XDEL', p .. ':' .. lane, eid)\n  finish_here", "finish_here"),
    Mutant("what a script ends has no row", "anew('XADD', p .. ':outbox', '*', 'r', '[' .. blob .. ']')\n  return blob", "return blob"),
    Mutant("promote leaves the job delayed", "redis.call('ZREM', p .. ':delayed', id)\n    if lane", "if lane"),
    Mutant("claim ignores a pause", "if redis.call('EXISTS', p .. ':paused') == 1 then\n  wait()", "if false then\n  wait()"),
    Mutant("claim takes normal before high", "local LANES = {'f', 'h', 'n', 'l'}", "local LANES = {'f', 'n', 'h', 'l'}"),
    Mutant(
        "claim takes no lease",
        "if left < wanted then\n  anew('ZADD', p .. ':workers', text(now + lease), worker)",
        "if left < wanted then",
    ),
    Mutant("a job is handed over in a paused queue", "redis.call('EXISTS', p .. ':paused') == 0 and read_first", "read_first"),
    Mutant(
        "a job is handed to a dead worker",
        "if type(lease) == 'string' and tonumber(lease) > clock() then",
        "if type(lease) == 'string' then",
        rare=True,
    ),
    Mutant("an idle worker of which nothing is wanted is forgotten", "redis.call('ZADD', p .. ':idle', idle[2], worker)", ""),
    Mutant("a tick fires twice", "if last and tonumber(last) >= tick then", "if last and tonumber(last) > tick then"),
    Mutant("Forbid forbids nothing", "if policy == 'Forbid' and #live > 0 then", "if false then", rare=True),
    Mutant("Replace leaves the run", "if policy == 'Replace' then", "if false then", rare=True),
    Mutant("replay leaves the dead letter", "redis.call('ZREM', p .. ':dead', id)\n", "", rare=True),
    Mutant("replay keeps the old result", "\nforget(p, id)\n", "\n"),
    Mutant(
        "submit forgets the idempotency key",
        "redis.call('SET', p .. ':idem:' .. idem, ARGV[i + 9] .. ' ' .. id, 'PX', idemttl)",
        "",
        rare=True,
    ),
    Mutant("leave keeps the lease", "else redis.pcall('ZREM', p .. ':workers', worker) end", "end"),
    Mutant(
        "leave lets its claims wait for the lease",
        "if left > 0 then anew('ZADD', p .. ':workers', '0', worker) else",
        "if left == 0 then",
    ),
    Mutant("renew always says that the lease was held", "local reply = {held and 1 or 0}", "local reply = {1}"),
    Mutant("the word in a box stays for ever", "redis.call('PEXPIRE', box, 3600000)", "", rare=True),
    Mutant("results stay for ever", "if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end", ""),
]


NAMES = tuple(
    path.name.removesuffix(".lua") for path in (files("dtq") / "lua").iterdir() if path.name.endswith(".lua") and path.name != "common.lua"
)


def planted(mutant: Mutant) -> Callable[[str], Script]:
    """A loader of scripts with the fault in them."""
    found = {name: scripts.load(name) for name in NAMES}
    assert any(mutant.old in script.text for script in found.values()), f"no script has {mutant.old!r}"
    for name, script in found.items():
        text = script.text.replace(mutant.old, mutant.new)
        found[name] = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return found.__getitem__
