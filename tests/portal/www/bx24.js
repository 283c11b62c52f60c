// A client library in the place of Bitrix24's: the names that applications use, on the message
// bridge of protocol.md section 7. Not a copy; the parts that a background worker needs.
"use strict";

var BX24 = (function () {
    const [host, protocol, sid] = window.name.split("|");
    if (!sid) {
        window.BX24 = null;
        throw new Error("Unable to initialize the library: it needs the frame's name");
    }
    const domain = host.replace(/:(80|443)$/, "");
    const origin = (protocol === "1" ? "https://" : "http://") + domain;
    const callbacks = new Map();
    let data = null;
    let waiting = null;  // for the answer to getInitData

    function send(command, params, callback) {
        const id = callback ? Math.random().toString(36).slice(2) : "";
        if (callback) {
            callbacks.set(id, callback);
        }
        const json = params === undefined ? "" : JSON.stringify(params);
        if (command.includes(":")) {
            parent.postMessage({method: command, params, callback: id, appSid: sid}, origin);
        } else {
            parent.postMessage(`${command}:${json}:${id}:${sid}`, origin);
        }
    }

    window.addEventListener("message", (event) => {
        if (event.source !== parent || event.origin !== origin || typeof event.data !== "string") {
            return;
        }
        const [, id, json] = event.data.match(/^([^:]*):?(.*)$/s);
        const callback = callbacks.get(id);  // stays: a bound event comes more than once
        if (callback) {
            callback(json ? JSON.parse(json) : undefined);
        }
    });

    function init(callback) {
        if (data) {
            return callback && callback();
        }
        if (waiting) {
            return waiting.push(callback);
        }
        waiting = [callback];
        send("getInitData", undefined, (answer) => {
            data = answer;
            waiting.forEach((one) => one && one());
        });
    }

    function auth() {
        return data && {access_token: data.AUTH_ID, refresh_token: data.REFRESH_ID,
            expires_in: data.AUTH_EXPIRES, domain: data.DOMAIN, member_id: data.MEMBER_ID};
    }

    function refreshAuth(callback) {
        send("refreshAuth", undefined, (answer) => {
            Object.assign(data, answer);
            callback && callback(auth());
        });
    }

    function flatten(value, prefix, result) {
        for (const [key, item] of Object.entries(value)) {
            const name = prefix ? `${prefix}[${key}]` : key;
            if (item !== null && typeof item === "object") {
                flatten(item, name, result);
            } else {
                result.append(name, item);
            }
        }
        return result;
    }

    async function callMethod(method, params, callback, repeated) {
        const body = flatten({...params, auth: data.AUTH_ID}, "", new URLSearchParams());
        const answer = await (await fetch(`${origin}${data.PATH}/${method}.json`,
            {method: "POST", body})).json();
        if (answer.error === "expired_token" && !repeated) {
            return refreshAuth(() => callMethod(method, params, callback, true));
        }
        callback && callback({answer, data: () => answer.result, error: () => answer.error,
            error_description: () => answer.error_description});
    }

    return {
        init, refreshAuth, callMethod,
        install: (callback) => init(() => data.INSTALL && callback()),
        installFinish: () => send("setInstallFinish"),
        getAuth: auth,
        getDomain: () => domain,
        getLang: () => data && data.LANG,
        isAdmin: () => Boolean(data && data.IS_ADMIN),
        openApplication: (params, callback) => send("openApplication", params || {}, callback),
        openPath: (path, callback) => send("openPath", {path}, callback),
        closeApplication: (callback) => send("closeApplication", undefined, callback),
        reloadWindow: (callback) => send("reloadWindow", undefined, callback),
        setTitle: (title, callback) => send("setTitle", {title}, callback),
        resizeWindow: (width, height, callback) =>
            send("resizeWindow", {width, height}, callback),
        im: {
            callTo: (userId, video) => send("imCallTo", {userId, video: video !== false}),
            phoneTo: (phone) => send("imPhoneTo", {phone}),
            openMessenger: (dialogId) => send("imOpenMessenger", {dialogId}),
            openHistory: (dialogId) => send("imOpenHistory", {dialogId}),
        },
        placement: {
            info: () => ({placement: data.PLACEMENT, options: data.PLACEMENT_OPTIONS}),
            getInterface: (callback) => send("getInterface", undefined, callback),
            call: (command, params, callback) => send(command, params || {}, callback),
            bindEvent: (event, callback) => send("placementBindEvent", {event}, callback),
        },
    };
}());
