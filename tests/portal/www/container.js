// Loads the background workers of a portal page and measures them as Bitrix24's page does
// (protocol.md 1.1, 2.1, 2.3): ask for the frame, insert it, start the clock, compare at each load.
"use strict";

class WorkerContainer {
    constructor(config) {
        this.config = config;
        this.node = document.getElementById(config.containerId);
        this.pending = 0;
        this.listeners = [];
        for (const item of config.items) {
            this.pending++;
            this.load(item).catch((error) => console.error("worker not loaded:", error));
        }
    }

    async load(item) {
        const body = form({ID: item.APP_ID, PLACEMENT: item.PLACEMENT,
            PLACEMENT_ID: item.PLACEMENT_ID, PLACEMENT_OPTIONS: item.PLACEMENT_OPTIONS},
            "PARAMS[params]");
        const answer = await fetch(this.config.serviceUrl,
            {method: "POST", headers: {"Bx-ajax": "true"}, body});
        const place = document.createElement("div");
        place.innerHTML = await answer.text();
        this.node.append(place);
        const start = Date.now();
        const frame = place.querySelector("iframe");
        if (frame) {
            let nth = 0;
            frame.onload = () => this.loaded(item, Date.now() - start, ++nth);
        } else {
            this.refused(item);
        }
        runScripts(place);
    }

    loaded(item, elapsed, nth) {
        const slow = this.config.maxLoadDelay < elapsed;
        this.tell(item, {kind: "load", nth, elapsed_ms: elapsed, slow}, nth === 1);
        if (slow) {
            this.report(item);
        }
    }

    // Bitrix24's script fails here, and nothing is measured.
    refused(item) {
        this.tell(item, {kind: "refused"}, true);
    }

    report(item) {
        const query = "mode=class&c=bitrix%3Aintranet.placement&action=setLongLoad";
        const body = form(item, "item");
        body.append("SITE_ID", "s1");
        body.append("sessid", this.config.sessid);
        body.append("signedParameters", this.config.signedParameters);
        fetch("/bitrix/services/main/ajax.php?" + query, {method: "POST", body, keepalive: true,
            headers: {"X-Bitrix-Csrf-Token": this.config.sessid}});
    }

    tell(item, facts, first) {
        this.pending -= first ? 1 : 0;
        const all = {row: Number(item.PLACEMENT_ID), uri: this.config.uri, ...facts};
        record(all);
        this.listeners.forEach((listener) => listener(all));
    }
}

// PHP's names for nested data: item[PLACEMENT_OPTIONS][URI]
function form(data, prefix, result = new URLSearchParams()) {
    for (const [key, value] of Object.entries(data)) {
        const name = `${prefix}[${key}]`;
        if (value !== null && typeof value === "object") {
            form(value, name, result);
        } else {
            result.append(name, value);
        }
    }
    return result;
}

// innerHTML leaves scripts alone.
function runScripts(place) {
    for (const old of place.querySelectorAll("script")) {
        const script = document.createElement("script");
        script.textContent = old.textContent;
        old.replaceWith(script);
    }
}

// Tells the simulator what this page did.
function record(facts) {
    fetch("/simulator/record?sessid=" + Portal.config.sessid,
        {method: "POST", body: JSON.stringify(facts), keepalive: true});
}
