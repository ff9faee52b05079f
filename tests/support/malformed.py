"""Requests that no client should send, as bytes."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from support.api_routes import ROUTES, nothing

HOST = b"127.0.0.1"
SHARE_OF_NOISE = 0.2
TRAVERSALS = (
    "..", "../../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..%2fobjects", "%00",
    "..\\..\\windows", "file:%2f%2f%2fetc%2fpasswd", "s3:%2f%2fbucket%2fkey", "%ff%fe", "'--",
    "file-..%2f..", "batch_%00", "x" * 5_000, "%25%32%65", "-1", "9" * 400, "NaN",
)  # fmt: skip
METHODS = ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW")
BAD_HEADERS = (
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 1, 2",
    b"Content-Length: 5\r\nContent-Length: 7", b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Expect: 200-maybe", b"Range: bytes=9-1",
    b"Authorization: Bearer", b"Authorization: Basic eDp5", b"Authorization: Bearer \xff\xfe",
    b'If-None-Match: "' + b"x" * 3_000, b"Idempotency-Key: " + b"k" * 5_000,
    b"Content-Encoding: gzip", b"Content-Type: multipart/form-data",
    b"Content-Type: multipart/form-data; boundary=" + b"b" * 3_000, b"Content-Type: \x80\x81",
    b"Content-Type: application/json; charset=utf-7", b"X: " + b"y" * 70_000, b": no name",
    b"Upgrade: websocket\r\nConnection: Upgrade", b"Host: evil.example", b"Accept: \x01",
)  # fmt: skip
BAD_DOCUMENTS = (
    b"[" * 50_000, b'{"a":' * 20_000, b'{"prompts": "\\ud800", "no": 1}', b"{", b"NaN", b"\xff\xfe",
    b'{"prompts": ["\\u0000"], "no": 1}', b'{"priority": 1e400}', b'{"priority": 1000000000000000}',
    b'{"prompts": [1, null, []], "no": []}', b'{"max_cost_usd": "1e999999"}', b"[]", b'"text"',
    b'{"jobs": [' + b'"x",' * 3_000 + b'"x"]}', b'{"tags": {"a": 1}}', b'{"__proto__": {}}',
    b'{"input_file_id": "../../etc/passwd", "endpoint": "file:///"}', b"", b"\x1f\x8b\x08" * 99,
)  # fmt: skip
FORM = b"--b\r\nContent-Disposition: form-data; name="
BAD_FORMS = (
    b"--b", b"--b--", b"\r\n" * 500, FORM, FORM + b'"purpose"\r\n\r\nbatch\r\n',
    FORM + b'"file"; filename="../../x"\r\n\r\n',
    FORM + b'"' + b"n" * 50_000 + b'"\r\n\r\nx\r\n--b--',
    b"--b\r\nContent-Disposition: " + b"d" * 40_000, (FORM + b'"a"\r\n\r\n\r\n') * 2_000,
    b"--b\r\n\r\n\r\n--b--", b"--b\r\nX: y\r\n\r\nz\r\n--b--", FORM + b'"file"\r\n\r\nx\r\n--b--',
)  # fmt: skip

PARTS = [*TRAVERSALS, *nothing().values()]
TEMPLATES = sorted({route.path for route in ROUTES if route.is_about_something})
FIXED = sorted({route.path for route in ROUTES if not route.is_about_something})
QUERIES = (
    "", "?limit=-1", "?limit=" + "9" * 50, "?after=x&state=%00", "?text=%ff", "?before=..",
    "?" + "a=b&" * 3_000, "?expires=1e9",
)  # fmt: skip
MOST_HEADERS = 3
MOST_BYTES = 3_000


class Malformed(NamedTuple):
    """What is sent."""

    data: bytes
    is_whole: bool
    """Whether nothing more is to come, as far as a server can tell."""


def malformed(random: Random) -> Malformed:
    """Make a request: most are HTTP as far as they go, some are noise."""
    if random.random() < SHARE_OF_NOISE:
        return Malformed(random.randbytes(random.randint(1, MOST_BYTES)), is_whole=False)
    headers = random.sample(BAD_HEADERS, random.randint(0, MOST_HEADERS))
    body = random.choice([*BAD_DOCUMENTS, *BAD_FORMS])
    if body in BAD_FORMS:
        headers.append(b"Content-Type: multipart/form-data; boundary=b")
    missing = random.choice([0, 0, 0, 7])
    is_lying = any(b"Content-Length" in header or b"chunked" in header for header in headers)
    if not is_lying:
        headers.append(b"Content-Length: %d" % (len(body) + missing))
    method = random.choice(METHODS).encode()
    lines = [b"%b %b HTTP/1.1" % (method, _path(random)), b"Host: " + HOST, *headers, b"", b""]
    return Malformed(b"\r\n".join(lines) + body, is_whole=not missing and not is_lying)


def _path(random: Random) -> bytes:
    template = random.choice([*TEMPLATES, *FIXED])
    names = dict.fromkeys(nothing(), random.choice(PARTS))
    return (template.format_map(names) + random.choice(QUERIES)).encode()
