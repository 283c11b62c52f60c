"""What stands in conf/ and README for monitoring works: alert rules, dashboard, recipes, and the
description of JSON."""

import http.server
import json
import re
import subprocess
import threading
import urllib.parse

import pytest
from conftest import MAIN
from httpd import PATIENCE, ROOT
from test_readme import README, blocks
from test_status import STATUS, look, show, start_registering

RULES = ROOT / "conf" / "prometheus-b24bg.rules.yml"
DASHBOARD = ROOT / "conf" / "grafana-b24bg.json"


def promtool(*arguments):
    run = subprocess.run(["promtool", *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=PATIENCE)
    assert run.returncode == 0, run.stdout
    return run.stdout


# Prometheus

LABELS = '{job="b24bg",instance="w",app="telephony"'
PORTAL = f'{LABELS},portal="m"'


def alert(**labels):
    return {"exp_labels": {"job": "b24bg", "instance": "w", "app": "telephony", "portal": "m",
                           **labels}}


def rule_test(name, series, at, alerts):
    return {"interval": "1m", "input_series": [{"series": s, "values": v} for s, v in series.items()],
            "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": alerts}]}


LOST, USED = "B24bgRegistrationLost", "B24bgBudgetNearlyUsed"
REGISTERED = f"b24bg_registered{PORTAL}}}"
BUDGET = {f"b24bg_budget_limit{LABELS}}}": "10x20",
          f'b24bg_budget_used{PORTAL},source="server"}}': "1x20"}
BROWSER = f'b24bg_budget_used{PORTAL},source="browser"}}'
TOLD = f'b24bg_budget_used{PORTAL},source="portal"}}'
LOST_TEXTS = {"exp_annotations": {
    "summary": "telephony is not registered at portal m",
    "description": "The background worker is not loaded there. The status page says what is done "
                   "about it, and what is left to do."}}
USED_TEXTS = {"exp_annotations": {
    "summary": "8 slow loads of telephony at portal m today",
    "description": "A few more, and Bitrix24 deletes the registration. The load times on the "
                   "status page tell whether the server or the way to the browser is slow."}}
RULE_TESTS = {
    "lost": rule_test(LOST, {REGISTERED: "1x4 0x15"}, "15m",
                      [alert(severity="critical") | LOST_TEXTS]),
    "lost and bound again": rule_test(LOST, {REGISTERED: "1x4 0 0 1x15"}, "15m", []),
    "registered": rule_test(LOST, {REGISTERED: "1x20"}, "15m", []),
    "nobody knows": rule_test(LOST, {REGISTERED: "NaN " * 20}, "15m", []),
    "unbound by command": rule_test(LOST, {REGISTERED: "1x4 " + "NaN " * 15}, "15m", []),
    "lost, then uninstalled": rule_test(LOST, {REGISTERED: "1x4 0x2 " + "NaN " * 15}, "15m", []),
    "nearly used": rule_test(USED, BUDGET | {BROWSER: "8x20"}, "10m",
                             [alert(severity="warning") | USED_TEXTS]),
    "the portal has counted less": rule_test(USED, BUDGET | {TOLD: "7x20", BROWSER: "9x20"}, "10m",
                                             []),
    "the portal has counted more": rule_test(USED, BUDGET | {TOLD: "8x20", BROWSER: "2x20"}, "10m",
                                             [alert(severity="warning") | USED_TEXTS]),
    "a server alone": rule_test(USED, BUDGET | {f'b24bg_budget_used{PORTAL},source="server"}}':
                                                "8x20"}, "10m",
                                [alert(severity="warning") | USED_TEXTS]),
    "not yet": rule_test(USED, BUDGET | {BROWSER: "7x20"}, "10m", []),
}


def test_the_rules_are_valid():
    assert "2 rules found" in promtool("check", "rules", RULES)


@pytest.mark.parametrize("name", RULE_TESTS)
def test_the_rules_fire(name, tmp_path):
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m",
                                "tests": [RULE_TESTS[name]]}))
    promtool("test", "rules", path)


def test_the_scrape_configuration(tmp_path):
    text, = blocks("prometheus")
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace("/etc/prometheus/", f"{RULES.parent}/"))
    output = promtool("check", "config", path)
    assert "1 rule files found" in output and "2 rules found" in output


