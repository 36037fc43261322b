// What is worked: the run and its timeline, the link, the censor. Every control is a native one.

import { html, nothing } from "./vendor/lit-html.js";
import { bits, evidenceText, isGoing } from "./store.js";

const SLOWEST = 0.5, FASTEST = 20;
export const toRate = (position) => SLOWEST * (FASTEST / SLOWEST) ** (position / 100);
export const toPosition = (rate) => Math.round((100 * Math.log(rate / SLOWEST)) / Math.log(FASTEST / SLOWEST));

function runPart(state, view, act) {
  const going = isGoing(state), playing = going && view.scenarios.find((one) => one.name === state.run.scenario)?.name;
  const chosen = playing || view.scenario, about = view.scenarios.find((one) => one.name === chosen);
  return html`<fieldset ?disabled=${!view.token}><legend>Run</legend>
    <label>Scenario <select id="scenario" ?disabled=${going} @change=${(event) => act.choose(event.target.value)}>
      ${view.scenarios.map((one) => html`<option value=${one.name} ?selected=${one.name === chosen}>${one.title}</option>`)}
    </select></label>
    ${about?.about ? html`<p class="soft">${about.about}</p>` : nothing}
    <div class="row"><button id="start" class="main" ?disabled=${going || !view.scenario} @click=${act.start}>Start</button>
    <button id="stop" ?disabled=${!going} @click=${act.stop}>Stop</button></div></fieldset>`;
}

function stepText(step) {
  return Object.entries(step).filter(([key]) => key !== "by").map(([key, value]) => (key === "box" ? "" : `${key} ${value}`)).filter(Boolean).join(", ");
}

function timelinePart(state, view, act) {
  const running = state.run.state === "running" && state.run.timeline_s !== undefined, held = state.run.held;
  const coming = (state.run.timeline || []).filter((one) => one.at > state.run.timeline_s);
  return html`<fieldset ?disabled=${!view.token || !running}><legend>Timeline</legend>
    <div class="row"><button id="hold" class=${held ? "main" : ""} @click=${() => act.timeline(held ? "go" : "hold")}>${held ? "Go on" : "Hold"}</button>
    <button id="next" @click=${() => act.timeline("next")}>Next step now</button></div>
    <ol class="steps" aria-label="Steps taken and to come">${state.steps.slice(-8).map((one) => html`<li class=${one.step.by ? "by-hand" : ""}>
      <b>${one.t.toFixed(1)} s</b> ${stepText(one.step)}${one.step.by ? html` <small>by hand</small>` : nothing}</li>`)}
      ${coming.slice(0, 5).map((one) => html`<li class="coming">at ${one.at} s ${stepText(one.step)}</li>`)}</ol></fieldset>`;
}

// The steps of a run that is over, before and behind the moment that is looked at.
function backPart(state, view, act) {
  if (state.run.state !== "ended" || !state.run.ended_s) return nothing;
  const end = state.run.ended_s, now = view.lookingAt_s ?? end;
  const moments = [0, ...(state.run.moments || []), end];
  const before = moments.filter((t) => t < now - 0.01).pop(), behind = moments.find((t) => t > now + 0.01);
  return html`<fieldset><legend>Look back</legend>
    <label for="moment">Moment <output>${now.toFixed(1)} s</output></label>
    <input id="moment" type="range" min="0" max=${Math.ceil(end)} step="0.5" .value=${String(now)} aria-valuetext="${now.toFixed(1)} seconds"
      @input=${(event) => act.lookAt(Math.min(end, +event.target.value))}>
    <div class="row"><button id="step-back" ?disabled=${before === undefined} @click=${() => act.lookAt(before)}>Step back</button>
    <button id="step-on" ?disabled=${behind === undefined} @click=${() => act.lookAt(behind)}>Step on</button></div></fieldset>`;
}

