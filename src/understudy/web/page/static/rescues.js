// What only a former primary had, as kept on the agent's host: a list, and the manifest of each. Never its rows.

import { get } from "./api.js";
import { h, setText } from "./dom.js";
import { clock, human } from "./words.js";

const VERDICTS = {
  safe: "only new rows whose keys nobody else has: may be applied",
  superseded: "run again on the new primary already: nothing to do",
  manual: "a person must compare and decide",
  unknown: "the new primary could not be asked: compare and decide",
};
const LONGEST = 64; // entries of a list or table in a manifest that are shown

function verdicts(counts) {
  const kept = Object.entries(counts ?? {}).filter(([, count]) => count > 0);
  if (!kept.length) return h("p", { class: "hint" }, "Nothing was only there.");
  return h("ul", { class: "verdicts" }, ...kept.map(([verdict, count]) =>
    h("li", { "data-verdict": verdict }, h("strong", {}, `${count} ${verdict}`), h("span", {}, VERDICTS[verdict] ?? ""))));
}

function value(found) {
  if (found === null || found === undefined || found === "") return "–";
  if (Array.isArray(found)) return found.slice(0, LONGEST).map(String).join(", ") || "–";
  if (typeof found === "object") return Object.entries(found).slice(0, LONGEST).map(([name, one]) => `${name}: ${typeof one === "object" ? JSON.stringify(one) : one}`).join("\n") || "–";
  return String(found);
}

function manifest(found) {
  const rows = Object.entries(found).map(([name, one]) => h("div", {}, h("dt", {}, human(name)), h("dd", {}, value(one))));
  return h("details", {}, h("summary", {}, "Manifest"), h("dl", { class: "manifest" }, ...rows));
}

// The order for the part that may be applied; it is given on the agent's host, by a person.
function command(found, cluster) {
  if (!found.verdicts?.safe) return null;
  return h("p", { class: "rescue-apply" }, "Apply the safe part: ", h("code", {}, `understudy rescue apply ${found.name} --cluster ${cluster}`));
}

function rescue(found, cluster) {
  const made = found.created ?? found.manifest?.created;
  const at = made ? Date.parse(made) : NaN;
  return h("li", { class: "rescue" },
    h("p", { class: "rescue-head" }, h("strong", {}, `${found.transactions} ${found.transactions === 1 ? "transaction" : "transactions"} of ${found.node}`),
      Number.isNaN(at) ? null : h("time", { datetime: new Date(at).toISOString() }, clock(at))),
    h("p", { class: "rescue-name" }, found.name),
    verdicts(found.verdicts),
    command(found, cluster),
    found.manifest ? manifest(found.manifest) : null);
}

export class Rescues {
  constructor(name) {
    this.name = name;
    this.note = h("p", { class: "hint" }, "…");
    this.list = h("ul", { class: "rescues" });
    this.shown = "";
    this.element = h("section", { class: "card rescue-browser", "aria-labelledby": "rescues-title" },
      h("h3", { id: "rescues-title" }, "Rescues"), this.note, this.list);
  }

  async load() {
    try {
      const { rescues } = await get(`clusters/${encodeURIComponent(this.name)}/rescues`);
      const text = JSON.stringify(rescues);
      if (text !== this.shown) this.list.replaceChildren(...rescues.map((one) => rescue(one, this.name)).reverse());
      this.shown = text;
      setText(this.note, rescues.length
        ? "Saved before the old primary was changed. The rows stay on the agent’s host."
        : "None: no old primary came back with commits of its own.");
    } catch (failed) {
      setText(this.note, failed.message);
      this.list.replaceChildren();
      this.shown = "";
    }
  }
}
