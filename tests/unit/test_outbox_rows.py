"""Outbox entries are read back row by row, whatever JSON their payloads hold."""

from __future__ import annotations

import json

from dtq.queue.views import decode_terminals, read_terminal

HEAD = '{"id":"0190000000000000n-q","queue":"q","type":"t","state":"succeeded","submitted":1,"finished":2,"replays":0'
ROW = HEAD + ',"payload":%s,"result":%s}'
SURROGATES = ROW % (r'{"x":"\ud800"}', r'"\udfff"')


def test_a_lone_surrogate_in_a_payload_costs_no_row() -> None:
    text = f"[{ROW % ('{}', 'null')},{SURROGATES}]"
    rows = decode_terminals(text.encode())
    assert rows is not None
    assert [json.loads(bytes(row.payload)) for row in rows] == [{}, {"x": "\ud800"}]
    assert rows[1].result is not None
    assert json.loads(bytes(rows[1].result)) == "\udfff"


def test_what_no_script_wrote_is_told_apart() -> None:
    assert decode_terminals(b"not json") is None
    assert decode_terminals(b'[{"id":1}]') is None
    assert read_terminal(b"{}") is None
