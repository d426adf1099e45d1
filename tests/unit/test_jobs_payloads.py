"""Payloads of the built-in job types: what is taken, and which field an error names."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from dtq.jobs import BUILTIN, DataProcessing, Email, ImageResize
from dtq.jobs.data_processing import guess_format
from dtq.registry import JobType

MAIL = {"to": "user@example.com", "subject": "Test Email", "body": "This is a test email."}


def paths(model: type[BaseModel], payload: dict[str, Any]) -> list[str]:
    """Where validation finds fault, as dotted paths."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(payload)
    return [".".join(map(str, item["loc"])) for item in caught.value.errors()]


@pytest.mark.parametrize("job_type", BUILTIN, ids=lambda job_type: job_type.name)
def test_the_examples_of_a_type_are_valid(job_type: JobType) -> None:
    for example in job_type.examples:
        job_type.payload.model_validate(example)


@pytest.mark.parametrize("job_type", BUILTIN, ids=lambda job_type: job_type.name)
def test_a_type_has_a_schema_summary_and_timeout(job_type: JobType) -> None:
    assert job_type.payload.model_json_schema()["additionalProperties"] is False
    assert job_type.summary
    assert job_type.timeout


@pytest.mark.parametrize("job_type", BUILTIN, ids=lambda job_type: job_type.name)
def test_a_payload_survives_the_way_through_the_queue(job_type: JobType) -> None:
    for example in job_type.examples:
        payload = job_type.payload.model_validate(example)
        assert job_type.payload.model_validate_json(payload.model_dump_json()) == payload


def test_the_classic_email_is_taken_unchanged() -> None:
    email = Email.model_validate(MAIL)
    assert (email.to, email.subject, email.body) == (["user@example.com"], "Test Email", "This is a test email.")


@pytest.mark.parametrize(
    "address",
    [
        "root@localhost",
        "a@mail.local",
        "Jane Doe <jane@example.com>",
        '"Doe, Jane" <j@example.com>',
        "jané@example.com",
        "a@münchen.de",
        "a+b@x.de",
    ],
)
def test_an_address_is_taken(address: str) -> None:
    assert Email.model_validate({**MAIL, "to": [address]}).to == [address]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "a@",
        "@b.de",
        "a..b@c.de",
        "a b@c.de",
        "a@b.de, c@d.de",
        "a@b.de\r\nBcc: x@y.de",
        "J\r\nBcc: x@y.de <a@b.de>",
        "a@-b.de",
        "a@b..de",
        "x" * 65 + "@b.de",
        "a@" + "b" * 300 + ".de",
        "a@b.de\x00",
        "<a@b.de",
        'a"b@c.de',
        "a@b.de\u2028x",
    ],
)
def test_a_wrong_address_is_refused_with_its_place(address: str) -> None:
    assert paths(Email, {**MAIL, "to": address}) == ["to"]
    assert paths(Email, {**MAIL, "cc": ["ok@example.com", address]}) == ["cc.1"]


def test_a_line_break_is_refused_wherever_it_could_start_a_header() -> None:
    evil = "x\r\nBcc: victim@example.com"
    attachment = {"filename": evil, "content_base64": "eA==", "content_type": f"text/{evil}"}
    found = paths(
        Email,
        {
            **MAIL,
            "to": [f"a@b.de{evil}"],
            "subject": evil,
            "from": evil,
            "reply_to": evil,
            "headers": {"X-A": evil, "X\n": "v"},
            "attachments": [attachment],
        },
    )
    assert found == [
        "to.0",
        "subject",
        "from",
        "reply_to",
        "attachments.0.filename",
        "attachments.0.content_type",
        "headers.X-A",
        "headers.X\n.[key]",
    ]


@pytest.mark.parametrize("subject", ["a\nb", "a\rb", "a\x0bb", "a\x85b", "a\u2029b", "a\x00b"])
def test_every_kind_of_line_end_in_a_subject_is_refused(subject: str) -> None:
    assert paths(Email, {**MAIL, "subject": subject}) == ["subject"]


def test_an_email_needs_a_recipient_and_a_text() -> None:
    assert paths(Email, {"subject": "x"}) == ["to", "body"]
    assert Email.model_validate({"bcc": "a@b.de", "html": "<p>"}).to == []


@pytest.mark.parametrize("name", ["To", "bcc", "Subject", "Content-Type", "MIME-Version", "Message-ID", "a b", "x:", "ü", ""])
def test_headers_that_dtq_sets_or_that_are_none_are_refused(name: str) -> None:
    assert paths(Email, {**MAIL, "headers": {name: "v"}}) == [f"headers.{name}.[key]"]


def test_every_wrong_field_has_an_error_of_its_own() -> None:
    payload = {"to": 1, "subject": 2, "body": 3, "attachments": [{"filename": "a"}, {"filename": "b/c", "blob": "../x"}], "unknown": 4}
    assert paths(Email, payload) == ["to", "subject", "body", "attachments.0", "attachments.1.filename", "attachments.1.blob", "unknown"]


