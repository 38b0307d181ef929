// Dialogs: signing in, and confirming an order. The browser's own <dialog> keeps the focus inside and gives it back.

import { ApiError, act, get, session } from "./api.js";
import { h, icon, setText } from "./dom.js";

// Opens a dialog; resolves with what `confirm` gave, or null where it was cancelled. Errors stay in the dialog.
function ask({ title, body, confirmText, danger = false, focus = null, ready = () => true, confirm }) {
  return new Promise((resolve) => {
    let result = null;
    const error = h("p", { class: "dialog-error", role: "alert" });
    const yes = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirmText);
    const no = h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel");
    const form = h("form", { class: "dialog-form" }, h("h2", { id: "dialog-title" }, title), ...body, error, h("div", { class: "dialog-buttons" }, no, yes));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    const update = () => {
      yes.disabled = !ready();
    };
    form.addEventListener("input", update);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!ready()) return;
      yes.disabled = true;
      setText(error, "");
      try {
        result = await confirm();
        dialog.close();
      } catch (failed) {
        if (!(failed instanceof ApiError)) throw failed;
        setText(error, failed.message);
        update();
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    update();
    dialog.showModal();
    (focus ?? no).focus();
  });
}

export async function signIn(why = "") {
  const field = h("input", { type: "password", id: "token", name: "token", autocomplete: "off", required: true, "aria-describedby": "token-hint", spellcheck: "false" });
  return ask({
    title: "Sign in",
    body: [
      why ? h("p", {}, why) : null,
      h("label", { for: "token" }, "Token"),
      field,
      h("p", { class: "hint", id: "token-hint" }, "An operator’s token may act, a reader’s may look. It stays in this tab and is forgotten when you close it."),
    ],
    confirmText: "Sign in",
    focus: field,
    ready: () => field.value.trim() !== "",
    confirm: async () => {
      const before = session.token;
      session.token = field.value.trim();
      try {
        await get("clusters");
      } catch (failed) {
        session.token = before;
        throw failed;
      }
      return true;
    },
  });
}

function points(lines) {
  return h("ul", { class: "points" }, ...lines.map((line) => h("li", {}, line)));
}

// Whether the agent would carry this order out now; filled in when it answers.
function gate(cluster, kind) {
  const lamp = h("span", { class: "lamp-icon" }, icon("wait"));
  const text = h("span", {}, "Asking the agent whether anything stands in the way …");
  const element = h("p", { class: "gate", role: "status" }, lamp, text);
  const tell = (level, words) => {
    element.dataset.level = level;
    lamp.replaceChildren(icon(level));
    setText(text, words);
  };
  get(`clusters/${encodeURIComponent(cluster.name)}/explain`).then(
    (found) => {
      const closed = found.gates?.[kind];
      if (closed === undefined) element.hidden = true;
      else if (closed) tell("warn", `Would be refused now: ${closed}`);
      else tell("ok", "Nothing stands in the way.");
    },
    (failed) => tell("warn", failed.message),
  );
  return element;
}

export function confirmSwitchover(cluster, target, action) {
  const home = action === "failback";
  return ask({
    title: home ? `Fail back to ${target}` : `Switch over to ${target}`,
    body: [
      h("p", {}, `${cluster.primary} → ${target}, planned. Nothing is lost, and no statement fails.`),
      points([
        "New transactions wait for a moment; those in flight finish.",
        `${target} becomes primary when it has the last commit. ${cluster.primary} follows it.`,
        "If anything goes wrong before that, everything stays as it is.",
      ]),
      gate(cluster, "switchover"),
    ],
    confirmText: home ? `Fail back to ${target}` : `Switch over to ${target}`,
    confirm: () => act(cluster.name, action, home ? {} : { target }),
  });
}

export function confirmFailover(cluster, target) {
  const primary = cluster.nodes.find((node) => node.name === cluster.primary);
  const accept = h("input", { type: "checkbox", id: "accept-loss" });
  const typed = h("input", { type: "text", id: "typed-name", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const question = h("div", { class: "typed", hidden: true }, h("label", { for: "typed-name" }, "Type the cluster’s name, ", h("strong", {}, cluster.name), ", to go on"), typed);
  accept.addEventListener("change", () => {
    question.hidden = !accept.checked;
    typed.required = accept.checked;
    if (accept.checked) typed.focus();
  });
  return ask({
    title: `Fail over to ${target}`,
    body: [
      primary?.up
        ? h("p", { class: "gate", "data-level": "warn" }, h("span", { class: "lamp-icon" }, icon("warn")), h("span", {}, `${primary.name} answers. A switchover changes the primary without losing anything.`))
        : null,
      points([
        `Calls in flight on ${cluster.primary} are aborted.`,
        `${cluster.primary} is fenced, and must rejoin before it is used again.`,
        `What ${target} lacks is kept in rescue files when ${cluster.primary} returns; it is not merged.`,
      ]),
      gate(cluster, "failover"),
      h("div", { class: "check" }, accept, h("label", { for: "accept-loss" }, "Accept loss: go past the gates on lag and in-sync")),
      question,
    ],
    confirmText: `Fail over to ${target}`,
    danger: true,
    ready: () => !accept.checked || typed.value === cluster.name,
    confirm: () => act(cluster.name, "failover", { target, accept_loss: accept.checked }),
  });
}

export function confirmPause(cluster) {
  const paused = cluster.paused;
  return ask({
    title: paused ? "Resume automatic changes" : "Pause automatic changes",
    body: [
      h("p", {}, paused
        ? `If ${cluster.primary} is lost, the agent fails over by itself again.`
        : `While paused, nothing fails over or back by itself, even if ${cluster.primary} is lost. Orders of people are still carried out.`),
    ],
    confirmText: paused ? "Resume" : "Pause",
    confirm: () => act(cluster.name, paused ? "resume" : "pause"),
  });
}
