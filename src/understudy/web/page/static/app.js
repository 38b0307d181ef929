// The page: listens to the agent, shows one cluster at a time, and says so at once when it knows nothing any more.

import { ApiError, Stream, session } from "./api.js";
import { ClusterView, nodeNames } from "./cluster.js";
import { signIn } from "./dialogs.js";
import { h, setAttribute, setText } from "./dom.js";
import { clock, differences, duration, verdict } from "./words.js";

const empty = document.getElementById("empty");
const at = (id) => document.getElementById(id);
// The cluster that the address names; an address that is no text names none.
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

const page = {
  views: new Map(),
  selected: named(),
  live: false,
  locked: false,
  heard: null, // when the last snapshot came (ms)
  since: Date.now(), // since when there is no connection (ms)
};

// --- what arrives ------------------------------------------------------------------------------------------

function message(event, data) {
  if (event === "clusters") snapshot(data.clusters);
  else if (event === "event") page.views.get(data.cluster)?.event(data);
}

function snapshot(everything) {
  const now = Date.now();
  page.heard = now;
  const clusters = everything.filter((cluster) => cluster.nodes.length); // without nodes nothing is known of it yet
  for (const name of page.views.keys()) if (!clusters.some((cluster) => cluster.name === name)) page.views.delete(name);
  for (const cluster of clusters) {
    let view = page.views.get(cluster.name);
    if (view?.nodes === nodeNames(cluster)) announce(differences(view.cluster, cluster));
    else {
      view = new ClusterView(cluster, { signed });
      page.views.set(cluster.name, view);
      load(view);
    }
    view.take(cluster, now);
  }
  draw();
}

async function load(view) {
  try {
    await view.load();
  } catch (failed) {
    if (!(failed instanceof ApiError)) throw failed; // the history stays as it is; the stream says what is wrong
  }
}

function state(kind) {
  const live = kind === "live";
  page.locked = kind === "locked";
  if (live === page.live && !page.locked) return;
  if (live) {
    if (page.heard !== null) announce("Connected again.");
    for (const view of page.views.values()) load(view);
  } else if (page.locked) {
    page.views.clear(); // who may not look is not shown what somebody else saw
    page.heard = null;
    document.title = "Understudy";
  } else if (page.live) {
    page.since = page.heard ?? Date.now();
    announce(`No connection to the agent since ${clock(page.since)}.`);
  }
  page.live = live;
  draw();
}

const stream = new Stream({ message, state });

// --- what is shown ------------------------------------------------------------------------------------------

function announce(text) {
  if (text) setText(at("announce"), text);
}

function draw() {
  connection();
  const names = [...page.views.keys()];
  if (!names.length) {
    at("clusters").hidden = true;
    if (!empty.isConnected) at("main").replaceChildren(empty);
    setText(empty, page.locked ? "Sign in with a token to see the clusters." : page.live ? "The agent knows nothing of its clusters yet: was understudy setup run?" : "Waiting for the agent …");
    return;
  }
  if (!page.views.has(page.selected)) page.selected = names[0];
  tabs(names);
  const view = page.views.get(page.selected);
  if (at("main").firstElementChild !== view.element) at("main").replaceChildren(view.element);
  view.draw(!page.live, Date.now());
  const { level, text } = verdict(view.cluster);
  const title = `${page.live ? { bad: "✕ ", warn: "! ", busy: "→ " }[level] ?? "" : "? "}${text} – Understudy`;
  if (document.title !== title) document.title = title;
}

function connection() {
  const pill = at("connection");
  const signed = Boolean(session.token);
  setAttribute(pill, "data-state", page.live ? "live" : page.locked ? "locked" : page.heard === null ? "waiting" : "lost");
  setAttribute(document.body, "data-stale", !page.live && page.heard !== null ? "yes" : null);
  setText(at("sign"), signed ? "Sign out" : "Sign in");
  const stale = at("stale");
  stale.hidden = page.live || page.heard === null;
  if (page.live) setText(at("connection-text"), "Live");
  else if (page.locked) setText(at("connection-text"), "Signed out");
  else if (page.heard === null) setText(at("connection-text"), "Connecting …");
  else {
    const age = duration(Math.max(1, Math.round((Date.now() - page.since) / 1000))).replace(/\.\d+/, "");
    setText(at("connection-text"), "No connection");
    setText(stale, `No connection since ${clock(page.since)} (${age}). What stands below is from then, and may be wrong now.`);
  }
}

function tabs(names) {
  const nav = at("clusters");
  nav.hidden = names.length < 2;
  if (nav.hidden) return;
  if (nav.childElementCount !== names.length)
    nav.replaceChildren(...names.map(() => h("a", {}, h("span", { class: "tab-name" }), h("span", { class: "tab-state" }))));
  names.forEach((name, index) => {
    const link = nav.children[index];
    const { level } = verdict(page.views.get(name).cluster);
    setAttribute(link, "href", `#${encodeURIComponent(name)}`);
    setAttribute(link, "aria-current", name === page.selected ? "page" : null);
    setAttribute(link, "data-level", level);
    setText(link.children[0], name);
    setText(link.children[1], { ok: "well", warn: "attention", bad: "trouble", busy: "changing" }[level]);
  });
}

// --- what a person does --------------------------------------------------------------------------------------

function signed() {
  stream.start(); // with the new token: it may see more
  for (const view of page.views.values()) load(view);
  draw();
}

at("sign").addEventListener("click", async () => {
  if (session.token) {
    session.token = "";
    signed();
  } else if (await signIn()) signed();
});
addEventListener("hashchange", () => {
  page.selected = named();
  draw();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !page.live) stream.start(); // do not wait for the timer of a tab that slept
});
setInterval(draw, 1000); // ages, and plots that move on
draw();
stream.start();
