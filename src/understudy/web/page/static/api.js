// Talking to the agent: requests with the token of this tab, and the stream of events.

const BASE = "api/v1/";
const GUARDED = document.documentElement.dataset.guarded === "yes"; // looking needs a token, too
const TOKEN = "understudy-token";
const SILENCE = 5000; // ms; the agent says something every second, so this is no connection any more
const PAUSES = [250, 500, 1000, 2000, 3000]; // ms between two attempts to connect; the last one is repeated

// sessionStorage ends with the tab and is not sent by the browser itself: no other site can act with it.
export const session = {
  get token() {
    return sessionStorage.getItem(TOKEN) ?? "";
  },
  set token(value) {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
  },
};

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function headers(more = {}) {
  return session.token ? { ...more, Authorization: `Bearer ${session.token}` } : more;
}

const FALLBACK = {
  401: "This needs a token: sign in first.",
  403: "This token may look, not act. Sign in with an operator's token.",
  429: "Too many requests. Wait a moment, then try again.",
};

async function failure(response) {
  let found = "";
  try {
    const body = await response.json();
    found = body.error ?? body.message ?? body.detail ?? "";
    if (Array.isArray(found)) found = found.map((one) => one.msg ?? String(one)).join("; ");
    if (typeof found === "object") found = found.message ?? JSON.stringify(found);
  } catch {
    found = "";
  }
  return new ApiError(response.status, found || FALLBACK[response.status] || `The agent answered ${response.status}.`);
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(BASE + path, { cache: "no-store", ...options, headers: headers(options.headers) });
  } catch {
    throw new ApiError(0, "The agent does not answer. Nothing is known of this request; look at the history.");
  }
  if (!response.ok) throw await failure(response);
  return response.json();
}

export function get(path) {
  return call(path);
}

export function act(cluster, action, body = {}) {
  const path = `clusters/${encodeURIComponent(cluster)}/${action}`;
  return call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// One `event:`/`data:`/`id:` block of a text/event-stream.
export function parseBlock(block) {
  const found = { event: "message", data: "", id: null };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name === "event") found.event = value;
    else if (name === "data") found.data += (found.data ? "\n" : "") + value;
    else if (name === "id") found.id = value;
  }
  return found;
}

// EventSource can neither send a token nor tell that a frozen agent has gone silent; fetch can do both.
export class Stream {
  constructor({ message, state }) {
    this.message = message;
    this.state = state;
    this.lastId = null;
    this.failures = 0;
    this.attempt = null;
    this.waiting = null;
  }

  start() {
    clearTimeout(this.waiting);
    this.attempt?.abort();
    this.attempt = null;
    if (GUARDED && !session.token) {
      this.state("locked");
      return;
    }
    const attempt = new AbortController();
    this.attempt = attempt;
    this.#read(attempt).then(
      () => this.#again(attempt, null),
      (error) => this.#again(attempt, error),
    );
  }

  #again(attempt, error) {
    if (attempt !== this.attempt) return; // another attempt has taken its place
    if (error?.status === 401 || error?.status === 403) {
      this.state("locked"); // trying again would not help: somebody must sign in
      return;
    }
    this.state("lost");
    const pause = PAUSES[Math.min(this.failures, PAUSES.length - 1)];
    this.failures += 1;
    this.waiting = setTimeout(() => this.start(), pause);
  }

  async #read(attempt) {
    let alarm = null;
    const heard = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => attempt.abort(new Error("silent")), SILENCE);
    };
    heard();
    try {
      const more = { Accept: "text/event-stream", ...(this.lastId ? { "Last-Event-ID": this.lastId } : {}) };
      const response = await fetch(`${BASE}stream`, { headers: headers(more), signal: attempt.signal, cache: "no-store" });
      if (!response.ok) throw await failure(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        heard();
        const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.#take(block);
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  #take(block) {
    const { event, data, id } = parseBlock(block);
    if (id) this.lastId = id;
    if (!data) return;
    this.failures = 0;
    this.state("live");
    this.message(event, JSON.parse(data));
  }
}
