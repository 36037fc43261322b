// The drawing: nodes and cables as SVG, packets as dots on a canvas above it. Dots are drawn from the kernel's own
// counters of each cable; a decision sends one more along its flow, in the colour of what the censor did.

import { nothing, svg, render } from "./vendor/lit-html.js";
import { bits, path, words } from "./store.js";

const COLUMN = 128, ROW = 50, LEFT = 62, TOP = 30;
const MOST_DOTS = 500, FULL_RATE = 20, MOST_RATE = 60, HOP_MS = 700;
const LABELS = { nationallink: "national link", access: "access", exchange: "exchange" };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const place = (node) => [LEFT + node.x * COLUMN, TOP + node.y * ROW];

function icon(node) {
  switch (node.kind) {
    case "host":
      return node.side === "inside" && node.name !== "resolver"
        ? svg`<rect x="-9" y="-14" width="18" height="28" rx="4"/><path d="M-3 10h6"/>`
        : svg`<rect x="-14" y="-12" width="28" height="10" rx="2"/><rect x="-14" y="2" width="28" height="10" rx="2"/><path d="M-9 -7h1M-9 7h1"/>`;
    case "box":
      return svg`<path class="shield" d="M0 -17L15 -11V2C15 10 8 15 0 18C-8 15 -15 10 -15 2V-11Z"/><path d="M-9 0Q0 -9 9 0Q0 9 -9 0Z"/><circle r="2.5"/>`;
    case "switch":
      return svg`<rect x="-12" y="-7" width="24" height="14" rx="3"/>`;
    default:
      return svg`<circle r="13"/><path d="M-6 -4h12l-3 -3M6 4h-12l3 3"/>`;
  }
}

function worst(apps, node) {
  const own = Object.values(apps).filter((app) => app.node === node && app.verdict);
  return ["blocked", "slow", "ok"].find((verdict) => own.some((app) => app.verdict === verdict)) || "";
}

function nodeMark(node, state) {
  const [x, y] = place(node);
  if (node.kind === "link") {
    const rate = state.link.rate_down;
    const thick = Math.max(8, Math.min(30, 8 + 6 * Math.log2(((rate || 20e6) / 1e6) * 2)));
    return svg`<g class="pipe ${state.link.cut ? "cut" : ""}" transform="translate(${x} ${y})">
      <rect x="-50" y="${-thick / 2}" width="100" height="${thick}" rx="${thick / 2}"/>
      ${state.link.cut ? svg`<path class="cross" d="M-10 -16L10 16M10 -16L-10 16"/>` : ""}
      <text y="${-thick / 2 - 8}">${LABELS[node.name] || node.name}</text>
      <text class="soft" y="${thick / 2 + 16}">${state.link.cut ? "down" : rate === undefined ? "" : bits(rate)}</text></g>`;
  }
  const box = state.boxes[node.name];
  const below = node.kind === "box" ? (box ? box.policy : "") : "";
  return svg`<g class="node ${node.kind} ${worst(state.apps, node.name)}" transform="translate(${x} ${y})">
    ${icon(node)}<text y="29">${LABELS[node.name] || node.name}</text>
    ${below ? svg`<text class="soft" y="45">${below}</text>` : ""}</g>`;
}

export class Country {
  constructor(picture, canvas, spoken) {
    this.picture = picture; this.canvas = canvas; this.spoken = spoken;
    this.dots = []; this.flashes = []; this.debts = []; this.state = null; this.last = 0; this.at = {};
    new ResizeObserver(() => this.fit()).observe(picture);
    requestAnimationFrame((now) => this.frame(now));
  }

  show(state, fresh) {
    const rebuilt = state.drawing !== this.state?.drawing;
    this.state = state;
    if (rebuilt) this.dots = [];
    if (!state.drawing) { render(nothing, this.picture); this.spoken.textContent = words(state); return; }
    const { nodes, edges, columns, rows } = state.drawing;
    this.at = Object.fromEntries(nodes.map((node) => [node.name, place(node)]));
    this.size = [LEFT * 2 + columns * COLUMN, TOP * 2 + rows * ROW];
    this.picture.setAttribute("viewBox", `0 0 ${this.size[0]} ${this.size[1]}`);
    render(svg`
      <text class="side" x="12" y="14">inside</text><text class="side" x="${this.size[0] - 52}" y="14">world</text>
      ${edges.map((edge, index) => this.cable(edge, state.traffic[index]))}
      ${nodes.map((node) => nodeMark(node, state))}`, this.picture);
    this.spoken.textContent = words(state);
    if (rebuilt) this.fit();
    for (const decision of fresh) this.decided(decision);
  }

