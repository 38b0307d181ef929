// Line plots of the last ten minutes, in plain SVG. Samples are kept by this tab only.

import { h, setAttribute, setText, svg } from "./dom.js";
import { clock, duration } from "./words.js";

const SPAN = 600_000; // ms
const LEAST_SPAN = 60_000; // ms; a page that was just opened shows a minute
const GAP = 5_000; // ms without a sample: the line is broken, not drawn across
const LIMIT = 1500; // samples; about two a second
const WIDTH = 600;
const HEIGHT = 120;

// What was seen of one cluster: a value per series (seconds, or null where nobody knew), and changes of primary.
export class Samples {
  constructor() {
    this.rows = [];
    this.changes = [];
  }

  add(at, values) {
    this.rows.push({ at, values });
    const oldest = at - SPAN;
    while (this.rows.length > LIMIT || this.rows[0].at < oldest) this.rows.shift();
    while (this.changes.length && this.changes[0].at < oldest) this.changes.shift();
  }

  mark(at, text) {
    this.changes.push({ at, text });
  }
}

// The smallest of 1, 2, 5 × 10ⁿ that holds the value.
export function ceiling(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  for (const step of [1, 2, 5, 10]) if (step * power >= wanted * 0.999) return step * power;
  return 10 * power;
}

// A round number of seconds, without decimals that say nothing.
function scale(top) {
  return top < 1 ? `${Math.round(top * 1e6) / 1000} ms` : `${top} s`;
}

function place(at, now, span) {
  return (WIDTH * (1 - (now - at) / span)).toFixed(1);
}

function path(rows, series, { now, span, top }) {
  let drawn = "";
  let last = null;
  for (const { at, values } of rows) {
    const value = values[series];
    if (value === null || value === undefined) {
      last = null;
      continue;
    }
    const x = place(at, now, span);
    const y = (HEIGHT * (1 - Math.min(1, value / top))).toFixed(1);
    drawn += last !== null && at - last <= GAP ? `L${x} ${y}` : `M${x} ${y}h.01`;
    last = at;
  }
  return drawn;
}

export class Plot {
  // `series`: [{key, label}]; `least`: the lowest top of the scale in seconds.
  constructor({ title, series, least, unknown }) {
    this.series = series;
    this.least = least;
    this.title = title;
    this.unknown = unknown;
    this.top = h("span", { class: "plot-top" });
    this.oldest = h("span");
    this.marks = svg("g", { class: "plot-marks" });
    this.lines = series.map((_, index) => svg("path", { class: `line line-${index}`, "vector-effect": "non-scaling-stroke" }));
    this.canvas = svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      ...[0, 0.5, 1].map((share) =>
        svg("path", { class: "grid", d: `M0 ${HEIGHT * share}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }),
      ),
      this.marks,
      ...this.lines,
    );
    this.values = series.map(() => h("output", { class: "plot-value" }));
    const legend = series.map(({ label }, index) =>
      h("li", {}, h("span", { class: `swatch swatch-${index}`, "aria-hidden": "true" }), h("span", {}, label), this.values[index]),
    );
    this.element = h(
      "figure",
      { class: "plot" },
      h("figcaption", {}, h("h3", {}, title), h("ul", { class: "legend" }, ...legend)),
      h("div", { class: "canvas" }, this.canvas, this.top, h("span", { class: "plot-zero" }, "0")),
      h("div", { class: "plot-times", "aria-hidden": "true" }, this.oldest, h("span", {}, "now")),
    );
    for (const value of this.values) value.setAttribute("aria-live", "off");
  }

  draw(samples, now) {
    const keys = this.series.map(({ key }) => key);
    const seen = samples.rows.flatMap(({ values }) => keys.map((key) => values[key])).filter((value) => typeof value === "number");
    const highest = seen.length ? Math.max(...seen) : 0;
    const top = ceiling(highest, this.least);
    const newest = samples.rows.at(-1);
    const span = Math.min(SPAN, Math.max(LEAST_SPAN, now - (samples.rows[0]?.at ?? now)));
    setText(this.top, scale(top));
    setText(this.oldest, `${span < 120_000 ? `${Math.round(span / 1000)} s` : `${Math.round(span / 60_000)} min`} ago`);
    keys.forEach((key, index) => {
      setAttribute(this.lines[index], "d", path(samples.rows, key, { now, span, top }) || "M0 0");
      const value = newest?.values[key];
      setText(this.values[index], typeof value === "number" ? duration(value) : this.unknown);
    });
    this.#mark(samples, now, span);
    const said = this.series.map(({ label }, index) => `${label} ${this.values[index].textContent}`).join(", ");
    setAttribute(this.canvas, "aria-label", `${this.title}. Now: ${said}. Highest since then: ${duration(highest)}.`);
  }

  #mark(samples, now, span) {
    const drawn = samples.changes.map(({ at, text }) => {
      const line = svg("path", { d: `M${place(at, now, span)} 0V${HEIGHT}`, "vector-effect": "non-scaling-stroke" });
      line.append(svg("title", {}, `${clock(at)}: ${text}`));
      return line;
    });
    this.marks.replaceChildren(...drawn);
  }
}
