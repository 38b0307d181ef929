// What a person can ask for, and what became of it.

import { session } from "./api.js";
import { confirmFailover, confirmPause, confirmSwitchover, signIn } from "./dialogs.js";
import { h, setIcon, setText } from "./dom.js";
import { CHANGES, others, planName, preferred } from "./words.js";

export class Orders {
  constructor({ signed }) {
    this.signed = signed;
    this.cluster = null;
    this.order = null; // {target, name, id, epoch, over, ended}: the last one of this tab
    const button = (order, kind, action) =>
      h("button", { type: "button", class: kind, "data-order": order, onclick: () => this.#go(action) });
    this.switchover = button("switchover", "primary", () => this.#change("switchover"));
    this.failback = button("failback", "primary", () => this.#change("failback"));
    this.pause = button("pause", "quiet", () => confirmPause(this.cluster));
    this.failover = button("failover", "quiet danger-text", () => this.#change("failover"));
    this.lamp = h("span", { class: "lamp-icon" });
    this.text = h("span", {});
    this.outcome = h("p", { class: "outcome", role: "status", tabindex: "-1", hidden: true }, this.lamp, this.text);
    this.element = h("section", { class: "card orders", "aria-labelledby": "orders-title" },
      h("h3", { id: "orders-title" }, "Orders"),
      h("div", { class: "order-buttons" }, this.switchover, this.failback, this.pause, this.failover), this.outcome);
  }

  // `stale`: nobody knows what is true now, so nothing may be asked for.
  show(cluster, stale) {
    this.cluster = cluster;
    const home = preferred(cluster).name;
    const away = cluster.primary !== home;
    const target = others(cluster)[0]?.name;
    const busy = Boolean(cluster.plan && CHANGES.includes(cluster.plan.kind));
    this.switchover.hidden = away || !target;
    this.failback.hidden = !away;
    setText(this.switchover, `Switch over to ${target} …`);
    setText(this.failback, `Fail back to ${home} …`);
    setText(this.pause, cluster.paused ? "Resume …" : "Pause …");
    setText(this.failover, `Fail over to ${target} …`);
    for (const button of [this.switchover, this.failback, this.failover]) button.disabled = stale || busy || !target;
    this.pause.disabled = stale;
    this.#follow(cluster);
  }

  async #go(action) {
    if (!session.token) {
      if (!(await signIn("Orders need an operator’s token."))) return;
      this.signed();
    }
    await action();
  }

  async #change(name) {
    const target = name === "failback" ? preferred(this.cluster).name : others(this.cluster)[0].name;
    const { epoch } = this.cluster;
    const failover = name === "failover";
    const answer = await (failover ? confirmFailover(this.cluster, target) : confirmSwitchover(this.cluster, target, name));
    if (answer === null) return;
    this.order = { name, target, epoch, id: answer.id ?? answer.request?.id ?? answer.order ?? "", over: false };
    this.#tell("busy", `${words(name)} to ${target}: asked for, waiting for the agent.`);
    this.outcome.focus(); // the button that was pressed is disabled now, and gone when the primary has changed
    this.#follow(this.cluster);
  }

  #follow(cluster) {
    const { order } = this;
    if (order?.over && cluster.epoch > order.ended) this.outcome.hidden = true; // later changes have made it old
    if (!order || order.over) return;
    const answer = cluster.answer ?? "";
    const { plan } = cluster;
    if (order.id && answer.startsWith(`${order.id}: refused`)) {
      this.#end("warn", `${words(order.name)} to ${order.target} was ${answer.slice(order.id.length + 2)}`);
    } else if (plan && CHANGES.includes(plan.kind)) {
      this.#tell("busy", `${planName(plan)} to ${plan.target} is under way.`);
    } else if (cluster.primary === order.target && cluster.epoch > order.epoch) {
      this.#end("ok", `Done: ${order.target} is the primary at epoch ${cluster.epoch}.`);
    } else if (cluster.epoch > order.epoch) {
      this.#end("warn", `${words(order.name)} to ${order.target} was rolled back: ${cluster.primary} is still the primary. The history says why.`);
    }
  }

  #end(level, text) {
    this.order.over = true;
    this.order.ended = this.cluster.epoch;
    this.#tell(level, text);
  }

  #tell(level, text) {
    this.outcome.hidden = false;
    this.outcome.dataset.level = level;
    setIcon(this.lamp, level);
    setText(this.text, text);
  }
}

function words(name) {
  return { switchover: "Switchover", failback: "Failback", failover: "Failover" }[name];
}
