// Who is primary, who stands by, and which way replication runs. Nodes keep their places; the arrow turns round.

import { h, setAttribute, setIcon, setText, svg } from "./dom.js";
import { duration, nodeState, preferred, replication, roleName } from "./words.js";

class NodeCard {
  constructor() {
    this.role = h("span", { class: "role" });
    this.name = h("h3", { class: "node-name" });
    this.place = h("p", { class: "node-place" });
    this.lamp = h("span", { class: "lamp-icon" });
    this.state = h("span", {});
    this.error = h("p", { class: "node-error", hidden: true });
    this.facts = h("p", { class: "node-facts" });
    this.element = h("li", { class: "node" },
      h("div", { class: "node-top" }, this.name, this.role), this.place,
      h("p", { class: "node-state" }, this.lamp, this.state), this.error, this.facts);
  }

  show(node, cluster) {
    const { level, text } = nodeState(node, cluster);
    setAttribute(this.element, "data-role", node.role);
    setAttribute(this.element, "data-level", level);
    setAttribute(this.element, "data-node", node.name);
    setText(this.name, node.name);
    setText(this.role, roleName(node));
    setText(this.place, [node.provider, node.region].filter(Boolean).join(" · "));
    setIcon(this.lamp, level);
    setText(this.state, text);
    setText(this.error, node.error);
    this.error.hidden = !node.error;
    setText(this.facts, this.#facts(node, cluster));
  }

  #facts(node, cluster) {
    const words = [];
    if (preferred(cluster).name === node.name) words.push("preferred");
    if (node.name !== cluster.primary) words.push(node.verified ? "verified equal" : "not verified yet");
    if (node.up && typeof node.probe_ms === "number") words.push(`answers in ${duration(node.probe_ms / 1000)}`);
    return words.join(" · ");
  }
}

class Arrow {
  constructor() {
    const shaft = svg("path", { class: "shaft", d: "M4 12H104" });
    const head = svg("path", { class: "head", d: "M100 4l14 8-14 8z" });
    const cross = svg("path", { class: "cross", d: "M52 4l16 16M68 4l-16 16" });
    this.text = h("span", { class: "link-text" });
    this.detail = h("span", { class: "link-detail" });
    this.direction = h("span", { class: "unseen" });
    this.element = h("li", { class: "link" },
      svg("svg", { class: "arrow", viewBox: "0 0 120 24", "aria-hidden": "true" }, shaft, head, cross),
      h("p", {}, this.text, this.direction, this.detail));
  }

  show(cluster, left, right) {
    const { direction, level, text, detail } = replication(cluster, left, right);
    setAttribute(this.element, "data-direction", direction);
    setAttribute(this.element, "data-level", level);
    const [source, target] = direction === "backward" ? [right, left] : [left, right];
    setText(this.text, text);
    setText(this.direction, direction === "none" ? "" : `, from ${source.name} to ${target.name}, `);
    setText(this.detail, detail);
  }
}

export class Topology {
  constructor() {
    this.cards = new Map();
    this.arrows = [];
    this.element = h("ul", { class: "topology", "aria-label": "Nodes and replication" });
  }

  show(cluster) {
    const nodes = [...cluster.nodes].sort((one, other) => one.priority - other.priority);
    const names = nodes.map((node) => node.name);
    if (names.join("\n") !== [...this.cards.keys()].join("\n")) this.#build(names);
    for (const node of nodes) this.cards.get(node.name).show(node, cluster);
    this.arrows.forEach((arrow, index) => arrow.show(cluster, nodes[index], nodes[index + 1]));
  }

  #build(names) {
    this.cards = new Map(names.map((name) => [name, new NodeCard()]));
    this.arrows = names.slice(1).map(() => new Arrow());
    const parts = names.flatMap((name, index) => [...(index ? [this.arrows[index - 1].element] : []), this.cards.get(name).element]);
    this.element.replaceChildren(...parts);
  }
}
