// Rate and queue of the link over the last two minutes, by uPlot.

import { bits } from "./store.js";

const colour = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
const bytes = (value) => (value >= 1000 ? `${+(value / 1000).toPrecision(3)} kB` : `${value} B`);
const short = (value) => (value >= 1e6 ? `${value / 1e6} M` : value >= 1e3 ? `${value / 1e3} k` : `${value}`);

function options(holder, title, series, say) {
  const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  return {
    title, width: Math.max(240, holder.clientWidth), height: 150,
    scales: { x: { time: false }, y: { range: (plot, low, high) => [0, Math.max(high * 1.05, 1)] } },
    axes: [
      { ...axis, values: (plot, ticks) => ticks.map((tick) => `${tick} s`) },
      { ...axis, size: 56, values: (plot, ticks) => ticks.map(short) },
    ],
    series: [{ label: "t", value: (plot, t) => (t === null ? "" : `${t.toFixed(1)} s`) }, ...series.map((one) => ({
      label: one.label, stroke: colour(one.colour), width: 1.5, dash: one.dash, spanGaps: true, paths: one.dash ? uPlot.paths.stepped({ align: -1 }) : undefined,
      fill: one.fill ? colour(one.fill) : undefined, value: (plot, value) => (value === null ? "" : say(value)),
    }))],
    legend: { live: false },
  };
}

export class Plots {
  constructor(rate, queue) {
    this.holders = [rate, queue];
    this.points = [];
    new ResizeObserver(() => this.plots?.forEach((plot, index) =>
      plot.setSize({ width: Math.max(240, this.holders[index].clientWidth), height: 150 }))).observe(rate);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.drop(); this.show(this.points); });
  }

  drop() {
    this.plots?.forEach((plot) => plot.destroy());
    this.holders.forEach((holder) => holder.replaceChildren());
    this.plots = null;
  }

  make() {
    const [rate, queue] = this.holders;
    this.plots = [
      new uPlot(options(rate, "Rate, bit/s", [
        { label: "up", colour: "up" }, { label: "down", colour: "down" }, { label: "limit", colour: "soft", dash: [6, 4] },
      ], bits), [[], [], [], []], rate),
      new uPlot(options(queue, "Queue, bytes", [{ label: "up", colour: "up", fill: "up-wash" }, { label: "down", colour: "down", fill: "down-wash" }], bytes),
        [[], [], []], queue),
    ];
  }

  show(points) {
    if (points === this.points && this.plots) return;
    if (!points.length) { this.points = points; this.drop(); return; }
    this.points = points;
    if (!this.plots) this.make();
    const column = (index) => points.map((point) => point[index]);
    this.plots[0].setData([column(0), column(1), column(2), column(5)]);
    this.plots[1].setData([column(0), column(3), column(4)]);
  }
}