  cable(edge, traffic) {
    const [x1, y1] = this.at[edge.a], [x2, y2] = this.at[edge.b];
    const busy = traffic ? Math.min(3, Math.log10(1 + traffic[0] + traffic[1])) : 0;
    return svg`<line class="cable" x1=${x1} y1=${y1} x2=${x2} y2=${y2} stroke-width=${1.2 + busy}/>`;
  }

  fit() {
    if (!this.size) return;
    const ratio = devicePixelRatio || 1, bounds = this.picture.getBoundingClientRect();
    this.canvas.width = Math.round(bounds.width * ratio);
    this.canvas.height = Math.round(bounds.height * ratio);
    this.canvas.style.width = `${bounds.width}px`;
    this.canvas.style.height = `${bounds.height}px`;
    // the picture keeps its proportions: where it is as high as it may be, it stands in the middle of its place
    const drawn = this.picture.getScreenCTM();
    this.scale = drawn.a * ratio;
    this.shift = [(drawn.e - bounds.left) * ratio, (drawn.f - bounds.top) * ratio];
    this.colours = Object.fromEntries(["passing", "inject", "drop", "throttle", "pass"].map(
      (name) => [name, getComputedStyle(document.body).getPropertyValue(`--${name}`).trim()]));
  }

  // A decision's packet goes to the box; an answer goes back to both ends, a drop ends in a cross.
  decided(decision) {
    if (calm.matches || decision.ends.length !== 2 || !this.at[decision.box]) return;
    const [from, to] = decision.ends;
    const colour = decision.effect === "delay" ? "throttle" : decision.effect;
    this.send(path(this.state.drawing, from, decision.box), colour === "pass" ? "passing" : colour, () => {
      if (decision.effect === "drop") this.flashes.push({ at: this.at[decision.box], until: this.last + 500 });
      if (decision.effect === "inject") this.send(path(this.state.drawing, decision.box, from), "inject");
      if (decision.effect !== "drop") this.send(path(this.state.drawing, decision.box, to), colour === "inject" ? "passing" : colour);
    }, 4.5);
  }

  send(names, colour, then, size = 4.5) {
    if (names.length < 2 || this.dots.length > MOST_DOTS) return;
    this.dots.push({ points: names.map((name) => this.at[name]), hop: 0, t: 0, colour, then, size });
  }

  spawn(passed_s) {
    const { edges } = this.state.drawing;
    edges.forEach((edge, index) => {
      (this.state.traffic[index] || [0, 0]).forEach((rate, way) => {
        const key = index * 2 + way;
        const shown = rate <= FULL_RATE ? rate : Math.min(MOST_RATE, FULL_RATE + Math.sqrt(rate - FULL_RATE));
        this.debts[key] = Math.min(3, (this.debts[key] || Math.random()) + shown * passed_s);
        while (this.debts[key] >= 1) {
          this.debts[key] -= 1;
          this.send(way ? [edge.b, edge.a] : [edge.a, edge.b], "passing", null, 2.6);
        }
      });
    });
  }

  frame(now) {
    requestAnimationFrame((next) => this.frame(next));
    const passed = Math.min(100, now - this.last);
    this.last = now;
    if (!this.state?.drawing || !this.scale || calm.matches) return;
    this.spawn(passed / 1000);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(this.scale, 0, 0, this.scale, ...this.shift);
    const done = [];
    for (const dot of this.dots) {
      dot.t += passed / HOP_MS;
      while (dot.t >= 1 && dot.hop < dot.points.length - 1) { dot.t -= 1; dot.hop += 1; }
      if (dot.hop >= dot.points.length - 1) { done.push(dot); continue; }
      const [x1, y1] = dot.points[dot.hop], [x2, y2] = dot.points[dot.hop + 1];
      pen.fillStyle = this.colours[dot.colour] || this.colours.passing;
      pen.beginPath();
      pen.arc(x1 + (x2 - x1) * dot.t, y1 + (y2 - y1) * dot.t, dot.size, 0, 7);
      pen.fill();
    }
    if (done.length) {
      this.dots = this.dots.filter((dot) => !done.includes(dot));
      for (const dot of done) dot.then?.();
    }
    this.flashes = this.flashes.filter((flash) => flash.until > now);
    pen.strokeStyle = this.colours.drop;
    pen.lineWidth = 4;
    for (const { at: [x, y] } of this.flashes) {
      pen.beginPath();
      pen.moveTo(x - 12, y - 12); pen.lineTo(x + 12, y + 12); pen.moveTo(x + 12, y - 12); pen.lineTo(x - 12, y + 12);
      pen.stroke();
    }
  }
}
