// What steps, events and moments are called on this page. Pure functions over what the API says.

export const CHANGES = ["failover", "switchover", "reinstate"];

// What a person gains from knowing that this step runs. The protocol's own description: docs, "The protocol".
export const STEPS = {
  announce: "both servers learn the new epoch, so nobody can renew the right to write to the old primary",
  prepare_reverse: "the old primary gets ready to follow; nothing has stopped yet",
  hold: "new transactions wait, those in flight finish",
  fence: "the node refuses writes from everybody",
  fence_if_reachable: "the old primary refuses writes, if it answers",
  wait_replay: "the target receives the last commit",
  copy_sequences: "the next identity values are carried over exactly",
  stop_apply: "copying in the old direction ends at a recorded position",
  raise_sequences: "no identity value can be handed out twice",
  open_reverse_slot: "the way back is kept open before the first new write",
  require_sync: "commits wait until the standby has them",
  relax_sync: "the primary goes on without its standby",
  resume_apply: "copying goes on",
  promote: "the target accepts writes: from here only forward",
  publish: "the waiting transactions go on, on the new primary",
  rescue: "what only this node had is saved in files, before anything on it changes",
  rewind: "rows that only this node had are put back, key by key",
  drop_old_links: "replication nobody uses any more is removed",
  follow: "the node copies from the primary again",
  full_copy: "all contents are copied again",
  catch_up: "the node receives what it missed",
  verify: "checksums of every table are compared at one position",
  open_spare_slot: "ready for the next change",
};

const TITLES = {
  agent_started: ["Agent started", "note"],
  agent_took_over: ["Another agent acts now", "warn"],
  asked: ["Asked for by a person", "busy"],
  request: ["Change asked for", "busy"],
  request_refused: ["Refused", "warn"],
  primary_down: ["Failover decided", "bad"],
  escalate: ["Switchover becomes a failover", "bad"],
  failover_refused: ["No failover", "warn"],
  failback: ["Failback", "busy"],
  returned: ["A lost node is back", "busy"],
  needs_copy: ["Full copy needed", "warn"],
  link_lost: ["Replication lost", "warn"],
  sync_possible: ["Synchronous again", "ok"],
  sync_lost: ["Going on without the standby", "warn"],
  sync_unset: ["Going on without the standby", "warn"],
  tidy: ["Tidying up", "note"],
  step_failed: ["Rolled back", "warn"],
  target_lost: ["Rolled back", "warn"],
  try_again: ["Step failed, tried again", "warn"],
  node_down: ["Node does not answer", "bad"],
  node_up: ["Node answers", "ok"],
  paused: ["Paused", "warn"],
  resumed: ["Resumed", "ok"],
  setup: ["Set up", "note"],
  verified: ["Contents are equal", "ok"],
  witness_behind: ["Witness is too old", "bad"],
  rescue_applied: ["Rescue applied", "note"],
};

export function human(word) {
  const text = String(word ?? "").replaceAll("_", " ");
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}

export function eventTitle(kind) {
  return TITLES[kind]?.[0] ?? human(kind);
}

