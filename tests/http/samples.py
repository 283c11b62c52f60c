"""What Bitrix24 sends: the documented requests byte for byte, and requests made from their fields.

Numbers in comments are sections of the protocol description.
"""

import itertools
import json
import urllib.parse
import uuid

FORM = "application/x-www-form-urlencoded"
ALLOW = "GET, HEAD, POST, OPTIONS"

MEMBER_ID = "da45a03b265edd8787f8a258d793cc5d"
AUTH_ID = "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
REFRESH_ID = "31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
APPLICATION_TOKEN = "ec1b2074a9d3f5c81b6e40d27a95cf38"
APP_SID = "588b8a98e848778a4ffb38fbcf70f2b9"
OLD_APP_SID = "0f8fad5bd9cb469fa16570867728950e"
KEY = "k7QmVx0cN2sR9tLwYb4Hd"
PASSWORD = "correct-horse-battery"

# No log and no answer may hold any of these, whatever a test sends.
SECRETS = [AUTH_ID, REFRESH_ID, APPLICATION_TOKEN, APP_SID, OLD_APP_SID, KEY, PASSWORD]

SOURCES = []  # functions that return more of them: what a simulated Bitrix24 has given out so far

# 1.5: new portal, old portal
NEW_QUERY = f"type=1&DOMAIN=xxx.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID={APP_SID}"
OLD_QUERY = f"DOMAIN=portal.example.local:8080&PROTOCOL=0&LANG=ru&APP_SID={OLD_APP_SID}"
BLOG = ("%7B%22ID%22%3A%22PAGE_BACKGROUND_WORKER%22%2C%22URI%22%3A%22%5C%2Fcompany%5C%2Fpersonal"
        "%5C%2Fuser%5C%2F1%5C%2Fblog%5C%2F%22%7D")
NEW_BODY = (f"AUTH_ID={AUTH_ID}&AUTH_EXPIRES=3600&REFRESH_ID={REFRESH_ID}"
            "&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"
            f"&APPLICATION_TOKEN={APPLICATION_TOKEN}&APPLICATION_SCOPE=placement"
            f"&member_id={MEMBER_ID}&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER"
            f"&PLACEMENT_OPTIONS={BLOG}").encode()
OLD_BODY = (f"AUTH_ID={AUTH_ID}&AUTH_EXPIRES=3600&REFRESH_ID={REFRESH_ID}&member_id={MEMBER_ID}"
            f"&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER&PLACEMENT_OPTIONS={BLOG}").encode()
BROWSER_HEADERS = """\
Origin: https://xxx.bitrix24.com
Referer: https://xxx.bitrix24.com/
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: iframe
Upgrade-Insecure-Requests: 1
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-US,en;q=0.9
User-Agent: Mozilla/5.0
"""

# 3.2: the notice, variants A to E
OVERTIME = "ERROR_PLACEMENT_LOADING_OVERTIME"
DESCRIPTION = "Worker switched off: it loaded for over 5 seconds more than 10 times"
NOTICE_A = (f"error={OVERTIME}&error_description=Worker+switched+off%3A+it+loaded+for+over"
            "+5+seconds+more+than+10+times")
NOTICE_B = (NOTICE_A + "&ts=1761990000&auth%5Bdomain%5D=xxx.bitrix24.com"
            "&auth%5Bclient_endpoint%5D=https%3A%2F%2Fxxx.bitrix24.com%2Frest%2F"
            "&auth%5Bserver_endpoint%5D=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"
            f"&auth%5Bmember_id%5D={MEMBER_ID}")
NOTICE_C = f"{NOTICE_B}&auth%5Bapplication_token%5D={APPLICATION_TOKEN}"
NOTICE_E = json.dumps({"error": OVERTIME, "error_description": DESCRIPTION, "ts": 1761990000})

assert (len(NEW_BODY), len(OLD_BODY)) == (533, 396)
assert (len(NOTICE_A), len(NOTICE_B)) == (127, 363)

_number = itertools.count(1)


def secrets():
    return [*SECRETS, *(secret for source in SOURCES for secret in source())]


def number():
    """Different at every call: marks a request, so that its line of the access log is found."""
    return next(_number)


def new_id():
    """32 hexadecimal digits never used before: a member_id."""
    return uuid.uuid4().hex


def new_secret():
    """The same as an APP_SID or a token; no log may hold it."""
    SECRETS.append(new_id())
    return SECRETS[-1]


def fields(**changes):
    """The fields of a new portal's body, in their order; None takes one away."""
    form = dict(urllib.parse.parse_qsl(NEW_BODY.decode(), keep_blank_values=True))
    form.update(changes)
    return {name: value for name, value in form.items() if value is not None}


def body(**changes):
    return urllib.parse.urlencode(fields(**changes))


def http(method, target, payload=b"", headers="", version="1.1"):
    """The bytes of one request; payload None leaves Content-Length to `headers`."""
    lines = [f"{method} {target} HTTP/{version}", "Host: app.example.com", *headers.splitlines()]
    if payload is not None:
        lines.append(f"Content-Length: {len(payload)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (payload or b"")


def chunked(payload, size=7, end=True):
    """The payload in chunks."""
    pieces = [payload[at:at + size] for at in range(0, len(payload), size)]
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return data + (b"0\r\n\r\n" if end else b"")
