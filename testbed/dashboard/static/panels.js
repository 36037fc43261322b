// What is read: the head, the tiles of the apps, the stream of decisions, the frame behind one.

import { html, nothing, render } from "./vendor/lit-html.js";
import { bits, evidenceText } from "./store.js";

const MARKS = { ok: "✓", slow: "~", blocked: "✗" };
const EFFECTS = { pass: "noted", drop: "dropped", inject: "answered", delay: "delayed", throttle: "slowed" };
const SHOWN = 60;

export function head(state, view) {
  const { run, about } = state;
  const elapsed = run.elapsed_s === undefined ? null : run.elapsed_s + (run.state === "running" ? view.sinceRun_s : 0);
  return html`<div><h1>${run.title || about.name || "No run"}</h1>
    <p class="state"><span class="badge ${run.state}">${run.status || run.state}</span>
    ${run.phase ? html`phase <b>${run.phase}</b> · ` : nothing}
    ${elapsed === null ? nothing : html`${Math.floor(Math.min(elapsed, 1e6))} s of ${Math.round(run.duration_s || 0)}`}
    ${run.held ? html` · <b>held</b>` : nothing}${run.touched ? html` · steered by hand` : nothing}
    ${run.state === "ended" ? html` · <a href="run/report.html" target="_blank">report</a>` : nothing}</p>
    ${(run.why || []).map((why) => html`<p class="fails">${why}</p>`)}</div>
    <p class="line"><i class="lamp ${view.connected ? "on" : "off"}"></i>${view.connected ? "live" : "connection lost, trying again"}</p>`;
}

const kpi = (name, value) => {
  if (typeof value !== "number") return `${value}`;
  if (name.endsWith("_bps")) return bits(value);
  if (name.endsWith("_s")) return `${+value.toPrecision(3)} s`;
  if (name === "loss") return `${(value * 100).toFixed(1)} %`;
  return `${+value.toPrecision(3)}`;
};

export function tiles(state) {
  const apps = Object.values(state.apps).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  if (!apps.length) return html`<p class="soft">No app has tried yet.</p>`;
  return html`<ul class="tiles">${apps.map((app) => html`<li class="tile ${app.verdict}">
    <h3>${app.name} <span class="mark">${MARKS[app.verdict]} ${app.verdict}</span></h3>
    <p>${app.failure || app.detail}${app.operation ? html`<small> at ${app.operation.replaceAll("_", " ")}</small>` : nothing}</p>
    <p class="history" role="img" aria-label="Attempts so far: ${app.history.map((one) => one.verdict).join(", ")}">${app.history.map((one) => html`<i class=${one.verdict} title="${one.t.toFixed(0)} s ${one.verdict}"></i>`)}</p>
    <details><summary>${app.app} on ${app.node}, ${app.attempts} tried</summary><dl>${Object.entries(app.kpis || {}).map(
      ([name, value]) => html`<div><dt>${name}</dt><dd>${kpi(name, value)}</dd></div>`)}</dl></details></li>`)}</ul>`;
}

export function decisions(state, view, act) {
  const rules = Object.keys(state.rules).sort();
  const shown = view.frozen || state.decisions;
  const wanted = shown.filter((one) => !view.rule || one.rule === view.rule).slice(-SHOWN).reverse();
  return html`<div class="bar">
    <label>Rule <select id="rule-filter" @change=${(event) => act.filter(event.target.value)}>
      <option value="" ?selected=${!view.rule}>all (${state.total})</option>
      ${rules.map((rule) => html`<option value=${rule} ?selected=${view.rule === rule}>${rule} (${state.rules[rule]})</option>`)}
    </select></label>
    <button id="freeze" class=${view.frozen ? "main" : ""} @click=${act.freeze}>${view.frozen ? "Go on" : "Hold the list"}</button>
    ${state.skipped ? html`<span class="soft">${state.skipped} came too fast to show</span>` : nothing}</div>
    <div class="scroll" tabindex="0" role="region" aria-label="Decisions, the latest first"><table>
    <thead><tr><th scope="col">s</th><th scope="col">rule</th><th scope="col">did</th><th scope="col">flow</th><th scope="col">what matched</th><th scope="col"></th></tr></thead>
    <tbody>${wanted.map((one) => html`<tr class=${one.effect}>
      <td>${one.t.toFixed(2)}</td><td><b>${one.rule}</b><small>${one.box}</small></td>
      <td><span class="chip ${one.effect}">${EFFECTS[one.effect] || one.effect}</span><small>${one.reason}</small></td>
      <td><code class="flow">${one.flow}</code></td><td><code>${evidenceText(one.evidence)}</code></td>
      <td>${one.hash ? html`<button class="quiet" @click=${() => act.frame(one)} aria-label="Frame of decision ${one.n}">frame</button>` : nothing}</td></tr>`)}
    </tbody></table>${wanted.length ? nothing : html`<p class="soft">The censor has decided nothing yet.</p>`}</div>`;
}

// The frame's bytes, sixteen a row, those that matched marked.
function hexdump(frame) {
  const octets = frame.hex.match(/../g) || [];
  const hit = (index) => frame.matched.find((range) => index >= range.start && index < range.end);
  const rows = [];
  for (let start = 0; start < octets.length; start += 16) {
    const row = octets.slice(start, start + 16);
    rows.push(html`<div><span class="soft">${start.toString(16).padStart(4, "0")}</span> ${row.map((octet, i) =>
      hit(start + i) ? html`<mark>${octet}</mark> ` : html`${octet} `)}<span class="text">${row.map((octet, i) => {
      const code = parseInt(octet, 16), letter = code > 31 && code < 127 ? String.fromCharCode(code) : "·";
      return hit(start + i) ? html`<mark>${letter}</mark>` : letter;
    })}</span></div>`);
  }
  return html`<div class="hex" tabindex="0" role="region" aria-label="Bytes of the packet">${rows}</div>`;
}

export function frame(dialog, decision, found, close) {
  const where = found.frame === undefined ? nothing : html`<p>Frame <b>${found.frame}</b> on the ${found.side} of ${decision.box}
    ${found.file ? html`in <a href="run/pcap/${found.file}">${found.file}</a>` : html`(the capture can be opened when the run has ended)`}, ${found.length} bytes.
    ${found.matched?.length ? html`Marked: ${found.matched.map((range) => `${range.what} at byte ${range.start}`).join(", ")}.` : nothing}</p>`;
  render(html`<form method="dialog"><h2 id="frame-title">${decision.rule}: ${decision.reason}</h2><button id="frame-close" @click=${close}>Close</button></form>
    <p><code>${decision.flow}</code> · ${evidenceText(decision.evidence)}</p>${where}
    ${found.error ? html`<p class="fails">${found.error}</p>` : nothing}
    ${found.hex ? html`${hexdump(found)}<details><summary>Fields</summary><pre>${found.fields}</pre></details>` : nothing}`, dialog);
}
