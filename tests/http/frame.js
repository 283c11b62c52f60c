/* A browser's part around a script of ours, without a browser: fakes that write down what is done
 * to them, and a clock that jumps. What really happens in a frame tests/browser sees.
 *
 *     node frame.js page|sample <input.json
 *
 * The input is {script, ...}; what is in it beside is said at page() and sample(). The output is a
 * list of [milliseconds, what, ...].
 */
'use strict';
const vm = require('vm');

const log = [];
const timers = [];
let now = 0;

const write = (...entry) => { log.push([now, ...entry]); };
const after = (ms, run) => {
  const timer = { at: now + ms, run };
  timers.push(timer);
  return timer;
};
const cancel = (timer) => {
  if (timers.includes(timer)) timers.splice(timers.indexOf(timer), 1);
};

/* Lets time pass up to the end, or until nothing is left to happen. */
async function pass(end) {
  for (;;) {
    await new Promise(setImmediate); // promises first, as between two tasks of a browser
    const next = timers.reduce((a, b) => (b.at < a.at ? b : a), { at: end + 1 });
    if (next.at > end) return;
    cancel(next);
    now = next.at;
    next.run();
  }
}

const timing = {
  setTimeout: (run, ms, ...more) => after(ms, () => run(...more)),
  clearTimeout: cancel,
};
const consoles = (name) => ({ warn: (text) => write('warn', ...name, String(text)) });

/* The worker page's script. data: its data attributes; others: those of such scripts before it.
 * load: when its load event is. entries, timing: what `performance` says of it (null: it does not
 * know the call). beacon: what sendBeacon returns, "throws", or null where there is none; fetch:
 * "fails", "works" or null; random: what Math.random returns. href: the page's address. scripts:
 * url -> [after how long, "load" or "error"], or not there: never. */
async function page(input) {
  const dom = {
    querySelectorAll: (what) => (what === 'script[data-urls]'
      ? [...input.others, input.data].map((dataset) => ({ dataset })) : []),
    createElement: (tag) => ({ tag }),
    body: {
      appendChild(element) {
        const [ms, type] = input.scripts[element.src] || [];
        const tell = () => (element[`on${type}`] ? element[`on${type}`]({ type }) : 0);
        write('attach', element.tag, element.src);
        if (type) after(ms, tell);
      },
    },
  };
  const global = {
    ...timing,
    console: consoles([]),
    document: dom,
    navigator: {},
    location: { href: input.href },
    performance: { timing: input.timing },
    addEventListener: (type, run) => { global[`on${type}`] = run; },
  };
  if (input.entries) global.performance.getEntriesByType = (type) => input.entries[type];
  if (input.beacon !== null) {
    global.navigator.sendBeacon = (url, body) => {
      write('beacon', url, body);
      if (input.beacon === 'throws') throw new Error('refused');
      return input.beacon;
    };
  }
  if (input.fetch) {
    global.fetch = (url, options) => {
      write('fetch', url, options);
      return input.fetch === 'fails' ? Promise.reject(new TypeError('failed')) : Promise.resolve();
    };
  }
  Object.seal(global.location); // nothing goes anywhere
  vm.createContext(global);
  vm.runInContext(`Math.random = () => ${input.random}`, global);
  vm.runInContext(input.script, global);
  write('script ran');
  after(input.load, () => { write('load'); global.onload({ type: 'load' }); write('load done'); });
  await pass(1e6);
}

/* Web Locks of all pages of one browser. */
function makeLocks() {
  const held = new Map(); // name -> those who wait
  const grant = async (name, run, refuse) => {
    if (held.has(name)) {
      if (!refuse) held.get(name).push(run);
      else run(null);
      return;
    }
    held.set(name, []);
    await run({ name });
    const waiting = held.get(name);
    held.delete(name);
    waiting.forEach((other) => grant(name, other, false));
  };
  return {
    request: (name, ...more) => grant(name, more.pop(), Boolean(more[0] && more[0].ifAvailable)),
  };
}

/* The sample, on each of `pages`: {hidden, bx24 (false: none), locks (false: none), listed (when
 * its telephony is there; -1 never)}. signals: [when, text] that the backend sends; events: [when,
 * page, name, value] of cards; http: [when] at which the backend answers with an error. */
async function sample(input) {
  const channels = [];
  const sources = [];
  const locks = makeLocks();
  const bound = input.pages.map(() => ({}));
  const start = (given, i) => {
    const name = `page ${i}`;
    const global = {
      ...timing,
      console: consoles([name]),
      URL,
      document: { hidden: given.hidden, currentScript: { src: `https://h/phone.js${input.query}` } },
      navigator: given.locks === false ? {} : { locks },
      fetch: (url, options) => {
        write('fetch', name, url, options);
        return url.includes('broken') ? Promise.reject(new TypeError('failed')) : Promise.resolve();
      },
      BroadcastChannel: class {
        constructor() { channels.push(this); }
        postMessage(data) {
          channels.filter((other) => other !== this && other.onmessage)
            .forEach((other) => after(1, () => other.onmessage({ data })));
        }
      },
      EventSource: class {
        constructor(url) {
          this.readyState = 1;
          write('listens', name, url);
          sources.push(this);
        }
      },
    };
    global.window = global;
    const listed = () => given.listed >= 0 && now >= given.listed;
    if (given.bx24 !== false) {
      global.BX24 = {
        init: (run) => after(1, run),
        openApplication: (options) => write('opens', name, options),
        placement: {
          getInterface: (run) => after(1, () => {
            write('getInterface', name);
            run(listed() ? { command: [], event: ['BackgroundCallCard::initialized'] } : input.nothing);
          }),
          bindEvent: (event, run) => { (bound[i][event] = bound[i][event] || []).push(run); },
          call: (command, params, run) => {
            write('card', name, command, params);
            if (params.refused) run([{ result: 'error', errorCode: 'Invalid ui state' }]);
            else run([]);
          },
        },
      };
    }
    vm.createContext(global);
    vm.runInContext(input.script, global);
  };
  input.pages.forEach(start);
  input.signals.forEach(([at, data]) => after(at, () => sources
    .filter((source) => source.readyState === 1).forEach((source) => source.onmessage({ data }))));
  input.events.forEach(([at, i, event, value]) => after(at, () => (bound[i][event] || [])
    .forEach((run) => run(value))));
  input.http.forEach((at) => after(at, () => sources
    .filter((source) => source.readyState === 1)
    .forEach((source) => { source.readyState = 2; source.onerror(); })));
  await pass(1e6);
  write('bound', ...bound.map((events) => Object.keys(events).length));
}

process.on('unhandledRejection', (fault) => { write('unhandled', String(fault)); });
const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));
({ page, sample })[process.argv[2]](input)
  .catch((fault) => write('threw', String(fault)))
  .then(() => new Promise(setImmediate))
  .then(() => console.log(JSON.stringify(log)));
