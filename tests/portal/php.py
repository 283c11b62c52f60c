"""How PHP and a browser write and read data: bracket syntax, urlencoding, Bitrix24's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote_plus

_HEX = {"/": "\\/", "&": "\\u0026", "<": "\\u003C", ">": "\\u003E", "'": "\\u0027"}


def json_encode(value: Any, ascii_only: bool = False) -> str:
    """JSON as the portal writes it: `\\/`, `\\u0026`, and `[]` for an empty map."""
    text = json.dumps(_php_array(value), ensure_ascii=ascii_only, separators=(",", ":"))
    text = re.sub(r"\\(.)", lambda m: "\\u0022" if m[1] == '"' else m[0], text)
    return re.sub(r"[/&<>']", lambda m: _HEX[m[0]], text)


def _php_array(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _php_array(v) for k, v in value.items()} or []
    return [_php_array(v) for v in value] if isinstance(value, (list, tuple)) else value


def form_encode(pairs: Iterable[tuple[str, str]], charset: str = "utf-8") -> str:
    """A browser's form: only `* - . _` and alphanumerics stay as they are."""
    def quote(text: str) -> str:
        return quote_plus(text, "*", charset, "xmlcharrefreplace").replace("~", "%7E")
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)


def build_query(data: dict[str, Any]) -> str:
    """PHP's http_build_query: nested data as `auth%5Bdomain%5D=...`, in the order given."""
    return "&".join(f"{quote_plus(n)}={quote_plus(str(v))}" for n, v in _flatten(data)
                    ).replace("~", "%7E")


def _flatten(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        name = f"{prefix}[{key}]" if prefix else key
        if isinstance(value, dict):
            yield from _flatten(value, name)
        else:
            yield name, value


def parse_query(text: str) -> dict[str, Any]:
    """The reverse: bracket names become nested dicts, the last of equal names wins."""
    result: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, bracket, tail = name.partition("[")
        keys = [head, *re.findall(r"\[([^\]]*)\]", bracket + tail)]
        place = result
        for key in keys[:-1]:
            inner = place.get(key)
            if not isinstance(inner, dict):
                inner = place[key] = {}
            place = inner
        place[keys[-1] or str(len(place))] = value
    return result


def to_int(value: Any) -> int:
    """PHP's (int): leading digits, anything else is 0."""
    match = re.match(r"\s*[+-]?\d+", str(value))
    return int(match[0]) if match else 0


def decode_body(content_type: str, body: bytes) -> dict[str, Any]:
    """Body of a REST call; malformed JSON is ignored silently, as the portal does."""
    text = body.decode("utf-8", "replace")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return parse_query(text)
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
