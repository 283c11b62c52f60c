/* A telephony script for the background worker: a sample to copy and to change.
 *     B24bgScript "/js/phone.js?events=/phone/events&clicks=/phone/clicks"
 * events: a text/event-stream of your server. What it sends goes to a call's card, or opens the
 * application in a slider, once for each id:
 *     {"call": "ext.1", "command": "CallCardSetUiState", "params": {"uiState": "connected"}}
 *     {"id": 17, "open": {"bx24_width": 640, "order": 4711}}
 * clicks: takes what the operator presses on a card. The frame has no cookies of yours: hand your
 * server BX24.getAuth().access_token, so that it can ask Bitrix24 whose events these are. */
(() => {
  'use strict';
  const { BX24, navigator: { locks } } = window;
  if (!BX24 || !locks) return console.warn('phone: no BX24.js, or a browser without Web Locks');

  const settings = new URL(document.currentScript.src).searchParams;
  const channel = new BroadcastChannel('phone'); // to the workers of the user's other pages
  const initialized = 'BackgroundCallCard::initialized';
  const buttons = ['answer', 'hangup', 'mute', 'hold', 'transfer', 'dialpad', 'close'];
  let [call, bound] = [null, false]; // call: whose card is on this page

  const card = (command, params) => BX24.placement.call(command, params, (answer) => {
    const [fault] = [].concat(answer); // an empty list if all went well
    if (fault && fault.result === 'error') console.warn(`phone: ${command}: ${fault.errorCode}`);
  });
  const tell = (button, value) => fetch(settings.get('clicks') || '/phone/clicks', {
    method: 'POST', body: JSON.stringify({ call, button, value }),
  }).catch((fault) => console.warn(`phone: ${button}: ${fault.message}`));
  const show = (data) => {
    const incoming = data.CALL_DIRECTION === 'incoming';
    call = data.CALL_ID;
    card('CallCardSetCardTitle', { title: data.PHONE_NUMBER || 'Unknown number' });
    card('CallCardSetUiState', { uiState: incoming ? 'incoming' : 'outgoing' });
  };
  // Bitrix24's telephony may start after this frame; a bind that comes before it is lost.
  const bind = () => bound || BX24.placement.getInterface((found) => {
    if (bound || !found || !(found.event || []).includes(initialized)) return;
    bound = true;
    BX24.placement.bindEvent(initialized, show);
    buttons.forEach((button) => BX24.placement.bindEvent(
      `BackgroundCallCard::${button}ButtonClick`, (value) => tell(button, value)));
  });
  // All pages get a signal. The one in front opens the slider, or after a second any of them, but
  // none that slept meanwhile: by then another has let go of the lock.
  const take = (data, sent = Date.now()) => {
    const { call: to, command, params, id, open } = JSON.parse(data);
    if (command && to === call) card(command, params);
    if (open) setTimeout(() => Date.now() < sent + 5000 && locks.request(`phone ${id}`,
      { ifAvailable: true }, (lock) => lock && new Promise((done) => {
        BX24.openApplication(open); setTimeout(done, 9000); })), document.hidden ? 1000 : 0);
  };
  const listen = () => { // the browser connects again by itself, but not after an error of HTTP
    const source = new EventSource(settings.get('events') || '/phone/events');
    source.onmessage = ({ data }) => { channel.postMessage([data, Date.now()]); take(data); };
    source.onerror = () => source.readyState === 2 && setTimeout(listen, 30000);
  };
  BX24.init(() => {
    [0, 1, 2, 5, 10, 30].forEach((seconds) => setTimeout(bind, seconds * 1000));
    channel.onmessage = ({ data }) => take(...data);
    locks.request('phone', () => { listen(); return new Promise(() => {}); }); // one page leads
  });
})();
