// The portal's side of an application's frame: posts the form, and answers the frame's messages
// (protocol.md 7.3 to 7.6). What it does not understand it drops; the frame learns nothing.
"use strict";

const AppLayout = {
    layouts: new Map(),  // APP_SID -> layout
    denied: ["setTitle"],

    start(layout) {
        layout.bound = [];
        this.layouts.set(layout.sid, layout);
        const post = document.createElement("form");
        Object.assign(post, {method: "POST", action: layout.action, target: layout.name});
        post.style.display = "none";
        for (const [name, value] of layout.fields) {
            const input = document.createElement("input");
            Object.assign(input, {type: "hidden", name, value});
            post.append(input);
        }
        document.body.append(post);
        post.submit();
    },

    // command:JSON:callbackId:APP_SID, with colons in the JSON; or three parts; or an object
    parse(data) {
        if (typeof data === "object" && data !== null) {
            return {command: data.method, params: data.params, callback: data.callback,
                sid: data.appSid};
        }
        const parts = String(data).split(":");
        const sid = parts.pop();
        const callback = parts.pop();
        const command = parts.shift();
        const json = parts.join(":");
        return {command, callback, sid, params: json ? JSON.parse(json) : {}};
    },

    receive(event) {
        if (typeof event.data !== "string" && typeof event.data !== "object") {
            return;
        }
        let message;
        try {
            message = this.parse(event.data);
        } catch (error) {
            return this.drop(null, {command: String(event.data)}, "malformed");
        }
        const layout = this.layouts.get(message.sid);
        if (!layout) {
            return this.drop(null, message, "sid");
        }
        if (event.origin !== layout.origin) {
            return this.drop(layout, message, "origin");
        }
        const run = Commands[message.command] || Portal.card.commands()[message.command];
        if (!run || this.denied.includes(message.command)) {
            return this.drop(layout, message, run ? "denied" : "unknown");
        }
        this.carryOut(layout, message, run, event.source);
    },

    drop(layout, message, reason) {
        record({kind: "dropped", app: layout && layout.app, command: message.command, reason});
    },

    carryOut(layout, message, run, source) {
        const answer = (result) => {
            if (message.callback) {
                const json = result === undefined ? "" : JSON.stringify(result);
                source.postMessage(`${message.callback}:${json}`, layout.origin);
            }
        };
        let now = true;
        let shown = null;
        run(message.params || {}, (result) => {
            shown = now && message.command !== "getInitData" ? result : shown;  // it holds tokens
            answer(result);
        }, layout);
        now = false;
        record({kind: "command", app: layout.app, command: message.command,
            params: message.params || {}, result: shown});
    },

    // An event of the portal, to every frame that has bound it; only the first argument arrives.
    fire(name, payload) {
        for (const layout of this.layouts.values()) {
            layout.bound.filter((one) => one.name === name).forEach((one) => one.answer(payload));
        }
    },
};

// Each is called with (params, answer, layout).
const Commands = {
    getInitData: (params, answer, layout) => answer(layout.init),
    getInterface: (params, answer) => answer(
        {command: Object.keys(Portal.card.commands()), event: Portal.card.events()}),
    placementBindEvent(params, answer, layout) {
        if (Portal.card.events().includes(params.event)) {
            layout.bound.push({name: params.event, answer});
        }
    },
    async refreshAuth(params, answer, layout) {
        const body = new URLSearchParams({action: "access_refresh", app: layout.app});
        const got = await (await fetch(Portal.config.serviceUrl, {method: "POST", body})).json();
        answer({AUTH_ID: got.access_token, AUTH_EXPIRES: got.expires_in,
            REFRESH_ID: got.refresh_token});
    },
    setUserOption: (params, answer) => answer(params),
    setAppOption(params, answer, layout) {
        if (layout.init.IS_ADMIN) {
            answer(params);
        }
    },
    openApplication(params, answer, layout) {
        const options = Object.entries(params).filter(([name]) => !name.startsWith("bx24_"));
        const path = `/marketplace/app/${layout.appId}/`;
        Sliders.open({what: "application", path, params, query: new URLSearchParams(options)},
            () => answer(), params);
    },
    openPath(params, answer, layout) {
        const path = String(params.path || "");
        if (!/^\/(?![/\\])/.test(path)) {
            return answer({result: "error", errorCode: "PATH_NOT_AVAILABLE"});
        }
        const query = new URLSearchParams({from: "rest_placement", from_app: layout.app});
        Sliders.open({what: "path", path, params, query}, () => answer({result: "close"}), {});
    },
    closeApplication: () => Sliders.closeTop("application"),
    setInstall: () => {},
    setInstallFinish: () => location.reload(),
    reloadWindow: () => location.reload(),
    setTitle: () => {},
    resizeWindow: (params, answer) => answer(params),
    imCallTo: () => {},
    imPhoneTo: () => {},
    imOpenMessenger: () => {},
    imOpenHistory: () => {},
};

window.addEventListener("message", (event) => AppLayout.receive(event));
