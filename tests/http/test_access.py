"""Beside the rest of httpd: access control keeps working on a claimed URL, and the handler answers
nothing but what a client asked for."""

import base64
import subprocess

import pytest
from conftest import MAIN, MODES, requests
from samples import FORM, NEW_BODY, NEW_QUERY, PASSWORD, http

TARGET = "/b24/worker?DOMAIN=a.example"
COUNTED = {requests("worker", "unknown"): 1}


def post(server, target=TARGET, counted=True, **more):
    """A worker POST; `counted`: the handler is meant to run."""
    with server.counting(COUNTED if counted else {}):
        return server.ask("POST", target, NEW_BODY, ours=counted, **more)


# Access control

SECTIONS = ['Location "/b24/worker"', 'Location "/"', 'LocationMatch "^/b24"']


def closed_by(serve, section, rule, **more):
    server = serve(f'{MAIN}<{section}>\n{rule}\n</{section.split()[0]}>\n'
                   '<Location "/probe">\nRequire all granted\n</Location>', **more)
    server.expect("AH01630: client denied")
    return server


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("rule", ["Require all denied", "Require ip 10.0.0.1"])
def test_denied(serve, mode, section, rule):
    server = closed_by(serve, section, rule, **MODES[mode])
    assert post(server, counted=False).status == 403
    for method in "GET", "HEAD", "PUT", "OPTIONS":
        assert server.ask(method, TARGET, ours=False).status == 403


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("rule, status", [
    ("Require all granted", 200), ("Require ip 127.0.0.1", 200), ("Require local", 200),
    ("Require method POST", 200), ("Require method GET", 403),
    ("<RequireAll>\nRequire all granted\nRequire not ip 127.0.0.1\n</RequireAll>", 403),
    ("<RequireAny>\nRequire ip 10.0.0.1\nRequire local\n</RequireAny>", 200)])
def test_require(serve, section, rule, status):
    assert post(closed_by(serve, section, rule), counted=status == 200).status == status


def test_basic_auth(serve):
    digest = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], stdout=subprocess.PIPE,
                            text=True, check=True).stdout
    server = serve(MAIN + """
        <Location "/b24">
            AuthType Basic
            AuthName here
            AuthUserFile "{root}/passwd"
            Require valid-user
        </Location>""", files={"passwd": f"user:{digest}"}, log_level="debug",
                   modules=["auth_basic", "authn_core", "authn_file", "authz_user"])
    server.expect("AH0161[78]: user ")

    def credentials(password):
        return {"Authorization": "Basic " + base64.b64encode(f"user:{password}".encode()).decode()}
    assert post(server, counted=False).status == 401
    assert post(server, counted=False, headers=credentials("wrong")).status == 401
    assert post(server, headers=credentials(PASSWORD)).status == 200


def test_limit_by_method(serve):
    server = serve(MAIN + '<Location "/b24">\n<LimitExcept GET HEAD>\nRequire all denied\n'
                          "</LimitExcept>\n</Location>")
    server.expect("AH01630: client denied")
    assert post(server, counted=False).status == 403
    assert server.ask("GET", TARGET).status == 200


DEBIAN = """
<Directory "/">
    Options FollowSymLinks
    AllowOverride None
    Require all denied
</Directory>
"""


@pytest.mark.parametrize("mode", MODES)
def test_debian_default(serve, mode):
    """No file, so no folder's rule: the Location alone is what the administrator opened."""
    server = serve(DEBIAN + MAIN, **MODES[mode])
    server.expect("AH01630: client denied")
    assert post(server).status == 200
    assert server.ask("GET", "/other", ours=False).status == 403


@pytest.mark.parametrize("rule, status", [("granted", 200), ("denied", 403)])
def test_directory(serve, rule, status):
    """SetHandler in a Directory is an ordinary file's request, with the folder's own rules."""
    server = serve(MAIN + DEBIAN + '<Directory "{root}/htdocs/w">\n'
                   f"SetHandler b24bg-worker\nRequire all {rule}\n</Directory>")
    server.expect("AH01630: client denied")
    (server.root / "htdocs" / "w").mkdir()
    (server.root / "htdocs" / "w" / "index").write_text("not this")
    for target in "/w/index", "/w/none":
        assert post(server, f"{target}?DOMAIN=a.example", status == 200).status == status


def test_htaccess(serve):
    server = serve(MAIN + '<Directory "{root}/htdocs">\nAllowOverride FileInfo\n</Directory>')
    (server.root / "htdocs" / ".htaccess").write_text("SetHandler b24bg-worker\n")
    assert post(server, "/anything?DOMAIN=a.example").status == 200


