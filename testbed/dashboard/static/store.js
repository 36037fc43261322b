// What the page knows, as a function of what the server said. Pure: no clock, no document.
// Idempotent: a record that comes twice (after a lost connection) counts once.

export const SHOWN_DECISIONS = 300;
export const SHOWN_POINTS = 1200;

export const empty = () => ({
  about: {}, drawing: null, run: { state: "idle" }, link: {}, boxes: {}, apps: {}, steps: [], traffic: [], rules: {},
  decisions: [], points: [], total: 0, skipped: 0,
});

export function reduce(state, kind, data) {
  if (kind === "snapshot") return { ...empty(), ...data };
  const next = { ...state };
  for (const key of ["run", "link", "boxes", "steps", "traffic", "rules", "total"]) {
    if (key in data) next[key] = data[key];
  }
  if (data.apps) next.apps = { ...state.apps, ...data.apps };
  if (data.decisions) {
    const last = state.decisions.length ? state.decisions[state.decisions.length - 1].n : 0;
    const fresh = data.decisions.filter((decision) => decision.n > last);
    next.decisions = [...state.decisions, ...fresh].slice(-SHOWN_DECISIONS);
    next.skipped = state.skipped + (data.skipped || 0);
  }
  if (data.points) {
    const last = state.points.length ? state.points[state.points.length - 1][0] : -1;
    next.points = [...state.points, ...data.points.filter((point) => point[0] > last)].slice(-SHOWN_POINTS);
  }
  return next;
}

export const isGoing = (state) => ["starting", "running", "ending"].includes(state.run.state);

// The nodes from one to another along the drawing's tree; empty if one is not in it.
export function path(drawing, from, to) {
  const parent = Object.fromEntries(drawing.nodes.map((node) => [node.name, node.parent]));
  const up = (name) => {
    const found = [];
    for (let at = name; at; at = parent[at]) found.push(at);
    return found;
  };
  if (!(from in parent) || !(to in parent)) return [];
  const there = up(from), back = up(to);
  const meeting = there.find((name) => back.includes(name));
  return [...there.slice(0, there.indexOf(meeting) + 1), ...back.slice(0, back.indexOf(meeting)).reverse()];
}

export function bits(value) {
  if (value === null || value === undefined) return "unlimited";
  for (const [factor, unit] of [[1e9, "Gbit/s"], [1e6, "Mbit/s"], [1e3, "kbit/s"]]) {
    if (value >= factor) return `${+(value / factor).toPrecision(3)} ${unit}`;
  }
  return `${Math.round(value)} bit/s`;
}

// Of what a rule looks for, one of a list is enough (" or "); what was seen is all of it (", ").
export function evidenceText(evidence, between = ", ") {
  const say = (value) => {
    if (Array.isArray(value)) return value.map(say).join(between) || "none";
    if (typeof value !== "object" || value === null) return `${value}`;
    return Object.keys(value).length ? `(${evidenceText(value, between)})` : "";
  };
  return Object.entries(evidence || {}).map(([key, value]) => `${key} ${say(value)}`.trim()).join(", ");
}

// One sentence for those who don't see the drawing.
export function words(state) {
  const apps = Object.values(state.apps).map((app) => `${app.name} ${app.verdict}`).join(", ");
  const parts = [`Run ${state.run.state}.`];
  if (state.run.phase) parts.push(`Phase ${state.run.phase}.`);
  if (state.link.cut) parts.push("The national link is down.");
  if (apps) parts.push(`${apps}.`);
  parts.push(`${state.total} decisions.`);
  return parts.join(" ");
}
