// The rest of a portal page: sliders, the call card, and what the push server sends.
"use strict";

// Sliders always open on the outermost portal page (a page within the demo is one).
const Sliders = {
    open(slider, onClose, look) {
        if (Portal.config.slider) {
            return parent.Portal.sliders.open(slider, onClose, look);
        }
        const panel = document.createElement("section");
        panel.className = "slider";
        const join = slider.path.includes("?") ? "&" : "?";
        const query = new URLSearchParams({IFRAME: "Y", IFRAME_TYPE: "SIDE_SLIDER",
            user: Portal.config.user});
        panel.innerHTML = '<button class="close" title="Close">×</button><iframe></iframe>';
        panel.style.width = look.bx24_width ? `min(${Number(look.bx24_width)}px, 96%)` : "";
        panel.querySelector("iframe").src = `${slider.path}${join}${query}&${slider.query}`;
        panel.close = () => {
            panel.remove();
            record({kind: "closed", path: slider.path});
            onClose();
        };
        panel.what = slider.what;
        panel.querySelector(".close").onclick = panel.close;
        document.body.append(panel);
        record({kind: "slider", what: slider.what, path: slider.path, params: slider.params});
    },

    closeTop(what) {
        if (Portal.config.slider) {
            return parent.Portal.sliders.closeTop(what);
        }
        const top = [...document.querySelectorAll(".slider")].pop();
        if (top && (!what || top.what === what)) {
            top.close();
        }
    },
};

const UI_STATES = ["incoming", "transferIncoming", "outgoing", "connectingIncoming",
    "connectingOutgoing", "connected", "transferring", "transferFailed", "transferConnected",
    "error", "moneyError", "redial"];
const CARD_EVENTS = ["initialized", "addCommentButtonClick", "muteButtonClick", "holdButtonClick",
    "closeButtonClick", "transferButtonClick", "cancelTransferButtonClick",
    "completeTransferButtonClick", "hangupButtonClick", "nextButtonClick", "skipButtonClick",
    "answerButtonClick", "entityChanged", "qualityMeterClick", "dialpadButtonClick",
    "makeCallButtonClick", "notifyAdminButtonClick"].map((name) => "BackgroundCallCard::" + name);

// The card of an external call. Pages without telephony, and those where it has not started yet,
// have no commands and no events (protocol.md 7.7).
class CallCard {
    constructor(delay) {
        this.ready = false;
        this.state = null;
        if (delay !== null) {
            setTimeout(() => { this.ready = true; }, delay * 1000);
        }
    }

    events() {
        return this.ready ? CARD_EVENTS : [];
    }

    commands() {
        return this.ready ? CARD_COMMANDS : {};
    }

    receive(name, payload) {
        if (name === "BackgroundCallCard::initialized") {
            this.state = {title: payload.PHONE_NUMBER, status: payload.CALL_DIRECTION,
                ui: payload.CALL_STATE, muted: false, held: false, timer: null};
        }
        this.show();
        AppLayout.fire(name, payload);
    }

    change(answer, change) {
        if (!this.state) {
            return answer([{result: "error", errorCode: "Call card is undefined"}]);
        }
        Object.assign(this.state, change);
        this.show();
        answer([]);
    }

    close(answer) {
        this.change(answer, {});
        this.state = null;
        this.show();
    }

    click(name, payload) {
        fetch("/control/card_event", {method: "POST", body: JSON.stringify(
            {portal: Portal.config.portal, event: name + "ButtonClick", payload})});
    }

    show() {
        document.querySelectorAll(".card").forEach((old) => old.remove());
        if (!this.state) {
            return;
        }
        const card = document.createElement("aside");
        const {title, status, ui, muted, held, timer} = this.state;
        card.className = "card";
        card.dataset.state = ui;
        const lines = {h2: title, p: `${ui} · ${status}${timer ? " · 0:00" : ""}`};
        for (const [tag, text] of Object.entries(lines)) {
            card.append(Object.assign(document.createElement(tag), {textContent: text}));
        }
        const buttons = {Answer: ["answer"], Mute: ["mute", !muted], Hold: ["hold", !held],
            "Hang up": ["hangup"]};
        for (const [text, click] of Object.entries(buttons)) {
            const button = Object.assign(document.createElement("button"), {textContent: text});
            button.onclick = () => this.click(...click);
            button.classList.toggle("on", (text === "Mute" && muted) || (text === "Hold" && held));
            card.append(button);
        }
        document.body.append(card);
    }
}

// Each is called with (params, answer). The timers' success is never answered in a browser.
const CARD_COMMANDS = {
    CallCardSetMute: (params, answer) => Portal.card.change(answer, {muted: Boolean(params.muted)}),
    CallCardSetHold: (params, answer) => Portal.card.change(answer, {held: Boolean(params.held)}),
    CallCardSetUiState: (params, answer) => (UI_STATES.includes(params.uiState)
        ? Portal.card.change(answer, {ui: params.uiState})
        : answer([{result: "error", errorCode: "Invalid ui state"}])),
    CallCardGetListUiStates: (params, answer) => answer(UI_STATES),
    CallCardSetCardTitle: (params, answer) => Portal.card.change(answer, {title: params.title}),
    CallCardSetStatusText: (params, answer) =>
        Portal.card.change(answer, {status: params.statusText}),
    CallCardStartTimer: (params, answer) =>
        Portal.card.change((result) => result.length && answer(result), {timer: Date.now()}),
    CallCardStopTimer: (params, answer) =>
        Portal.card.change((result) => result.length && answer(result), {timer: null}),
    CallCardClose: (params, answer) => Portal.card.close(answer),
};

// Long polling, until the page is left.
async function listen(url, mid, receive) {
    for (;;) {
        try {
            const text = await (await fetch(`${url}&mid=${mid}`)).text();
            for (const [, json] of text.matchAll(/#!NGINXNMS!#(.*?)#!NGINXNME!#/gs)) {
                const message = JSON.parse(json);
                mid = message.mid;
                receive(message.text);
            }
        } catch (error) {
            await new Promise((resolve) => setTimeout(resolve, 1000));
        }
    }
}

function showLoad(facts) {
    const line = document.createElement("li");
    const limit = (Portal.config.maxLoadDelay / 1000).toFixed(1);
    line.className = facts.slow ? "slow" : "";
    line.textContent = facts.kind === "refused" ? "worker: not available to this employee"
        : `worker loaded in ${(facts.elapsed_ms / 1000).toFixed(2)} s`
            + (facts.slow ? ` (over ${limit} s, reported)` : "");
    const list = document.getElementById("loads");
    list.querySelector(".waiting")?.remove();
    list.append(line);
}

const Portal = {
    config: JSON.parse(document.getElementById("config").textContent),
    sliders: Sliders,
    start() {
        this.card = new CallCard(this.config.telephony);
        this.workers = new WorkerContainer(this.config);
        this.workers.listeners.push(showLoad);
        if (!this.config.items.length) {
            document.querySelector("#loads .waiting").textContent = "no worker is registered";
        }
        if (!this.config.slider) {
            listen(this.config.push, this.config.mid, (message) => {
                if (message.card && message.page === this.config.sessid) {
                    this.card.receive(message.card, message.payload);
                }
            });
        }
    },
};
window.Portal = Portal;