export function eventIcon(kind) {
  return TITLES[kind]?.[1] ?? (kind.endsWith("_failed") ? "warn" : "note");
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds === 0) return "0 s";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 9.95 ? 2 : 1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (count >= 1024 && power < units.length - 1) {
    count /= 1024;
    power += 1;
  }
  return power ? `${count.toFixed(count < 9.95 ? 1 : 0)} ${units[power]}` : `${count} bytes`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export function clock(when) {
  const date = new Date(when);
  const today = date.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

export function planName(plan) {
  return { failover: "Failover", switchover: "Switchover", reinstate: "Roll back" }[plan.kind] ?? human(plan.kind);
}

export function preferred(cluster) {
  return [...cluster.nodes].sort((one, other) => one.priority - other.priority)[0];
}

export function others(cluster) {
  return cluster.nodes.filter((node) => node.name !== cluster.primary);
}

export function nodeNamed(cluster, name) {
  return cluster.nodes.find((node) => node.name === name);
}

// The headline: how loud, and the sentence. The agent's own sentence stands below it, word for word.
export function verdict(cluster) {
  const { plan } = cluster;
  const primary = nodeNamed(cluster, cluster.primary);
  if (!primary) return { level: "warn", text: "Not set up yet" };
  if (plan && CHANGES.includes(plan.kind)) return { level: "busy", text: `${planName(plan)} to ${plan.target} under way` };
  if (!primary.up) return { level: "bad", text: `Primary ${primary.name} does not answer` };
  if (primary.fenced) return { level: "bad", text: `Primary ${primary.name} is read-only` };
  if (!cluster.acting) return { level: "warn", text: "This agent looks on; another one acts" };
  const standby = others(cluster).find((node) => node.role === "standby" && node.up);
  if (!standby) return { level: "warn", text: `${primary.name} is primary, nobody could take over` };
  if (cluster.rpo === "zero" && !cluster.in_sync)
    return { level: "warn", text: `${primary.name} is primary, ${standby.name} is not in sync` };
  if (cluster.rpo !== "zero" && cluster.lag_seconds === null)
    return { level: "warn", text: `${primary.name} is primary, the lag of ${standby.name} is unknown` };
  const limit = cluster.promise?.max_lag_seconds ?? Infinity;
  if (cluster.lag_seconds > limit)
    return { level: "warn", text: `${primary.name} is primary, ${standby.name} is ${duration(cluster.lag_seconds)} behind: a failover would be refused` };
  if (cluster.paused) return { level: "warn", text: `${primary.name} is primary, automatic changes are paused` };
  return { level: "ok", text: `${primary.name} is primary, ${standby.name} stands by` };
}

// Why it is so: what began the plan under way, and the agent's own sentence of this moment.
export function why(cluster) {
  return [...new Set([cluster.plan?.reason, cluster.reason])].filter(Boolean).join(" – ");
}

// What the loss of the primary may cost.
export function promised({ promise }) {
  if (promise.mode === "zero") return "zero: no acknowledged commit is lost";
  return `${promise.mode}: a failover leaves at most ${promise.max_lag_seconds} s behind, which is rescued`;
}

const ROLES = { primary: "Primary", standby: "Standby", detached: "Detached" };

export function roleName(node) {
  return ROLES[node.role] ?? human(node.role);
}

// One sentence about a node's present state, and its icon.
export function nodeState(node, cluster) {
  if (!node.up) return { level: "bad", text: "Does not answer" };
  const fence = node.fenced ? "fenced (read-only)" : "accepts writes";
  if (node.name === cluster.primary) return { level: node.fenced ? "bad" : "ok", text: `Up, ${fence}` };
  if (node.role === "detached") return { level: "warn", text: `Up, ${fence}, must rejoin first` };
  return { level: node.fenced ? "ok" : "warn", text: `Up, ${fence}` };
}

// Replication between two neighbours: which way, and how it does.
export function replication(cluster, left, right) {
  const pair = [left, right];
  const source = pair.find((node) => node.name === cluster.primary);
  const target = pair.find((node) => node !== source);
  if (!source) return { direction: "none", level: "warn", text: "No replication", detail: "" };
  const direction = source === left ? "forward" : "backward";
  if (target.role !== "standby")
    return { direction, level: "bad", text: "Not replicating", detail: `${target.name} must rejoin` };
  if (!source.up || !target.up)
    return { direction, level: "bad", text: "Interrupted", detail: `${(source.up ? target : source).name} does not answer` };
  if (cluster.plan && CHANGES.includes(cluster.plan.kind))
    return { direction, level: "busy", text: "Changing direction", detail: `to ${cluster.plan.target}` };
  const lag = cluster.lag_seconds === null ? "lag unknown" : `${duration(cluster.lag_seconds)} behind`;
  const sync = cluster.rpo === "zero" ? (cluster.in_sync ? "Synchronous" : "Not in sync") : "Replicating";
  const level = cluster.rpo === "zero" && !cluster.in_sync ? "warn" : cluster.lag_seconds === null ? "warn" : "ok";
  return { direction, level, text: sync, detail: lag };
}

// What a screen reader should hear when one snapshot follows another.
export function differences(before, now) {
  const said = [];
  if (before.primary !== now.primary) said.push(`${now.primary} is the primary now`);
  for (const node of now.nodes) {
    const was = nodeNamed(before, node.name);
    if (was && was.up !== node.up) said.push(`${node.name} ${node.up ? "answers again" : "does not answer"}`);
  }
  if (before.paused !== now.paused) said.push(now.paused ? "automatic changes are paused" : "automatic changes are resumed");
  if (before.plan?.kind !== now.plan?.kind && now.plan && CHANGES.includes(now.plan.kind))
    said.push(`${planName(now.plan)} to ${now.plan.target} has begun`);
  if (before.in_sync !== now.in_sync && now.rpo === "zero") said.push(now.in_sync ? "in sync" : "not in sync");
  return said.length ? `Cluster ${now.name}: ${said.join(", ")}.` : "";
}

// --- readiness ----------------------------------------------------------------------------------------------

// What each reason of the light is about.
export const ITEMS = {
  standby: "Standby",
  backup: "Newest backup",
  verification: "Newest proof",
  wal: "Write-ahead log",
  recovery_time: "Time to recover",
  data_loss: "Data that would be lost",
  key: "Key",
  storage: "Destinations",
};

export const LIGHTS = {
  green: { icon: "ok", word: "good" },
  amber: { icon: "warn", word: "look at it this week" },
  red: { icon: "bad", word: "see to it today" },
  off: { icon: "note", word: "not configured" },
};

// The headline of the light. An old look says nothing of now.
export function readinessText({ at, fresh, light, items }) {
  if (!at) return { level: "note", text: "Nobody has looked yet" };
  if (!fresh) return { level: "warn", text: "Nobody looks any more: what stands below is old" };
  const worst = items.filter((item) => item.light === light).map((item) => (ITEMS[item.name] ?? human(item.name)).toLowerCase());
  return {
    green: { level: "ok", text: "Ready" },
    amber: { level: "warn", text: `Not quite ready: ${worst.join(", ")}` },
    red: { level: "bad", text: `Not ready: ${worst.join(", ")}` },
    off: { level: "note", text: "No backup is configured" },
  }[light];
}

const DEPTH = { bytes: "every byte is there and authentic", archive: "the archive was decoded", restore: "restored and compared" };

// How deep a backup was proven.
export function proven(verified) {
  if (!verified) return { level: "note", text: "Never proven" };
  const when = clock(Date.parse(verified.at));
  if (verified.verdict === "pass") return { level: "ok", text: `Proven ${when}: ${DEPTH[verified.level] ?? verified.level}` };
  if (verified.verdict === "fail") return { level: "bad", text: `Failed its proof ${when} (${verified.level})` };
  return { level: "warn", text: `Could not be proven ${when} (${verified.level})` };
}

export function outcomeIcon(outcome) {
  return { pass: "ok", fail: "bad", inconclusive: "warn" }[outcome] ?? "note";
}

// What a drill measured against its targets; empty where it measured nothing.
export function recovered({ recovery, loss, rto, rpo }) {
  const found = [];
  if (recovery) found.push(`recovered in ${duration(recovery.detect + recovery.decide + recovery.act + recovery.verify)} (target ${duration(rto)})`);
  if (loss) found.push(`${loss.lost} of ${loss.acknowledged} acknowledged writes lost${loss.lost ? `, the oldest ${duration(loss.seconds)} old (target ${duration(rpo)})` : ""}`);
  return human(found.join("; "));
}
