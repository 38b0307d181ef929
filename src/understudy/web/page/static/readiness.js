// How ready a cluster is for its worst day: the light and its reasons, the backups, the drills. The agent looks once a minute.

import { get } from "./api.js";
import { h, icon, setAttribute, setIcon, setText } from "./dom.js";
import { bytes, clock, duration, human, ITEMS, LIGHTS, outcomeIcon, proven, readinessText, recovered } from "./words.js";

const EVERY = 60_000; // ms between two questions; a link to a report opens for a quarter of an hour
const SHOWN = 5; // backups and drills that are shown at once; the others open on demand

function moment(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? null : h("time", { datetime: new Date(at).toISOString() }, clock(at));
}

function reason(item) {
  const { icon: name, word } = LIGHTS[item.light] ?? LIGHTS.off;
  return h("li", { class: "reason-of-light", "data-item": item.name, "data-light": item.light },
    h("span", { class: "lamp-icon" }, icon(name)),
    h("div", {}, h("p", { class: "reason-head" }, h("strong", {}, ITEMS[item.name] ?? human(item.name)), h("span", { class: "light-word" }, word)),
      h("p", { class: "reason-why" }, item.detail)));
}

function backup(found) {
  const { level, text } = proven(found.verified);
  const size = `${bytes(found.stored_bytes)} stored, ${bytes(found.raw_bytes)} before compression`;
  return h("li", { class: "backup" },
    h("p", { class: "entry-head" }, h("strong", {}, `${human(found.kind)}${found.scope === "all" ? "" : `, ${found.scope}`}`), moment(found.finished)),
    h("p", { class: "entry-id" }, found.id),
    h("p", { class: "entry-facts" }, `${size}; of ${found.node}, in ${found.destinations.join(", ") || "no destination that answers"}`),
    h("p", { class: "proof", "data-level": level }, h("span", { class: "lamp-icon" }, icon(level)), h("span", {}, text)));
}

function drill(found) {
  const at = Date.parse(found.finished);
  const name = `${found.scenario}, ${Number.isNaN(at) ? found.id : clock(at)}`;
  return h("li", { class: "drill", "data-outcome": found.outcome },
    h("p", { class: "entry-head" }, h("strong", {}, human(found.scenario.replaceAll("-", " "))), moment(found.finished)),
    h("p", { class: "proof", "data-level": outcomeIcon(found.outcome) }, h("span", { class: "lamp-icon" }, icon(outcomeIcon(found.outcome))),
      h("span", {}, `${human(found.outcome)}${found.must_fail ? ", broken on purpose" : ""}: ${found.summary}`)),
    recovered(found) ? h("p", { class: "entry-facts" }, recovered(found)) : null,
    h("p", {}, h("a", { href: `api/v1/${found.report}`, target: "_blank", rel: "noopener", "aria-label": `Report of ${name} (opens in a new tab)` }, "Report")));
}

// Why nothing is known of the backups.
function unseen(readiness, backups) {
  if (backups.at !== null) return "";
  const configured = readiness.items.some((item) => item.name === "backup" && item.light !== "off");
  return configured ? "No destination has answered yet." : "None is configured: a table [backup] in the configuration makes them.";
}

// A list of which the newest are shown at once. What did not change is not touched.
class Entries {
  constructor(title, id, none, make) {
    this.none = none;
    this.make = make;
    this.shown = "";
    this.note = h("p", { class: "hint" }, "…");
    this.list = h("ul", { class: "entries" });
    this.older = h("ul", { class: "entries" });
    this.summary = h("summary", {});
    this.details = h("details", { hidden: true }, this.summary, this.older);
    this.element = h("section", { class: `card ${id}`, "aria-labelledby": `${id}-title` }, h("h3", { id: `${id}-title` }, title), this.note, this.list, this.details);
  }

  show(found, note) {
    setText(this.note, note || (found.length ? "" : this.none));
    this.note.hidden = !this.note.textContent;
    const text = JSON.stringify(found);
    if (text === this.shown) return;
    this.shown = text;
    const focused = document.activeElement;
    const label = this.element.contains(focused) ? focused.getAttribute("aria-label") : null;
    this.list.replaceChildren(...found.slice(0, SHOWN).map(this.make));
    this.older.replaceChildren(...found.slice(SHOWN).map(this.make));
    this.details.hidden = found.length <= SHOWN;
    setText(this.summary, `Older ones (${found.length - SHOWN})`);
    if (label) [...this.element.querySelectorAll("a")].find((link) => link.getAttribute("aria-label") === label)?.focus();
  }
}

export class Readiness {
  constructor(name) {
    this.path = `clusters/${encodeURIComponent(name)}/`;
    this.asked = -Infinity;
    this.shown = "";
    this.lamp = h("span", { class: "verdict-icon" });
    this.headline = h("p", { class: "light-headline" });
    this.when = h("p", { class: "hint" });
    this.light = h("div", { class: "light" }, this.lamp, h("div", {}, this.headline, this.when));
    this.reasons = h("ul", { class: "reasons" });
    this.element = h("section", { class: "card readiness", "aria-labelledby": "readiness-title" }, h("h3", { id: "readiness-title" }, "Readiness for the worst day"), this.light, this.reasons);
    this.backups = new Entries("Backups", "backups", "There is none yet: understudy backup create.", backup);
    this.drills = new Entries("Drills", "drills", "None yet: understudy drill run failover-crash.", drill);
  }

  // Called each second while there is a connection.
  keep(now) {
    if (now - this.asked >= EVERY) this.load();
  }

  async load() {
    this.asked = Date.now();
    try {
      const [readiness, backups, drills] = await Promise.all(["readiness", "backups", "drills"].map((what) => get(this.path + what)));
      this.#show(readiness);
      const counted = backups.total > backups.backups.length ? `The newest ${backups.backups.length} of ${backups.total}.` : "";
      this.backups.show(backups.backups, [unseen(readiness, backups), counted, ...backups.problems].filter(Boolean).join(" "));
      this.drills.show(drills.drills, drills.wrong.join(" "));
      this.backups.element.hidden = this.drills.element.hidden = readiness.at === null;
    } catch (failed) {
      this.#show({ at: null, light: null, items: [] });
      setText(this.when, failed.message);
      this.backups.element.hidden = this.drills.element.hidden = true;
    }
  }

  #show(readiness) {
    const { level, text } = readinessText(readiness);
    setAttribute(this.light, "data-level", level);
    setIcon(this.lamp, level);
    setText(this.headline, text);
    const at = Date.parse(readiness.at ?? "");
    setText(this.when, Number.isNaN(at) ? "The agent looks every minute." : `As of ${clock(at)}; the agent looks every minute.`);
    const items = JSON.stringify(readiness.items);
    if (items === this.shown) return;
    this.shown = items;
    this.reasons.replaceChildren(...readiness.items.map(reason));
  }
}
