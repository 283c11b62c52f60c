// A pull client in the place of Bitrix24's (protocol.md 7.8), by long polling alone.
"use strict";

var BX = window.BX || {};

BX.PullClient = class {
    constructor({restClient}) {
        this.rest = restClient;
        this.subscribers = [];
        this.running = false;
    }

    subscribe({moduleId, callback}) {
        this.subscribers.push({moduleId, callback});
    }

    start() {
        this.running = true;
        return new Promise((resolve, reject) => {
            this.rest.callMethod("pull.application.config.get", {}, (result) => {
                if (result.error()) {
                    return reject(new Error(result.error()));
                }
                const {server, channels} = result.data();
                const ids = Object.values(channels).map((channel) => channel.id).join("/");
                this.poll(`${server.long_polling}?CHANNEL_ID=${ids}`, "");
                resolve(true);
            });
        });
    }

    stop() {
        this.running = false;
    }

    async poll(url, mid) {
        while (this.running) {
            try {
                const text = await (await fetch(url + mid)).text();
                for (const [, json] of text.matchAll(/#!NGINXNMS!#(.*?)#!NGINXNME!#/gs)) {
                    const message = JSON.parse(json);
                    mid = "&mid=" + message.mid;
                    this.emit(message.text);
                }
            } catch (error) {
                await new Promise((resolve) => setTimeout(resolve, 100));
            }
        }
    }

    emit({module_id: moduleId, command, params}) {
        this.subscribers.filter((one) => one.moduleId === moduleId)
            .forEach((one) => one.callback({command, params}));
    }
};