function linkPart(state, view, act) {
  const shaped = state.run.state === "running" && state.link.shaped;
  const rate = view.rate ?? (state.link.rate_down ? state.link.rate_down / 1e6 : SLOWEST);
  const position = Math.max(0, Math.min(100, toPosition(rate)));
  return html`<fieldset ?disabled=${!view.token || !shaped}><legend>National link</legend>
    <label for="rate">Rate <output id="rate-out">${bits(rate * 1e6)}</output></label>
    <input id="rate" type="range" min="0" max="100" step="1" .value=${String(position)} aria-valuetext=${bits(rate * 1e6)}
      @input=${(event) => act.sliding(toRate(+event.target.value))} @change=${(event) => act.rate(toRate(+event.target.value))}>
    <div class="row">${[0.5, 2, 8, 20].map((one) => html`<button class="quiet" data-rate=${one} @click=${() => act.rate(one)}>${one} Mbit/s</button>`)}</div>
    <button id="cut" class=${state.link.cut ? "main" : "danger"} @click=${() => act.cut(!state.link.cut)}>
      ${state.link.cut ? "Bring the network back" : "Take the network down"}</button></fieldset>`;
}

// The letters by which a policy says how well a rule is known.
const MARKS = { M: "measured", R: "reported", I: "inferred", U: "unknown", D: "second-hand", G: "general" };
const markText = (mark) => (mark || "").split("+").map((letter) => MARKS[letter] || letter).join(", ");

function censorPart(state, view, act) {
  const names = Object.keys(state.boxes), name = names.includes(view.box) ? view.box : names[0], box = state.boxes[name];
  const policy = view.policies.find((one) => one.name === box?.policy);
  const off = new Set(box?.disabled || []);
  return html`<fieldset ?disabled=${!view.token || !box || state.run.state !== "running"}><legend>Censor</legend>
    ${names.length > 1 ? html`<label>Box <select id="box" @change=${(event) => act.box(event.target.value)}>${names.map(
      (one) => html`<option ?selected=${one === name}>${one}</option>`)}</select></label>` : nothing}
    <label>Policy <select id="policy" .value=${box?.policy || ""} @change=${(event) => act.policy(name, event.target)}>
      ${policy ? nothing : html`<option value=${box?.policy || ""} selected>${box?.policy || "none"}</option>`}
      ${view.policies.map((one) => html`<option value=${one.name} ?selected=${one.name === box?.policy}>${one.name}</option>`)}
    </select></label>
    ${policy ? html`<p class="soft">${policy.title}</p>` : nothing}
    <ul class="rules" aria-label="Rules">${(policy?.rules || []).map((rule) => html`<li>
      <label><input type="checkbox" data-rule=${rule.name} .checked=${view.wishes.get(`${name} ${rule.name}`)?.checked ?? !off.has(rule.name)} @change=${(event) => act.rule(name, rule.name, event.target)}>
      <b>${rule.name}</b></label> <small>${evidenceText(rule.match, " or ")} → ${evidenceText(rule.action)}</small>
      <small class="soft">${markText(rule.evidence?.mark)} · ${rule.evidence?.source}${rule.evidence?.note ? ` · ${rule.evidence.note}` : ""}</small></li>`)}</ul>
    <form class="row" @submit=${(event) => act.typed(name, event)}>
      <label class="grow">Block a name <input id="block-name" name="name" required maxlength="253" placeholder="example.com" autocomplete="off" spellcheck="false"></label>
      <button id="block">Block</button></form>
    <ul class="typed" aria-label="Names typed in">${(box?.blocked || []).map((one) => html`<li><code>${one}</code>
      <button class="quiet" data-unblock=${one} @click=${() => act.block(name, one, false)}>Let it through</button></li>`)}</ul></fieldset>`;
}

export function controls(state, view, act) {
  return html`${view.token ? nothing : html`<p class="soft">You look on. To steer, open the whole address that <code>testbed dashboard</code> printed.</p>`}
    ${runPart(state, view, act)}${backPart(state, view, act)}${timelinePart(state, view, act)}${linkPart(state, view, act)}${censorPart(state, view, act)}`;
}