def test_the_dashboard_asks_what_prometheus_understands(tmp_path):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    questions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(questions) > 10
    rules = [{"record": f"question:{number}",
              "expr": text.replace("$__rate_interval", "5m").replace("$app", ".+")}
             for number, text in enumerate(questions)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(questions)} rules found" in promtool("check", "rules", path)


def test_the_store_panel_shows_a_dead_task(tmp_path):
    """One value for each server: NaN is less than nothing to min(), and to a panel."""
    panel, = (panel for panel in json.loads(DASHBOARD.read_text())["panels"]
              if panel["title"] == "Store")
    question, = panel["targets"]
    values = {"up": ("1x5", 1), "down": ("0x5", 0), "dead": ("NaN " * 6, 0)}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"evaluation_interval": "1m", "tests": [{
        "interval": "1m",
        "input_series": [{"series": f'b24bg_store_up{{instance="{name}"}}', "values": series}
                         for name, (series, _) in values.items()],
        "promql_expr_test": [{"expr": question["expr"], "eval_time": "5m", "exp_samples": [
            {"labels": f'{{instance="{name}"}}', "value": value}
            for name, (_, value) in values.items()]}]}]}))
    promtool("test", "rules", path)
    assert question["legendFormat"] == "{{instance}}" and question["instant"]


def test_the_panels_do_not_overlap():
    taken = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not taken & cells and max(x for x, _ in cells) < 24
        taken |= cells


# Recipes

def monitor(server):
    """(exit code, output) of README's command."""
    text, = blocks("monitor")
    run = subprocess.run(["sh", "-c", text.replace("127.0.0.1/", f"127.0.0.1:{server.port}/")],
                         text=True, stdout=subprocess.PIPE, timeout=PATIENCE)
    return run.returncode, run.stdout


def test_the_monitor_command(serve):
    server = start_registering(serve)
    assert monitor(server) == (0, look(server, "text"))
    member_id = show(server, "suspect")
    assert monitor(server)[0] == 1
    show(server, "lost", member_id=member_id)
    code, output = monitor(server)
    assert code == 2 and output.startswith("CRITICAL default a.example: lost")
    show(server, "bound", member_id=member_id)
    show(server, "lost", domain="a|\\n\\c.example")
    assert monitor(server)[1].startswith("CRITICAL default a\\n\\c.example: lost")
    server.stop()
    assert monitor(server)[0] == 3


class Chat(http.server.BaseHTTPRequestHandler):
    status, forms = 200, []

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.forms.append(dict(urllib.parse.parse_qsl(text)))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_chat_command():
    text, = blocks("chat")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat) as chat:
        threading.Thread(target=chat.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{chat.server_port}"
        command = ["sh", "-c", text.replace("https://office.example.com", host), "alert",
                   "disabled", "telephony", "0" * 32, "crm.example.com", "lost & \"gone\""]
        assert subprocess.run(command, timeout=PATIENCE).returncode == 0
        Chat.status = 500
        assert subprocess.run(command, timeout=PATIENCE, stderr=subprocess.DEVNULL).returncode != 0
        chat.shutdown()
    assert Chat.forms[0] == {"DIALOG_ID": "chat42", "MESSAGE":
                             'b24bg disabled: telephony at crm.example.com: lost & "gone"'}


# JSON

def fields(value, path=""):
    """The paths of all that is in it."""
    if isinstance(value, dict):
        return set().union(*(fields(part, f"{path}.{name}") for name, part in value.items()))
    if isinstance(value, list):
        return set().union(*(fields(part, f"{path}[]") for part in value))
    return {path.removeprefix(".")}


def test_json_is_as_described(serve):
    server = start_registering(serve)
    show(server, "lost", events="disabled,blocked,budget")
    text = README.split("JSON has more.")[1].split("\n### ")[0]
    described = {path for cell in re.findall(r"^\| (`[^|]*`) \|", text, re.M)
                 for path in re.findall("`([^`]+)`", cell)}
    counts = {path for path in described if "*" in path}
    found = set()
    for path in fields(json.loads(look(server, "json"))):
        covering = [wide for wide in counts
                    if re.fullmatch(re.escape(wide).replace(r"\*", r"[\w-]+"), path)]
        found.add(covering[0] if covering else path)
    assert found == described
