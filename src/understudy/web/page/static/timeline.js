// The history: what happened, why, and how long each step took. Steps stand beneath the decision that began them.

import { h, icon, setText } from "./dom.js";
import { STEPS, clock, duration, eventIcon, eventTitle, human } from "./words.js";

const STEP = "step:";
const JOBS = "schedule"; // who writes the lines about backups and drills that ran by themselves
const LIMIT = 400; // events kept by this tab
// These happen beside a plan and begin none: steps that follow do not belong to them.
const BESIDE = new Set(["node_up", "node_down", "agent_started", "agent_took_over", "witness_down", "try_again", "asked", "paused", "resumed"]);

// Events, oldest first -> entries [{event, steps}]. Repairs and changes alike: a step joins the newest decision of its epoch.
export function grouped(events) {
  const entries = [];
  let open = null;
  for (const event of events) {
    if (!event.kind.startsWith(STEP)) {
      const entry = { event, steps: [] };
      entries.push(entry);
      if (!BESIDE.has(event.kind) && event.agent !== JOBS) open = entry;
    } else if (open) open.steps.push(event);
    else entries.push((open = { event, steps: [event] }));
  }
  return entries;
}

export function when(event) {
  return typeof event.wall === "number" ? event.wall * 1000 : Date.parse(event.at ?? event.wall);
}

function stepLine(event) {
  const name = event.kind.slice(STEP.length);
  const took = event.took === null || event.took === undefined ? "" : duration(event.took);
  const words = event.message || STEPS[name] || "";
  return h("li", {}, h("span", { class: "step-name" }, human(name)), h("span", { class: "step-took" }, took), h("span", { class: "step-why" }, words));
}

class Entry {
  constructor(event) {
    this.known = 0;
    this.list = h("ol", { class: "steps-done" });
    this.summary = h("span", {});
    this.details = h("details", { hidden: true }, h("summary", {}, this.summary), this.list);
    const isStep = event.kind.startsWith(STEP);
    const name = isStep ? "note" : eventIcon(event.kind);
    const title = isStep ? human(event.kind.slice(STEP.length)) : eventTitle(event.kind);
    const at = when(event);
    this.element = h(
      "li",
      { class: `event level-${name}`, "data-kind": event.kind },
      h("span", { class: "event-icon" }, icon(name)),
      h("div", { class: "event-body" },
        h("p", { class: "event-head" }, h("strong", {}, title), h("time", { datetime: new Date(at).toISOString() }, clock(at)), h("span", { class: "epoch" }, `epoch ${event.epoch}`)),
        h("p", { class: "event-why" }, isStep ? STEPS[event.kind.slice(STEP.length)] ?? "" : event.message),
        this.details),
    );
  }

  show(steps) {
    if (steps.length === this.known) return;
    for (const step of steps.slice(this.known)) this.list.append(stepLine(step));
    this.known = steps.length;
    const first = when(steps[0]) - (steps[0].took ?? 0) * 1000;
    const total = Math.max(0, (when(steps.at(-1)) - first) / 1000);
    setText(this.summary, `${steps.length} ${steps.length === 1 ? "step" : "steps"} in ${duration(total)}`);
    this.details.hidden = false;
  }
}

export class Timeline {
  constructor() {
    this.events = [];
    this.entries = new Map();
    this.list = h("ol", { class: "events", reversed: true });
    this.empty = h("p", { class: "empty" }, "Nothing has happened yet.");
    this.element = h("section", { class: "card history", "aria-labelledby": "history-title" }, h("h3", { id: "history-title" }, "What happened, and why"), this.empty, this.list);
  }

  get newest() {
    return this.events.length ? this.events.at(-1).id : 0;
  }

  // Events in any order; those known already are left out.
  add(events) {
    const known = new Set(this.events.map((event) => event.id));
    const fresh = events.filter((event) => !known.has(event.id));
    if (!fresh.length) return;
    this.events = [...this.events, ...fresh].sort((one, other) => one.id - other.id).slice(-LIMIT);
    this.#show();
  }

  #show() {
    const entries = grouped(this.events);
    const ids = new Set(entries.map(({ event }) => event.id));
    for (const [id, entry] of this.entries) {
      if (ids.has(id)) continue;
      entry.element.remove();
      this.entries.delete(id);
    }
    let below = null; // newest on top; what stands already is not moved, so open details stay open
    for (const { event, steps } of entries) {
      let entry = this.entries.get(event.id);
      if (!entry) {
        entry = new Entry(event);
        this.entries.set(event.id, entry);
        this.list.insertBefore(entry.element, below ?? null);
      }
      if (steps.length) entry.show(steps);
      below = entry.element;
    }
    this.empty.hidden = entries.length > 0;
  }
}