def test_file_of_the_same_name(serve):
    """What lies in DocumentRoot under the Location's path does not matter, a folder neither."""
    server = serve(MAIN + "TypesConfig /dev/null\n",
                   modules=["dir", "mime", "negotiation", "autoindex"])
    (server.root / "htdocs" / "b24" / "worker").mkdir(parents=True)
    (server.root / "htdocs" / "b24" / "worker" / "index.html").write_text("not this")
    for path in "", "/", "/index.html":
        assert post(server, f"/b24/worker{path}?DOMAIN=a.example").status == 200
    assert server.ask("GET", "/b24/worker").status == 200  # and no redirect to /b24/worker/


# Ways round the front door

def test_error_document(serve):
    """As an error page the worker is not asked for: 404 stays what it was, and is not counted."""
    server = serve(MAIN + "ErrorDocument 404 /b24/worker\nErrorDocument 403 /b24/error/x\n"
                   '<Location "/closed">\nRequire all denied\n</Location>')
    server.expect("AH01630: client denied")
    with server.counting({}):
        for target, status in ("/nope", 404), ("/closed", 403):
            for method in "GET", "POST":
                answer = server.ask(method, target, NEW_BODY if method == "POST" else None,
                                    ours=False)
                assert answer.status == status and b"Bitrix24" not in answer.body


def test_own_refusals_are_no_error_documents(serve):
    """A site-wide ErrorDocument makes redirects of errors; never of the module's."""
    server = serve(MAIN + "\n".join(f"ErrorDocument {status} https://elsewhere.example/"
                                    for status in (400, 403, 404, 405, 408, 413, 415, 500)))
    assert server.ask("GET", "/nope", ours=False).status == 302
    assert server.load("").status == 400
    assert server.load(content_type="text/plain").status == 415
    assert server.load(body="x" * 70000).status == 413
    assert server.ask("PUT", "/b24/worker").status == 405
    data = server.raw(http("POST", "/b24/worker", None,
                           f"Content-Type: {FORM}\nTransfer-Encoding: chunked") + b"zz\r\n")
    assert data.startswith(b"HTTP/1.1 400 ") and b"elsewhere" not in data


def test_internal_redirects(serve):
    """mod_dir, mod_rewrite in a folder, mod_actions: a request that httpd made itself."""
    server = serve(MAIN + """
        <Directory "{root}/htdocs">
            RewriteEngine On
            RewriteRule ^r$ /b24/worker
            FallbackResource /b24/worker
        </Directory>
        <Location "/a">
            SetHandler acted
            Action acted /b24/worker virtual
        </Location>
        <Directory "{root}/htdocs/d">
            FallbackResource disabled
            DirectoryIndex /b24/worker
        </Directory>""", modules=["dir", "rewrite", "actions"])
    (server.root / "htdocs" / "d").mkdir()
    with server.counting({}):
        for target in "/r", "/a", "/nope", "/d/":
            answer = server.ask("GET", target, ours=False)
            assert answer.status in (403, 404) and b"background worker" not in answer.body, target


def test_subrequest(serve):
    """SSI: an include of the worker is no load."""
    server = serve(MAIN + '<Directory "{root}/htdocs">\nOptions +Includes\n'
                          "SetOutputFilter INCLUDES\n</Directory>", modules=["include"])
    server.expect("unable to include")
    (server.root / "htdocs" / "page.html").write_text('<!--#include virtual="/b24/worker" -->')
    with server.counting({}):
        answer = server.ask("GET", "/page.html", ours=False)
    assert answer.status == 200 and b"background worker" not in answer.body


def test_rewritten_and_aliased(serve):
    """The administrator's own mapping before the Location: a load as any other."""
    server = serve(MAIN + "RewriteEngine On\nRewriteRule ^/w$ /b24/worker [PT]\n"
                          'Alias /b24 "{root}/htdocs/other"', modules=["rewrite", "alias"],
                   log_level="debug")
    for target in "/w?DOMAIN=a.example", TARGET:
        assert post(server, target).status == 200
    assert server.ask("POST", f"/w?{NEW_QUERY}", NEW_BODY).status == 200


def test_redirected_away(serve):
    """What the administrator sends elsewhere goes there."""
    server = serve(MAIN + "Redirect 301 /b24/worker https://elsewhere.example/", modules=["alias"])
    with server.counting({}):
        assert server.ask("POST", "/b24/worker?x=1", NEW_BODY, ours=False).status == 301


def test_host_and_absolute_form(server):
    """An absolute target, a foreign Host: the same URL."""
    for head in (f"http://app.example.com{TARGET}", f"https://other.example{TARGET}"):
        data = server.raw(http("POST", head, NEW_BODY, f"Connection: close\nContent-Type: {FORM}"))
        assert data.startswith(b"HTTP/1.1 200 ")
