// Joins the parts: events into the store, the store onto the page, what is worked to the server.

import { html, render } from "./vendor/lit-html.js";
import { Country } from "./country.js";
import { controls } from "./controls.js";
import { decisions, frame, head, tiles } from "./panels.js";
import { Plots } from "./plots.js";
import { ask, listen, post, takeToken } from "./server.js";
import { bits, empty, reduce, words } from "./store.js";

const element = (id) => document.getElementById(id);
const SPEAK_EVERY_MS = 5000, FLAGSHIP = "imo-goes-dark";

let state = empty();
const view = {
  token: takeToken(), connected: false, scenarios: [], policies: [], scenario: null, box: null, rule: "", frozen: null,
  rate: null, sinceRun_s: 0, lookingAt_s: null, wishes: new Map(),
};
let fresh = [], scheduled = false, runAt = performance.now(), spoken = "";

const country = new Country(element("map"), element("dots"), element("map-words"));
const plots = new Plots(element("rate-plot"), element("queue-plot"));

function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = !text;
}

// One after another: what is asked last must be done last.
let line = Promise.resolve();
function send(path, body) {
  line = line.then(() => sendNow(path, body));
  return line;
}

async function sendNow(path, body) {
  try {
    await post(path, body, view.token);
    notice("");
    return true;
  } catch (error) {
    notice(error.message);
    return false;
  }
}

const act = {
  choose: (name) => { view.scenario = name; paint(); },
  start: () => send("api/start", { scenario: view.scenario }),
  stop: () => send("api/stop", {}),
  timeline: (what) => send("api/do/timeline", { do: what }),
  sliding: (rate) => { view.rate = rate; paint(); },
  rate: async (rate) => {
    view.rate = rate;
    paint();
    await send("api/do/rate", { rate_bps: rate * 1e6 });
    setTimeout(() => { view.rate = null; paint(); }, 1000);
  },
  cut: (down) => send("api/do/cut", { down }),
  box: (name) => { view.box = name; paint(); },
  // a choice that was refused is taken back: the control shows what holds, not what was wished
  policy: async (box, chosen) => {
    if (!await send("api/do/policy", { box, policy: chosen.value })) chosen.value = state.boxes[box].policy;
  },
  // what was just ticked stands until the box has told of it: word of an earlier tick must not take it back
  rule: async (box, rule, tick) => {
    const key = `${box} ${rule}`, wish = { checked: tick.checked };
    view.wishes.set(key, wish);
    paint();
    const done = await send("api/do/rule", { box, rule, enabled: wish.checked });
    if (!done) tick.checked = !wish.checked;
    setTimeout(() => {
      if (view.wishes.get(key) === wish) view.wishes.delete(key);
      paint();
    }, done ? 1000 : 0);
  },
  block: (box, name, blocked) => send("api/do/block", { box, name, blocked }),
  // a name that was refused stays, to be mended
  typed: async (box, event) => {
    const form = event.target;
    event.preventDefault();
    if (await act.block(box, new FormData(form).get("name"), true)) form.reset();
  },
  filter: (rule) => { view.rule = rule; paint(); },
  // a run that is over can be looked at as it was at any moment
  lookAt: async (t) => {
    view.lookingAt_s = t;
    paint();
    try {
      const then = await ask(`api/at?t=${t}`);
      if (view.lookingAt_s === t) { state = reduce(state, "snapshot", then); paint(); }
    } catch (error) {
      notice(error.message);
    }
  },
  freeze: () => { view.frozen = view.frozen ? null : state.decisions; paint(); },
  frame: async (decision) => {
    const dialog = element("frame"), close = () => dialog.close();
    frame(dialog, decision, {}, close);
    dialog.showModal();
    try {
      const evidence = encodeURIComponent(JSON.stringify(decision.evidence));
      frame(dialog, decision, await ask(`api/frame/${decision.box}/${decision.hash}?evidence=${evidence}`), close);
    } catch (error) {
      frame(dialog, decision, { error: error.message }, close);
    }
  },
};

// Everything is painted from the state, at most once a frame.
function paint() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    view.sinceRun_s = (performance.now() - runAt) / 1000;
    render(head(state, view), element("head"));
    render(tiles(state), element("tiles"));
    render(decisions(state, view, act), element("decisions"));
    render(controls(state, view, act), element("controls"));
    render(linkWords(), element("link-words"));
    country.show(state, fresh.splice(0));
    plots.show(state.points);
    document.title = `${state.run.title || "Live page"} · ${state.run.status || state.run.state}`;
  });
}

function linkWords() {
  const { link } = state, last = state.points[state.points.length - 1];
  if (!last) return html`<span class="soft">Nothing measured yet.</span>`;
  const second = state.points.filter((point) => point[0] > last[0] - 1);
  const mean = (index) => second.reduce((sum, point) => sum + point[index], 0) / second.length;
  return html`${bits(mean(1))} up, ${bits(mean(2))} down of ${link.cut ? "a link that is down" : bits(link.rate_down)} ·
    ${Math.round((link.delay_s || 0) * 1000)} ms there and back · ${link.lost || 0} lost, ${link.overflowed || 0} to a full queue`;
}

async function learn() {
  try {
    Object.assign(view, await ask("api/catalogue"));
    const names = view.scenarios.map((one) => one.name);
    view.scenario ||= names.includes(FLAGSHIP) ? FLAGSHIP : names[0] || null;
    paint();
  } catch {
    setTimeout(learn, 2000);
  }
}

listen((kind, data) => {
  state = reduce(state, kind, data);
  if (kind === "snapshot") { view.frozen = null; view.rate = null; view.lookingAt_s = null; view.wishes.clear(); }
  if (data.run) runAt = performance.now();
  if (kind === "changes" && data.decisions) fresh.push(...data.decisions.slice(-40));
  paint();
}, (connected) => {
  if (connected && !view.connected) learn();
  view.connected = connected;
  paint();
});

setInterval(() => {
  const said = words(state);
  if (said !== spoken) element("spoken").textContent = spoken = said;
}, SPEAK_EVERY_MS);
setInterval(() => state.run.state === "running" && paint(), 1000);
paint();