def test_an_attachment_has_one_content() -> None:
    both = {"filename": "a", "blob": "k", "content_base64": "eA=="}
    assert paths(Email, {**MAIL, "attachments": [both]}) == ["attachments.0"]


@pytest.mark.parametrize("text", ["!!", "eA", "eA===", "e", "", "  "])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    assert paths(ImageResize, {"source": {"base64": text}, "width": 1}) == ["source.base64"]


def test_base64_may_be_broken_into_lines() -> None:
    ImageResize.model_validate({"source": {"base64": base64.encodebytes(b"x" * 100).decode()}, "width": 1})


@pytest.mark.parametrize("source", [{}, {"url": "http://x/", "blob": "k"}, {"url": None}])
def test_an_image_has_exactly_one_source(source: dict[str, Any]) -> None:
    assert paths(ImageResize, {"source": source, "width": 1}) == ["source"]


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "file:///etc/passwd", "x", "http://", "http:///p", "javascript:1", "http://a b/", "http://x:99999/", "http://x/\n"]
)
def test_a_wrong_url_is_refused(url: str) -> None:
    assert paths(ImageResize, {"source": {"url": url}, "width": 1}) == ["source.url"]


@pytest.mark.parametrize("key", ["../x", "a/../b", "/etc/passwd", "", "a//b", "a/", ".", "a\\b", "a\nb", "a*b", "a?b", "a%2e", "x" * 513])
def test_a_blob_key_that_could_lead_astray_is_refused(key: str) -> None:
    assert paths(ImageResize, {"source": {"blob": key}, "width": 1, "output": key}) == ["source.blob", "output"]


@pytest.mark.parametrize("side", [0, -1, 16_385, "300", 1.5, True])
def test_a_side_is_a_whole_number_of_pixels_in_range(side: object) -> None:
    assert paths(ImageResize, {"source": {"blob": "k"}, "width": side}) == ["width"]


def test_an_image_needs_a_size() -> None:
    assert paths(ImageResize, {"source": {"blob": "k"}}) == ["width"]


def test_image_options_are_checked() -> None:
    payload = {"source": {"blob": "k"}, "width": 1, "fit": "stretch", "format": "GIF", "quality": 101}
    assert paths(ImageResize, payload) == ["fit", "format", "quality"]


@pytest.mark.parametrize(("text", "name"), [("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("Avif", "AVIF")])
def test_a_format_may_be_written_in_any_case(text: str, name: str) -> None:
    assert ImageResize.model_validate({"source": {"blob": "k"}, "width": 1, "format": text}).format == name


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.csv", "csv"),
        ("x/A.TSV", "csv"),
        ("a.csv.gz", "csv"),
        ("a.ndjson", "json"),
        ("a.parquet", "parquet"),
        ("csv", None),
        ("a.xlsx", None),
    ],
)
def test_a_format_is_guessed_from_the_name(name: str, format_: str | None) -> None:
    assert guess_format(name) == format_


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"blob": "a.csv", "url": "http://x/a.csv"},
        {"blob": "a.bin"},
        {"url": "http://x/data"},
        {"rows": [{"a": 1}], "format": "csv"},
        {"blob": "a.parquet", "delimiter": ";"},
        {"blob": "a.json", "header": True},
    ],
)
def test_an_input_has_one_source_and_options_that_fit(table: dict[str, Any]) -> None:
    assert paths(DataProcessing, {"sql": "SELECT 1", "inputs": {"t": table}}) == ["inputs.t"]


def test_the_query_part_of_a_url_says_nothing_of_its_format() -> None:
    table = {"url": "https://x.example/a.parquet?name=b.csv"}
    assert DataProcessing.model_validate({"sql": "SELECT 1", "inputs": {"t": table}}).inputs["t"].kind == "parquet"


@pytest.mark.parametrize("names", [["a b"], ['x"; DROP'], ["1a"], [""], ["t", "T"]])
def test_table_names_are_plain_and_differ(names: list[str]) -> None:
    assert paths(DataProcessing, {"sql": "SELECT 1", "inputs": {name: {"rows": [{"a": 1}]} for name in names}}) == ["inputs"]


@pytest.mark.parametrize("sql", ["", "  \n", "SELECT '\0'", 1, "x" * 100_001])
def test_sql_is_a_text(sql: object) -> None:
    assert paths(DataProcessing, {"sql": sql}) == ["sql"]


def test_rows_are_objects_and_not_empty() -> None:
    assert paths(DataProcessing, {"sql": "SELECT 1", "inputs": {"a": {"rows": []}, "b": {"rows": [1]}}}) == [
        "inputs.a.rows",
        "inputs.b.rows.0",
    ]
