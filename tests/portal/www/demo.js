// The demo: windows of employees that open portal pages, and what the simulator says about it.
"use strict";

const config = JSON.parse(document.getElementById("config").textContent);
const PATHS = ["/company/", "/crm/deal/", "/tasks/", "/calendar/", "/crm/lead/", "/stream/"];
const EVERY = 500;     // milliseconds between two looks at the simulator
const READING = 3000;  // ... that an employee stays on a page whose worker has loaded
const SHOWN = {loads: 60, news: 200};

const $ = (selector) => document.querySelector(selector);

function element(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
}

function control(verb, facts) {
    return fetch("/control/" + verb, {method: "POST", body: JSON.stringify(facts)});
}

// An employee's browser: a frame with one portal page after the other.
class Browser {
    constructor(user, name, number) {
        this.user = user;
        this.number = number;
        this.pace = 700 * number;  // no two are equally fast
        this.address = element("span", {className: "address"});
        this.frame = element("iframe", {title: `${name}'s browser`});
        const reload = element("button", {textContent: "↻", title: "Open the next page"});
        reload.onclick = () => this.open();
        this.node = element("article", {className: "browser"}, element("div", {className: "bar"},
            element("span", {className: "lamp"}), element("b", {textContent: name}),
            this.address, reload), this.frame);
        $("#browsers").append(this.node);
        this.open();
    }

    open() {
        const path = PATHS[this.number++ % PATHS.length];
        this.address.textContent = path;
        this.node.className = "browser waiting";
        this.idle = 0;
        this.frame.src = `${path}?user=${this.user}`;
    }

    // Opens the next page when the worker of this one has loaded and the page has been read.
    look(working) {
        const portal = this.frame.contentWindow.Portal;
        const document_ = this.frame.contentDocument;
        if (!portal?.workers || portal.workers.pending) {
            return;
        }
        const slow = Boolean(document_.querySelector("#loads .slow"));
        this.node.className = "browser" + (slow ? " slow" : "");
        const busy = document_.querySelector(".card, .slider");
        this.idle += busy ? 0 : EVERY;
        if (working && this.idle > READING + this.pace) {
            this.open();
        }
    }
}

const TEXTS = {
    load: (f) => `${name(f.user)}: worker loaded in ${seconds(f.elapsed_ms)}`
        + (f.slow ? ", too slow" : ""),
    refused: (f) => `${name(f.user)}: worker not available`,
    report: (f) => `slow load no. ${f.count} reported to the portal`,
    bound: (f) => `registered: “${f.title}” (no. ${f.row})`,
    unbound: (f) => `unregistered: no. ${f.row}`,
    deleted: (f) => `registration no. ${f.row} deleted by the portal`,
    notice: (f) => f.status ? `notice sent, the application answered ${f.status}`
        : "notice sent, nobody answered",
    command: (f) => `${name(f.user)}: frame asked for ${f.command}`,
    dropped: (f) => `${name(f.user)}: ${f.command} dropped (${f.reason})`,
    slider: (f) => `${name(f.user)}: slider opened: ${f.path}`,
    closed: (f) => `${name(f.user)}: slider closed`,
    card: (f) => `call card: ${f.event.split("::")[1]}`,
    signal: (f) => `signal from the application: ${f.command}`,
};
const HIDDEN = ["getInitData", "getInterface", "placementBindEvent"];
const browsers = [];
const loads = [];
let users = {};
let since = 0;

const name = (user) => users[user] || "somebody";
const seconds = (milliseconds) => (milliseconds / 1000).toFixed(2) + " s";

function showNews(entries) {
    for (const {kind, facts, time} of entries) {
        if (HIDDEN.includes(facts.command)) {
            continue;
        }
        const clock = new Date(time * 1000).toLocaleTimeString("en-GB");
        const text = element("span", {textContent: TEXTS[kind](facts)});
        text.className = kind + (facts.slow ? " slow" : "");
        $("#news").prepend(element("li", {}, element("time", {textContent: clock}), text));
        if (kind === "load") {
            loads.push(facts);
        }
    }
    while ($("#news").children.length > SHOWN.news) {
        $("#news").lastChild.remove();
    }
}

function showRows(state) {
    const rows = state.rows.map((row) => {
        const bar = element("div", {className: "budget"});
        bar.classList.toggle("tight", row.count >= state.limit / 2);
        bar.classList.toggle("gone", row.count >= state.limit * 0.8);
        for (let i = 0; i < state.limit; i++) {
            bar.append(element("i", {className: i < row.count ? "used" : ""}));
        }
        const whom = row.user_id ? ` for ${name(row.user_id)}` : "";
        return element("div", {className: "row"},
            element("b", {textContent: `${row.count} of ${state.limit} slow loads`}),
            `“${row.title}” no. ${row.id}${whom}`,
            element("span", {className: "handler", textContent: row.handler}), bar);
    });
    if (!rows.length) {
        rows.push(element("div", {className: "none",
            textContent: "Nothing is registered: no page loads a worker."}));
    }
    $("#rows").replaceChildren(...rows);
    const left = state.deadline - state.now;
    $("#deadline").textContent = state.rows.some((row) => row.count) && left > 0
        ? `One more than ${state.limit} deletes it; the count starts again in `
            + `${Math.floor(left / 3600)} h ${Math.floor(left % 3600 / 60)} min.` : "";
}

function showLoads(state) {
    const shown = loads.slice(-SHOWN.loads);
    const top = Math.max(1.4 * state.delay_ms, ...shown.map((load) => load.elapsed_ms));
    const limit = element("div", {className: "limit"},
        element("span", {textContent: state.delay_ms / 1000 + " s"}));
    limit.style.bottom = `${100 * state.delay_ms / top}%`;
    $("#chart").replaceChildren(...shown.map((load) => {
        const bar = element("i", {className: load.slow ? "slow" : ""});
        bar.title = `${name(load.user)} · ${load.uri} · ${seconds(load.elapsed_ms)}`;
        bar.style.height = `${100 * load.elapsed_ms / top}%`;
        return bar;
    }), limit);
    const last = loads.at(-1);
    $("#summary").textContent = last ? `${loads.length} loads, `
        + `${loads.filter((load) => load.slow).length} slow, last ${seconds(last.elapsed_ms)}` : "";
}

function showSwitches(state) {
    for (const button of document.querySelectorAll("[data-verb]")) {
        button.setAttribute("aria-pressed", state.switches[button.dataset.delay] > 0);
    }
}

async function look() {
    const state = await (await fetch(`/simulator/state?since=${since}`)).json();
    users = state.users;
    for (const [id, text] of Object.entries(users)) {
        if (browsers.length < 4 && !browsers.some((one) => one.user === id)) {
            browsers.push(new Browser(id, text, browsers.length));
        }
    }
    since = state.news.at(-1)?.number ?? since;
    showNews(state.news);
    showRows(state);
    showLoads(state);
    showSwitches(state);
    const working = $("#pages").getAttribute("aria-pressed") === "true";
    browsers.forEach((browser) => browser.look(working));
}

async function run() {
    for (;;) {
        await look().catch((error) => console.warn("the simulator does not answer:", error));
        await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
}

for (const button of document.querySelectorAll("[data-verb]")) {
    button.onclick = () => control(button.dataset.verb,
        {seconds: button.getAttribute("aria-pressed") === "true" ? 0 : 6});
}
$("#call").onclick = () => control("open_call", {portal: config.portal});
$("#pages").onclick = (event) => event.target.setAttribute("aria-pressed",
    event.target.getAttribute("aria-pressed") !== "true");
run();
