// One cluster: headline, topology, plan, plots, orders, readiness, backups, drills, history, rescues. Built once, then only what changed is touched.

import { get } from "./api.js";
import { h, setAttribute, setIcon, setText } from "./dom.js";
import { Orders } from "./orders.js";
import { Plot, Samples } from "./plots.js";
import { Progress } from "./progress.js";
import { Readiness } from "./readiness.js";
import { Rescues } from "./rescues.js";
import { Timeline } from "./timeline.js";
import { Topology } from "./topology.js";
import { promised, verdict, why } from "./words.js";

const HISTORY = 200; // events asked for at the beginning

export function nodeNames(cluster) {
  return cluster.nodes.map((node) => node.name).join(" ");
}

export class ClusterView {
  constructor(cluster, { signed }) {
    this.name = cluster.name;
    this.nodes = nodeNames(cluster);
    this.samples = new Samples();
    this.lag = new Plot({ title: "Replication lag", series: [{ key: "lag", label: "standby" }], least: 1, unknown: "unknown" });
    const nodes = [...cluster.nodes].sort((one, other) => one.priority - other.priority);
    this.latency = new Plot({ title: "Time to answer a probe", series: nodes.map(({ name }) => ({ key: `node ${name}`, label: name })), least: 0.01, unknown: "no answer" });
    this.topology = new Topology();
    this.progress = new Progress();
    this.orders = new Orders({ signed });
    this.timeline = new Timeline();
    this.rescues = new Rescues(cluster.name);
    this.readiness = new Readiness(cluster.name);
    this.lamp = h("span", { class: "verdict-icon" });
    this.headline = h("h2", {});
    this.reason = h("p", { class: "reason" });
    this.facts = h("ul", { class: "facts" });
    this.verdict = h("div", { class: "verdict" }, this.lamp, h("div", {}, this.headline, this.reason, this.facts));
    this.element = h("article", { class: "cluster", "aria-label": `Cluster ${cluster.name}` },
      h("div", { class: "now" }, h("section", { class: "card", "aria-label": "Now" }, this.verdict, this.topology.element), this.progress.element),
      this.orders.element,
      h("section", { class: "card plots", "aria-label": "The last ten minutes" }, this.lag.element, this.latency.element),
      this.readiness.element, this.readiness.backups.element, this.readiness.drills.element, this.timeline.element, this.rescues.element);
    this.cluster = cluster;
  }

  // A snapshot, seen at `at` (ms, this browser's clock).
  take(cluster, at) {
    const before = this.cluster;
    const values = { lag: cluster.lag_seconds };
    for (const node of cluster.nodes) values[`node ${node.name}`] = node.up && typeof node.probe_ms === "number" ? node.probe_ms / 1000 : null;
    this.samples.add(at, values);
    if (before.primary !== cluster.primary) this.samples.mark(at, `${cluster.primary} became primary`);
    this.cluster = cluster;
  }

  draw(stale, now) {
    const { cluster } = this;
    const { level, text } = verdict(cluster);
    setAttribute(this.verdict, "data-level", level);
    setIcon(this.lamp, level);
    setText(this.headline, text);
    setText(this.reason, why(cluster));
    const facts = [`cluster ${cluster.name}`, `epoch ${cluster.epoch}`, `rpo ${promised(cluster)}`, cluster.rule ? `rule ${cluster.rule}` : "", cluster.paused ? "paused" : ""].filter(Boolean);
    if (this.facts.childElementCount !== facts.length) this.facts.replaceChildren(...facts.map(() => h("li")));
    facts.forEach((fact, index) => setText(this.facts.children[index], fact));
    this.topology.show(cluster);
    this.progress.show(cluster);
    this.orders.show(cluster, stale);
    this.lag.draw(this.samples, now);
    this.latency.draw(this.samples, now);
    if (!stale) this.readiness.keep(now);
  }

  async load() {
    await Promise.all([this.rescues.load(), this.readiness.load(), this.catchUp()]);
  }

  // What the stream may have missed while there was no connection.
  async catchUp() {
    const { newest } = this.timeline;
    const after = newest ? `&after=${newest}` : "";
    const { events } = await get(`clusters/${encodeURIComponent(this.name)}/events?limit=${HISTORY}${after}`);
    this.timeline.add(events);
  }

  event(event) {
    this.timeline.add([event]);
    if (event.kind === "step:rescue" || event.kind === "rescue_applied") this.rescues.load();
  }
}
