/* A browser's part around a script of ours, without a browser: fakes that write down what is done
 * to them, and a clock that jumps. What really happens in a frame tests/browser sees.
 *
 *     node frame.js page <input.json
 *
 * The input is {script, ...}; what is in it beside is said at page(). The output is a
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

/* The worker page's script. data: its data attributes. load: when its load event is. entries,
 * timing: what `performance` says of it (null: it does not know the call). beacon: what sendBeacon
 * returns, "throws", or null where there is none; fetch: "fails", "works" or null; random: what
 * Math.random returns. scripts: url -> [after how long, "load" or "error"], or not there: never. */
async function page(input) {
  const dom = {
    querySelector: (what) => (what === 'script[data-urls]' ? { dataset: input.data } : null),
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
    location: { pathname: '/b24/worker', search: '?APP_SID=secret&DOMAIN=portal' },
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

process.on('unhandledRejection', (fault) => { write('unhandled', String(fault)); });
const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));
({ page })[process.argv[2]](input)
  .catch((fault) => write('threw', String(fault)))
  .then(() => new Promise(setImmediate))
  .then(() => console.log(JSON.stringify(log)));
