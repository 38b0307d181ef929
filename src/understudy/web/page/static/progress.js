// The plan under way, step by step: done, now, still to come.

import { h, setAttribute, setIcon, setText } from "./dom.js";
import { CHANGES, STEPS, human, planName } from "./words.js";

const PLANS = JSON.parse(document.getElementById("plans").textContent);
const STATES = { done: ["ok", "done"], now: ["busy", "now"], next: ["wait", "to come"] };

export class Progress {
  constructor() {
    this.title = h("h3", { id: "progress-title", tabindex: "-1" });
    this.list = h("ol", { class: "plan-steps" });
    this.element = h("section", { class: "card progress", "aria-labelledby": "progress-title", hidden: true }, this.title, this.list);
    this.rows = [];
    this.plan = "";
  }

  show(cluster) {
    const { plan } = cluster;
    this.element.hidden = !plan;
    if (!plan) return;
    const steps = PLANS[cluster.rpo]?.[plan.kind] ?? [...plan.done, plan.step].filter(Boolean);
    if (this.plan !== `${plan.kind} ${plan.target}`) this.#build(`${plan.kind} ${plan.target}`, steps);
    const change = CHANGES.includes(plan.kind);
    setText(this.title, `${planName(plan)} ${change ? "to" : "of"} ${plan.target}: step ${Math.min(plan.done.length + 1, steps.length)} of ${steps.length}`);
    steps.forEach((step, index) => {
      const state = index < plan.done.length ? "done" : step === plan.step ? "now" : "next";
      const row = this.rows[index];
      setAttribute(row.element, "data-state", state);
      setAttribute(row.element, "aria-current", state === "now" ? "step" : null);
      setIcon(row.lamp, STATES[state][0]);
      setText(row.state, `, ${STATES[state][1]}`);
    });
  }

  #build(plan, steps) {
    this.plan = plan;
    this.rows = steps.map((step) => {
      const lamp = h("span", { class: "lamp-icon" });
      const state = h("span", { class: "unseen" });
      const element = h("li", {}, lamp, h("span", { class: "step-name" }, human(step), state), h("span", { class: "step-why" }, STEPS[step] ?? ""));
      return { element, lamp, state };
    });
    this.list.replaceChildren(...this.rows.map((row) => row.element));
  }
}
