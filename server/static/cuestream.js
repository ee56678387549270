// @cuestream/client, made by sdk/js/build.mjs. Do not edit.

// src/protocol.ts
var SUBPROTOCOL = "cuestream.v1";
var PROTOCOL_MINOR = 0;
var SAFE_INTEGER = 9007199254740991;
var HEADER_BYTES = 24;
var HEADER_OFFSETS = {
  kind: 0,
  flags: 1,
  stream: 2,
  seq: 4,
  ts: 8,
  window: 16,
  dur: 20,
  ext_len: 22
};
var KIND = {
  JPEG: 1,
  WEBP: 2,
  H264: 3,
  VP8: 4,
  I420: 5,
  PNG: 6,
  RGB24: 7,
  PCM_S16: 16,
  OPUS: 17,
  FLAC: 18,
  PCM_F32: 19
};
var FLAG = {
  KEYFRAME: 1,
  DISCONTINUITY: 2,
  CONCEALED: 4,
  END: 8,
  CROSSFADE: 16,
  EXTENDED: 32
};
var KNOWN_FLAGS = 63;
var STREAM = {
  VIDEO: 0,
  ORIGINAL: 1,
  MUSIC: 2
};
var EXTENSION = {
  SOURCE: 1,
  SIZE: 2
};
var SOURCE_BYTES = 32;
var SOURCE_OFFSETS = {
  newest_us: 0,
  newest_step: 8,
  age_steps: 12,
  seed: 16,
  revision: 24
};
var SIZE_BYTES = 4;
var SIZE_OFFSETS = {
  width: 0,
  height: 2
};
var ERRORS = {
  bad_request: { close: null, meaning: "a field is missing, of the wrong kind or out of its range; nothing changed" },
  invalid_json: { close: null, meaning: "not JSON, or not the JSON we take: NaN, a repeated name, too deep, a huge number" },
  invalid_utf8: { close: 1007, meaning: "a text message is not UTF-8" },
  invalid_media: { close: null, meaning: "a binary message contradicts itself" },
  message_too_large: { close: 1009, meaning: "a message is longer than its limit" },
  unexpected_message: { close: 1003, meaning: "media before the session, or a second session.start" },
  too_many_errors: { close: 1008, meaning: "more refused messages in a minute than the limit" },
  bad_handshake: { close: 4400, meaning: "the first message is not session.start or session.resume, or late" },
  unsupported_codec: { close: null, meaning: "a codec that this server does not take or send" },
  decode_failed: { close: null, meaning: "a picture or sound could not be decoded; it was skipped" },
  frame_too_large: { close: null, meaning: "a picture has more pixels than the limit; it was skipped" },
  rate_limited: { close: null, meaning: "too many messages a second; this one was skipped" },
  quota_exceeded: { close: 4429, meaning: "the key's quota is used up" },
  unauthorized: { close: 4401, meaning: "no token, or one that is not valid" },
  forbidden: { close: 4403, meaning: "the token does not allow this" },
  session_not_found: { close: 4404, meaning: "no such session here" },
  session_expired: { close: 4404, meaning: "the resume handle is too old" },
  session_superseded: { close: 4409, meaning: "another connection resumed this session" },
  session_limit: { close: 4440, meaning: "the session is as long as one may be" },
  heartbeat_timeout: { close: 4408, meaning: "the client did not answer pings" },
  slow_consumer: { close: 4413, meaning: "the listener fell too far behind" },
  capacity: { close: 1013, meaning: "every place is taken, or the server is busy; retry_after_ms says when to ask again" },
  draining: { close: 4503, meaning: "the server takes no more sessions, it is going away" },
  restarting: { close: 1012, meaning: "the server restarts" },
  model_unavailable: { close: 1013, meaning: "the model does not play now; retry_after_ms says when to ask again" },
  generator_late: { close: null, meaning: "music is made too slowly; what is heard is concealed" },
  generator_failed: { close: 1011, meaning: "the music cannot go on" },
  ingest_failed: { close: null, meaning: "the video's address could not be read" },
  ingest_forbidden_url: { close: null, meaning: "the video's address is not allowed" },
  recording_off: { close: null, meaning: "this server was started without a folder for recordings" },
  recording_refused: { close: null, meaning: "a recording runs already, or as many as may" },
  internal: { close: 1011, meaning: "our mistake" }
};
var CLOSES = {
  1e3: { name: "normal", action: "stop", meaning: "the session ended as asked" },
  1001: { name: "going_away", action: "resume", meaning: "the time of a go_away is over; resume at its reconnect_url" },
  1003: { name: "unexpected_message", action: "stop", meaning: "a message of a kind that has no place there" },
  1007: { name: "invalid_utf8", action: "stop", meaning: "a text message is not UTF-8" },
  1008: { name: "policy", action: "stop", meaning: "too many refused messages" },
  1009: { name: "too_large", action: "stop", meaning: "a message is longer than its limit" },
  1011: { name: "internal", action: "resume", meaning: "our mistake; the session may still be there" },
  1012: { name: "restarting", action: "resume", meaning: "the server restarts" },
  1013: { name: "try_again", action: "retry", meaning: "no place now" },
  4400: { name: "bad_handshake", action: "stop", meaning: "the connection did not begin as it must" },
  4401: { name: "unauthorized", action: "stop", meaning: "no valid token; get a new one first" },
  4403: { name: "forbidden", action: "stop", meaning: "the token does not allow this" },
  4404: { name: "no_session", action: "retry", meaning: "the session is unknown or gone" },
  4408: { name: "heartbeat_timeout", action: "resume", meaning: "pings were not answered" },
  4409: { name: "superseded", action: "stop", meaning: "another connection of this client has the session" },
  4413: { name: "slow_consumer", action: "resume", meaning: "the listener fell too far behind" },
  4429: { name: "rate_limited", action: "retry", meaning: "too much was asked for; wait" },
  4440: { name: "session_limit", action: "retry", meaning: "the session is as long as one may be" },
  4503: { name: "draining", action: "retry", meaning: "this server takes no more sessions; ask another" }
};

// src/secrets.ts
var HIDDEN = [
  [/([a-z][a-z\d+.-]*:\/\/)[^\s/?#"'<>]*@/gi, "$1…@"],
  // name and password of an address
  [/([a-z][a-z\d+.-]*:\/\/[^\s?#"'<>]*[?#])[^\s"'<>]*[^\s"'<>.,:;)]/gi, "$1…"],
  // its query: signed ones have a key there
  [/([?&#][\w.~-]+=)[^\s&#"'<>]+/g, "$1…"],
  // of an address without a host
  [/(\bbearer\s+)[^\s"'<>]+/gi, "$1…"],
  [/(\bcuestream\.token\.)[^\s"'<>,]+/gi, "$1…"]
];
function withoutSecrets(text) {
  return HIDDEN.reduce((shown, [secret, instead]) => shown.replace(secret, instead), text);
}

// src/errors.ts
var ClientError = class extends Error {
  name = "ClientError";
  constructor(text) {
    super(withoutSecrets(text));
  }
};
var ProtocolError = class extends ClientError {
  constructor(code, text) {
    super(`${code}: ${text}`);
    this.code = code;
  }
  name = "ProtocolError";
};
var Refused = class extends ClientError {
  constructor(code, text, retryAfterMs2, word) {
    super(text);
    this.code = code;
    this.retryAfterMs = retryAfterMs2;
    this.word = word;
  }
  name = "Refused";
};
var Unreachable = class extends ClientError {
  name = "Unreachable";
};
var Closed = class extends ClientError {
  name = "Closed";
};
var TooMuch = class extends ClientError {
  name = "TooMuch";
};
var Unsupported = class extends ClientError {
  name = "Unsupported";
};
function report(error) {
  queueMicrotask(() => {
    throw error;
  });
}

// src/closes.ts
var BROKEN = 1006;
var FULL = 1013;
var BAD_HANDSHAKE = 4400;
var UNKNOWN = 4404;
var GONE = 404;
var LEAVING = 4e3;
function afterClose(code) {
  return CLOSES[code]?.action ?? "resume";
}
var FOR_GOOD = [501, 505];
function afterStatus(status) {
  const forNow = status === 408 || status === 429 || status >= 500 && !FOR_GOOD.includes(status);
  return forNow ? "resume" : "stop";
}
var PATIENCE = {
  firstMs: 250,
  mostMs: 1e4,
  attempts: 12,
  firstAttempts: 3,
  stableMs: 2e3,
  askedMs: 12e4
};
function pauseMs(patience, failures, random) {
  return Math.min(patience.mostMs, patience.firstMs * 2 ** Math.min(failures, 32)) * (0.5 + 0.5 * random());
}

// src/emitter.ts
var Emitter = class {
  listeners = /* @__PURE__ */ new Map();
  /** Returns a function that ends it. */
  on(name, listener) {
    const set = this.listeners.get(name) ?? /* @__PURE__ */ new Set();
    this.listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }
  emit(name, detail) {
    for (const listener of this.listeners.get(name) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        report(error);
      }
    }
  }
};

// src/gate.ts
var Gate = class {
  nextUs = -Infinity;
  passes(atUs, fps) {
    const interval = 1e6 / fps;
    if (atUs < this.nextUs) return false;
    this.nextUs = Math.max(this.nextUs + interval, atUs + interval / 2);
    return true;
  }
};

// src/rest.ts
async function createSession(server, key, name) {
  const body = name ? JSON.stringify({ session_id: name }) : null;
  const url = new URL("v1/sessions", serverAt(server));
  const { text, status } = await ask(url, { method: "POST", headers: bearing(key), body });
  const made = parsed(text);
  if (isInvitation(made)) return made;
  throw unlike(url, status);
}
function isInvitation(answer) {
  return typeof answer?.client_secret?.value === "string" && typeof answer.urls?.ws === "string";
}
function serverAt(server) {
  const url = addressOf(server, globalThis.location?.href);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new ClientError(`an address such as http://host:8765 was expected, found "${server}"`);
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}
function addressOf(text, base) {
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
}
var TOKEN = /^[!-~]([ -~]*[!-~])?$/;
function bearing(token) {
  if (!token) return {};
  if (!TOKEN.test(token)) throw new ClientError("a token is ASCII, without a space at its ends or the end of a line; this one is not");
  return { authorization: `Bearer ${token}` };
}
var ANSWER_MS = 1e4;
async function ask(url, request, answerMs = ANSWER_MS) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), answerMs);
  let answer;
  let text;
  try {
    answer = await fetch(url, { ...request, signal: patience.signal });
    text = await answer.text();
  } catch (error2) {
    const why = patience.signal.aborted ? `no answer within ${answerMs / 1e3} s` : error2.message;
    throw new Unreachable(`${url}: ${why}${across(url)}`);
  } finally {
    clearTimeout(timer);
  }
  const { ok, status, statusText, headers } = answer;
  if (ok) return { status, headers, text };
  const pauseMs2 = retryAfterMs(headers);
  const { error } = parsed(text) ?? {};
  if (typeof error?.text === "string") throw new Refused(status, error.text, pauseMs2, error.code);
  throw new Refused(status, `${url} ${strange(status, statusText, text)}`, pauseMs2);
}
function retryAfterMs(headers) {
  const after = headers.get("retry-after") ?? "";
  if (/^\d+$/.test(after)) return Number(after) * 1e3;
  const until = dated(after);
  return until === null ? void 0 : Math.max(0, until - (dated(headers.get("date") ?? "") ?? Date.now()));
}
function dated(text) {
  const at = / GMT$/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}
function unlike(url, status) {
  return new Refused(status, `${url} answered, but not as a Cuestream server does; is one there?`);
}
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
var MOST_QUOTED = 120;
function strange(status, reason, text) {
  const line = text.trim().replace(/\s+/g, " ");
  const cut = line.length > MOST_QUOTED ? `${line.slice(0, MOST_QUOTED)}…` : line;
  const quoted = /^[^<\p{Cc}][^\p{Cc}]*$/u.test(cut) && line !== reason ? `: "${cut}"` : "";
  return `answered HTTP ${status}${reason && ` ${reason}`}, not in a Cuestream server's words; perhaps a proxy before it did${quoted}`;
}
var LOOPBACK = /^(localhost|.+\.localhost|127\.[\d.]+|\[::1\])$/;
function across(url) {
  const here = globalThis.location;
  if (!here) return "";
  const there = new URL(url, here.href);
  const plain = here.protocol === "https:" && /^(http|ws):$/.test(there.protocol);
  if (plain && !LOOPBACK.test(there.hostname)) return "; browsers let a page on https ask servers on https only (mixed content)";
  if (there.host === here.host) return "";
  const safari = plain ? " Safari lets a page on https ask servers on https only." : "";
  return `; is a server there, and was it started with --origin ${here.origin}?${safari}`;
}

// src/bucket.ts
var SHARE = 0.9;
var BURST_S = 0.5;
var Bucket = class {
  constructor(messagesPerS, seenMs) {
    this.messagesPerS = messagesPerS;
    this.seenMs = seenMs;
    this.most = this.level = Math.max(1, BURST_S * messagesPerS);
  }
  most;
  level;
  /** Whether one may go now; counted as gone when it may. */
  allows(nowMs) {
    const grown = (nowMs - this.seenMs) / 1e3 * SHARE * this.messagesPerS;
    this.level = Math.min(this.most, this.level + grown);
    this.seenMs = nowMs;
    if (this.level < 1) return false;
    this.level -= 1;
    return true;
  }
};

// src/clocksync.ts
var REMEMBERED_US = 6e7;
var KEPT = 60;
var ClockSync = class {
  trips = [];
  // bound: KEPT, the oldest goes
  pong(sentUs, serverUs, nowUs) {
    this.trips.push({ atUs: nowUs, rttUs: nowUs - sentUs, offsetUs: serverUs - (sentUs + nowUs) / 2 });
    if (this.trips.length > KEPT) this.trips.shift();
  }
  /** null before the first answer. */
  get best() {
    const newest = this.trips.at(-1)?.atUs ?? 0;
    const recent = this.trips.filter((trip) => newest - trip.atUs <= REMEMBERED_US);
    return recent.reduce((best, trip) => best && best.rttUs <= trip.rttUs ? best : trip, null);
  }
};

// src/comeback.ts
var LEAVE_AFTER_MS = 1500;
var TRIES_THERE = 3;
var TRIES_AT_ITS_PLACE = 9;
var NOBODY = [BROKEN, 502, 504];
var AT_ONCE = [BROKEN, LEAVING, 1001];
var Comeback = class {
  // left here, before it is their turn
  /** home: where to connect at first. clock: monotonic milliseconds. */
  constructor(home, patience, clock, random) {
    this.home = home;
    this.patience = patience;
    this.clock = clock;
    this.random = random;
    this.here = home;
  }
  failures = 0;
  ever = false;
  stoodMs = null;
  said = null;
  retryAfterMs = 0;
  leaveAtMs = null;
  leaveTo = null;
  here;
  others = [];
  // where to try, too; bound: 2
  tries = 0;
  /** Where to connect. */
  get url() {
    return this.here;
  }
  /** Of a session that begins. */
  set url(url) {
    this.here = this.home = url;
    this.others = [];
  }
  /** A connection stands, the session not yet. */
  opened() {
    this.said = this.leaveAtMs = this.stoodMs = null;
    this.retryAfterMs = 0;
  }
  /** The session stands on it. */
  stands() {
    this.ever = true;
    this.others = this.here === this.home ? [] : [this.home];
    this.tries = TRIES_AT_ITS_PLACE;
    this.stoodMs = this.clock();
  }
  /** What the server said before it closes, and how long it wants to be left alone. One that refused the greeting need not close;
   * there is nothing to wait for. */
  error(error) {
    if (!error.fatal && this.stoodMs !== null) return;
    this.said = error;
    if (this.isRefused) this.leaveAtMs = this.clock();
    this.retryAfterMs = error.retry_after_ms ?? 0;
  }
  /** Prepare to leave before the end for the place that it names; without one the music is here to the end. A session at its limit
   * would only be refused elsewhere. */
  goAway(message) {
    const url = message.reconnect_url;
    if (message.reason === "session_limit" || !url || !isAsSafe(url, this.url)) return;
    this.leaveAtMs = this.clock() + Math.min(LEAVE_AFTER_MS, message.time_left_ms / 2);
    this.leaveTo = url;
  }
  /** The server is there again, only without the session: a new one need not wait long. */
  answered() {
    this.failures = 0;
  }
  /** Whether the greeting was, on a connection that lives on. */
  get isRefused() {
    return this.said?.fatal === false;
  }
  get wantsToLeave() {
    return this.leaveAtMs !== null && this.clock() >= this.leaveAtMs;
  }
  /** The code of a close, or what the last error said where the line itself says nothing. */
  codeOf(code) {
    const errors = ERRORS;
    return code === BROKEN && this.said && errors[this.said.code]?.close || code;
  }
  why(code, reason) {
    return this.said ? `${this.said.code}: ${this.said.text}` : reason || `closed with ${code}`;
  }
  /** The connection is gone, or did not come about: when to try again, or that it was tried often enough. */
  after(then, code, why, retryAfterMs2) {
    if (this.stoodMs !== null && this.clock() - this.stoodMs >= this.patience.stableMs) this.failures = 0;
    const askedMs = retryAfterMs2 ?? this.retryAfterMs;
    if (then === "stop") return this.next({ then, code, why, askedMs });
    if (!this.ever && askedMs > this.patience.askedMs) {
      return this.next({ then: "stop", code, why: `${why}; it asks to come again in ${askedMs / 1e3} s`, askedMs });
    }
    const nobody = code === BROKEN && !this.ever;
    const tried = this.failures + (this.ever ? 0 : 1);
    if (tried >= (nobody ? this.patience.firstAttempts : this.patience.attempts)) {
      const gaveUp = `gave up after ${tried} attempt${tried === 1 ? "" : "s"}; ${why}`;
      return this.next({ then: "stop", code, why: gaveUp, gaveUp: true, askedMs });
    }
    this.turn(code);
    const pauseMs2 = Math.max(this.pauseMs(code), Math.min(askedMs, this.patience.askedMs));
    this.failures += 1;
    this.stoodMs = null;
    return this.next({ then, code, why, askedMs, pauseMs: pauseMs2 });
  }
  /** Where to connect next: where a server sent us; where nobody answers there, the place before and that of the beginning, too. Who
   * answers has the session, or says that it is gone. */
  turn(code) {
    if (this.leaveTo !== null) {
      const before = /* @__PURE__ */ new Set([this.here, this.home]);
      before.delete(this.leaveTo);
      this.here = this.leaveTo;
      this.others = [...before];
      this.leaveTo = null;
      this.tries = TRIES_THERE;
    } else if (this.stoodMs === null && NOBODY.includes(code)) {
      this.tries -= 1;
      const [next, ...rest] = this.others;
      if (this.tries > 0 || next === void 0) return;
      this.others = [...rest, this.here];
      this.here = next;
    }
  }
  next(next) {
    return { pauseMs: 0, gaveUp: false, ...next, why: withoutSecrets(next.why) };
  }
  pauseMs(code) {
    if (this.ever && this.failures === 0 && AT_ONCE.includes(code)) return 0;
    return pauseMs(this.patience, this.failures, this.random);
  }
};
function isAsSafe(url, asThis) {
  const there = addressOf(url);
  return !!there && !there.hash && (there.protocol === "wss:" || there.protocol === "ws:" && !asThis.startsWith("wss://"));
}

// src/control.ts
var TEXT_BYTES = 1 << 16;
var DEPTH = 16;
var HALF_SURROGATE = /[\uD800-\uDFFF]/u;
var TYPES = {
  "session.created": true,
  "session.resumed": true,
  "session.updated": true,
  "session.ended": true,
  state: true,
  "scene.cut": true,
  "memory.state": true,
  latency: true,
  "resume.handle": true,
  "recording.state": true,
  "video.request": true,
  go_away: true,
  warning: true,
  error: true,
  pong: true
};
var KNOWN = new Set(Object.keys(TYPES));
function encode(message) {
  return JSON.stringify(message);
}
function decodeServer(text) {
  const tree = parse(text);
  if (!isObject(tree) || typeof tree.type !== "string") {
    throw new ProtocolError("bad_request", "a message is a JSON object with a `type`, a string");
  }
  return KNOWN.has(tree.type) ? tree : null;
}
function parse(text) {
  if (text.length > TEXT_BYTES) {
    throw new ProtocolError("message_too_large", `a text message has at most ${TEXT_BYTES} bytes`);
  }
  let tree;
  try {
    tree = JSON.parse(text);
  } catch (error) {
    refuse(error.message);
  }
  check(tree, DEPTH);
  return tree;
}
function check(value, depth) {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) refuse("a number that no double holds");
    if (Number.isInteger(value) && Math.abs(value) > SAFE_INTEGER) refuse("an integer beyond 2**53 - 1");
  } else if (typeof value === "string") {
    if (HALF_SURROGATE.test(value)) refuse("half of a surrogate pair");
  } else if (typeof value === "object" && value !== null) {
    if (!depth) refuse(`objects and arrays inside each other more than ${DEPTH} deep`);
    for (const part of Object.values(value)) check(part, depth - 1);
  }
}
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function refuse(text) {
  throw new ProtocolError("invalid_json", text);
}

// src/media.ts
var MEDIA_LIMITS = { imageBytes: 1 << 20, audioBytes: 1 << 18, extBytes: 1024, rawVideo: false };
var KINDS = new Set(Object.values(KIND));
var STREAMS = new Set(Object.values(STREAM));
var RAW = /* @__PURE__ */ new Set([KIND.I420, KIND.RGB24]);
var SAMPLE_BYTES = /* @__PURE__ */ new Map([
  [KIND.PCM_S16, 2],
  [KIND.PCM_F32, 4]
]);
var FIRST_AUDIO = 16;
var SHOWN_FLAGS = 31;
var U32 = 2 ** 32;
function encodeMedia(media) {
  const extensions = (media.source ? 4 + SOURCE_BYTES : 0) + (media.size ? 4 + SIZE_BYTES : 0);
  const message = new Uint8Array(HEADER_BYTES + extensions + media.payload.length);
  const view = new DataView(message.buffer);
  view.setUint8(HEADER_OFFSETS.kind, media.kind);
  view.setUint8(HEADER_OFFSETS.flags, media.flags | (extensions ? FLAG.EXTENDED : 0));
  view.setUint16(HEADER_OFFSETS.stream, media.stream, true);
  view.setUint32(HEADER_OFFSETS.seq, media.seq, true);
  setU64(view, HEADER_OFFSETS.ts, media.ts);
  view.setUint32(HEADER_OFFSETS.window, media.window, true);
  view.setUint16(HEADER_OFFSETS.dur, media.dur, true);
  view.setUint16(HEADER_OFFSETS.ext_len, extensions, true);
  let at = HEADER_BYTES;
  if (media.source) at = writeSource(view, at, media.source);
  if (media.size) at = writeSize(view, at, media.size);
  message.set(media.payload, at);
  return message;
}
function decodeMedia(raw, limits = MEDIA_LIMITS) {
  if (raw.length > Math.max(limits.imageBytes, limits.audioBytes)) tooLarge(raw.length);
  if (raw.length < HEADER_BYTES) refuse2(`a binary message has at least ${HEADER_BYTES} bytes, this one ${raw.length}`);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const kind = view.getUint8(HEADER_OFFSETS.kind);
  const flags = view.getUint8(HEADER_OFFSETS.flags);
  const stream = view.getUint16(HEADER_OFFSETS.stream, true);
  if (!KINDS.has(kind) || !STREAMS.has(stream)) return null;
  const ts = getU64(view, HEADER_OFFSETS.ts);
  checkHeader(kind, stream, ts, raw.length, limits);
  const extensions = view.getUint16(HEADER_OFFSETS.ext_len, true);
  if (extensions > 0 !== (flags & FLAG.EXTENDED) > 0) refuse2("the flag for extensions and their length contradict each other");
  const end = HEADER_BYTES + extensions;
  if (extensions > limits.extBytes || extensions % 4 || end > raw.length) {
    refuse2(`extensions of ${extensions} bytes: not a multiple of 4, or too long`);
  }
  const found = readExtensions(view, end);
  const media = {
    kind,
    flags: flags & SHOWN_FLAGS,
    stream,
    seq: view.getUint32(HEADER_OFFSETS.seq, true),
    ts,
    window: view.getUint32(HEADER_OFFSETS.window, true),
    dur: view.getUint16(HEADER_OFFSETS.dur, true),
    source: found.has(EXTENSION.SOURCE) ? readSource(found.get(EXTENSION.SOURCE)) : null,
    size: found.has(EXTENSION.SIZE) ? readSize(found.get(EXTENSION.SIZE)) : null,
    payload: raw.subarray(end)
  };
  checkPayload(media);
  return media;
}
function newer(seq, than) {
  const ahead = seq - than >>> 0;
  return ahead > 0 && ahead < 2 ** 31;
}
function checkHeader(kind, stream, ts, length, limits) {
  const isAudio = kind >= FIRST_AUDIO;
  if (isAudio !== (stream !== STREAM.VIDEO)) refuse2(`kind ${kind} does not travel on stream ${stream}`);
  if (length > (isAudio ? limits.audioBytes : limits.imageBytes)) tooLarge(length);
  if (ts > SAFE_INTEGER) refuse2("ts is at most 2**53 - 1");
  if (RAW.has(kind) && !limits.rawVideo) throw new ProtocolError("unsupported_codec", "raw pictures are not taken here");
}
function checkPayload({ kind, flags, dur, size, payload: { length } }) {
  if (!length) {
    if (!(flags & FLAG.END)) refuse2("a message without a payload");
    return;
  }
  const bytes = SAMPLE_BYTES.get(kind);
  if (bytes && length !== dur * bytes && length !== dur * bytes * 2) {
    refuse2(`${length} bytes are not ${dur} samples of one or two channels`);
  }
  if (RAW.has(kind) && (!size || rawBytes(kind, size) !== length)) refuse2(`${length} bytes are not a raw picture of its size`);
}
function rawBytes(kind, { width, height }) {
  if (kind === KIND.RGB24) return width * height * 3;
  return width % 2 || height % 2 ? -1 : width * height * 3 / 2;
}
function readExtensions(view, end) {
  const found = /* @__PURE__ */ new Map();
  for (let at = HEADER_BYTES; at < end; ) {
    const type = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    at += 4;
    if (length % 4 || at + length > end) refuse2(`extension ${type} has a length of ${length}`);
    if (found.has(type)) refuse2(`extension ${type} stands there twice`);
    found.set(type, new DataView(view.buffer, view.byteOffset + at, length));
    at += length;
  }
  return found;
}
function readSource(value) {
  if (value.byteLength < SOURCE_BYTES) refuse2(`a source extension has at least ${SOURCE_BYTES} bytes`);
  const source = {
    newestUs: getU64(value, SOURCE_OFFSETS.newest_us),
    newestStep: value.getUint32(SOURCE_OFFSETS.newest_step, true),
    ageSteps: value.getUint32(SOURCE_OFFSETS.age_steps, true),
    seed: getU64(value, SOURCE_OFFSETS.seed),
    revision: value.getUint32(SOURCE_OFFSETS.revision, true)
  };
  if (Math.max(source.newestUs, source.seed) > SAFE_INTEGER) refuse2("newest_us and seed are at most 2**53 - 1");
  return source;
}
function readSize(value) {
  if (value.byteLength < SIZE_BYTES) refuse2(`a size extension has at least ${SIZE_BYTES} bytes`);
  return { width: value.getUint16(SIZE_OFFSETS.width, true), height: value.getUint16(SIZE_OFFSETS.height, true) };
}
function writeSource(view, at, source) {
  view.setUint16(at, EXTENSION.SOURCE, true);
  view.setUint16(at + 2, SOURCE_BYTES, true);
  const value = new DataView(view.buffer, at + 4, SOURCE_BYTES);
  setU64(value, SOURCE_OFFSETS.newest_us, source.newestUs);
  value.setUint32(SOURCE_OFFSETS.newest_step, source.newestStep, true);
  value.setUint32(SOURCE_OFFSETS.age_steps, source.ageSteps, true);
  setU64(value, SOURCE_OFFSETS.seed, source.seed);
  value.setUint32(SOURCE_OFFSETS.revision, source.revision, true);
  return at + 4 + SOURCE_BYTES;
}
function writeSize(view, at, size) {
  view.setUint16(at, EXTENSION.SIZE, true);
  view.setUint16(at + 2, SIZE_BYTES, true);
  view.setUint16(at + 4 + SIZE_OFFSETS.width, size.width, true);
  view.setUint16(at + 4 + SIZE_OFFSETS.height, size.height, true);
  return at + 4 + SIZE_BYTES;
}
function getU64(view, at) {
  return view.getUint32(at, true) + U32 * view.getUint32(at + 4, true);
}
function setU64(view, at, value) {
  view.setUint32(at, value % U32, true);
  view.setUint32(at + 4, Math.floor(value / U32), true);
}
function refuse2(text) {
  throw new ProtocolError("invalid_media", text);
}
function tooLarge(bytes) {
  throw new ProtocolError("message_too_large", `a binary message of ${bytes} bytes`);
}

// src/music.ts
var Music = class {
  constructor(session, audio, receivedThrough = 0) {
    this.session = session;
    this.audio = audio;
    this.receivedThrough = receivedThrough;
  }
  staleMessages = 0;
  repeatedSamples = 0;
  skippedSamples = 0;
  concealedSamples = 0;
  ended = false;
  source = null;
  seq = null;
  /** The next message may have any sequence number. */
  reconnected() {
    this.seq = null;
  }
  /** What is new in a message, null when nothing is. Throws ProtocolError, also when it is not PCM: nothing else is decoded here. */
  add(media) {
    if (media.stream !== STREAM.MUSIC) throw new ProtocolError("invalid_media", `stream ${media.stream} goes the other way`);
    if (this.seq !== null && !newer(media.seq, this.seq)) {
      this.staleMessages += 1;
      return null;
    }
    this.seq = media.seq;
    this.source = media.source ?? this.source;
    this.ended ||= (media.flags & FLAG.END) > 0;
    return media.payload.length ? this.place(media) : null;
  }
  place(media) {
    const { channels } = this.audio;
    const known = Math.max(0, this.receivedThrough - media.ts);
    this.repeatedSamples += Math.min(known, media.dur);
    if (known >= media.dur) return null;
    const samples = toFloats(media, channels);
    const first = media.ts + known;
    const concealed = (media.flags & FLAG.CONCEALED) > 0;
    this.skippedSamples += first - this.receivedThrough;
    this.receivedThrough = media.ts + media.dur;
    this.concealedSamples += concealed ? media.dur - known : 0;
    return {
      session: this.session,
      first,
      end: this.receivedThrough,
      rate: this.audio.sample_rate,
      channels,
      samples: known ? samples.slice(known * channels) : samples,
      source: this.source,
      window: media.window,
      crossfade: (media.flags & FLAG.CROSSFADE) > 0,
      concealed
    };
  }
};
function toFloats({ kind, dur, payload }, channels) {
  const count = dur * channels;
  if (kind !== KIND.PCM_S16 && kind !== KIND.PCM_F32) {
    throw new ProtocolError("unsupported_codec", `kind ${kind} was not agreed on`);
  }
  if (payload.length !== count * (kind === KIND.PCM_S16 ? 2 : 4)) {
    throw new ProtocolError("invalid_media", `${payload.length} bytes are not ${dur} samples of ${channels} channels`);
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const samples = new Float32Array(count);
  if (kind === KIND.PCM_S16) for (let i = 0; i < count; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
  else for (let i = 0; i < count; i++) samples[i] = view.getFloat32(4 * i, true);
  return samples;
}

// src/outbox.ts
var KEPT_MESSAGES = 512;
var Outbox = class {
  lost = 0;
  messages = [];
  // bound: KEPT_MESSAGES, see the class
  passing = /* @__PURE__ */ new Map();
  // bound: 1 of each kind, a newer one replaces it
  sent = 0;
  // of these, from the left
  before = 1;
  // messages before the first of these: session.start
  get waiting() {
    return this.messages;
  }
  add(message) {
    if (isPassing(message)) this.passing.set(message.type, message);
    else if (this.hasRoom()) this.messages.push(message);
    else throw new TooMuch(`${KEPT_MESSAGES} control messages wait for the connection`);
  }
  /** Whether there is anything to send. */
  get waits() {
    return this.passing.size > 0 || this.sent < this.messages.length;
  }
  /** The next one to send. */
  take() {
    const [passes] = this.passing.values();
    if (passes && this.mayPass() && this.hasRoom()) {
      this.passing.delete(passes.type);
      this.messages.splice(this.sent, 0, passes);
    }
    return this.sent < this.messages.length ? this.messages[this.sent++] : null;
  }
  /** The server has seen `count` messages of this session. */
  consumed(count) {
    while (this.sent && this.before < count) this.drop();
  }
  /** A connection resumed, and the server had seen `count`: those after it are sent again. */
  rewind(count) {
    this.consumed(count);
    this.lost += Math.max(0, this.before - count);
    this.messages = this.kept();
    this.passing.clear();
    this.sent = 0;
    this.before = count;
  }
  /** A new session: nothing counts. Returns what had not been seen. */
  restart() {
    const left = this.kept();
    this.messages = [];
    this.passing.clear();
    this.sent = 0;
    this.before = 1;
    return left;
  }
  /** Not two in a row while others wait. */
  mayPass() {
    const last = this.messages[this.sent - 1];
    return this.sent === this.messages.length || !last || !isPassing(last);
  }
  /** Room for one more; the oldest one that was sent makes it. */
  hasRoom() {
    if (this.messages.length >= KEPT_MESSAGES && this.sent) this.drop();
    return this.messages.length < KEPT_MESSAGES;
  }
  kept() {
    return this.messages.filter((message) => !isPassing(message));
  }
  drop() {
    this.messages.shift();
    this.sent -= 1;
    this.before += 1;
  }
};
function isPassing({ type }) {
  return type === "playout.report" || type === "ping";
}

// src/session.ts
var PING_EVERY_MS = 2e3;
var REPORT_EVERY_MS = 100;
var SILENCE_MS = 1e4;
var MOST_PPM = 1e4;
var PCM = { codec: "pcm_s16", sample_rate: 48e3, channels: 2 };
var Session = class {
  state = "idle";
  created = null;
  config = null;
  video = null;
  limits = null;
  music = null;
  ended = null;
  id = null;
  sessions = 0;
  /** The newest of the session, to go on with it. */
  handle = null;
  ending = false;
  resumed = 0;
  sentPictures = 0;
  replacedPictures = 0;
  sync = new ClockSync();
  outbox = new Outbox();
  /** Messages that were left alone, by why. */
  ignored = {};
  zeroMs;
  clock;
  comeback;
  bucket = null;
  wish;
  greeted = false;
  handleUntilMs = 0;
  wantsPlay = false;
  creditWish = null;
  picture = null;
  // bound: 1, a newer one replaces it
  seq = 0;
  playout = null;
  // bound: 1, a newer one replaces it
  reportedMs = -Infinity;
  pingedMs = -Infinity;
  heardMs = -Infinity;
  told = "";
  constructor(url, options = {}) {
    const { wish, patience, ticket } = options;
    this.clock = options.clock ?? (() => performance.timeOrigin + performance.now());
    this.wish = { audio: wish?.audio ?? PCM, config: wish?.config ?? {}, client: wish?.client ?? "@cuestream/client" };
    this.comeback = new Comeback(url, { ...PATIENCE, ...patience }, this.clock, options.random ?? Math.random);
    this.zeroMs = ticket?.zeroMs ?? this.clock();
    if (ticket) this.goOnWith(ticket);
  }
  // --- what the program wants
  /** Where to connect; a server that goes away may name another place. */
  get url() {
    return this.comeback.url;
  }
  set url(url) {
    this.comeback.url = url;
  }
  /** Whether the next connection begins a session, and does not go on with one. */
  get begins() {
    return this.handle === null || this.music === null;
  }
  /** The clock of pictures: whole microseconds since the session was thought of. */
  get nowUs() {
    return Math.max(0, Math.floor((this.clock() - this.zeroMs) * 1e3));
  }
  /** How the music comes; what was wished for before the server said it. */
  get audio() {
    return this.music?.audio ?? this.wish.audio;
  }
  /** One after the last sample that was heard of the session that stands. */
  get playedThrough() {
    if (!this.music || this.playout?.session !== this.sessions) return 0;
    return Math.min(this.playout.playedThrough, this.music.receivedThrough);
  }
  /** Whether the session is over as it should be: it was asked to end, or nothing happened for long. */
  get hasEnded() {
    return this.ended?.reason === "asked" || this.ended?.reason === "idle";
  }
  /** What another page needs to go on with this session, null when it cannot. */
  get ticket() {
    if (!this.handle || !this.music || !this.id || this.ending || this.state === "over") return null;
    const { handle, music, id, zeroMs, url, handleUntilMs: untilMs, wantsPlay } = this;
    return { handle, url, id, zeroMs, untilMs, played: this.playedThrough, audio: music.audio, plays: wantsPlay };
  }
  /** A control message; while there is no connection it waits. Throws Closed or TooMuch. */
  send(message) {
    if (this.state === "over") throw new Closed("the session is over");
    this.outbox.add(message);
    if (message.type === "playback" && message.action !== "reset_context") this.wantsPlay = message.action === "play";
    if (message.type === "flow.credit") this.creditWish = message;
    if (message.type === "session.end") this.ending = true;
  }
  /** The newest picture; one that still waits is dropped. Throws RangeError when it is larger than the server takes. */
  push(picture) {
    const most = this.limits?.image_bytes ?? MEDIA_LIMITS.imageBytes;
    const bytes = picture.payload.length + HEADER_BYTES;
    if (bytes > most) throw new RangeError(`a picture of ${bytes} bytes; the server takes ${most}`);
    this.replacedPictures += this.picture ? 1 : 0;
    this.picture = picture;
  }
  /** What was heard; sent when it is due. Going back or beyond what was received does no harm. */
  report(playout) {
    const before = this.playout;
    if (before?.session === playout.session && playout.playedThrough < before.playedThrough) return;
    this.playout = playout;
  }
  /** Nothing more will be sent or received. */
  close() {
    this.state = "over";
  }
  // --- the connection
  /** A connection stands. */
  opened() {
    this.state = "greeting";
    this.greeted = false;
    this.heardMs = this.clock();
    this.comeback.opened();
    this.music?.reconnected();
  }
  /** The next message to write, null when there is nothing. pictures: whether the line has room for one. */
  take(pictures = true) {
    if (this.state === "greeting" && !this.greeted) {
      this.greeted = true;
      return encode(this.greeting());
    }
    if (this.state !== "open") return null;
    const message = this.takeMessage();
    if (message) return encode(message);
    return pictures ? this.takePicture() : null;
  }
  /** What a message says, null when there is nothing to tell. One that breaks the protocol is counted and left alone. */
  receive(raw) {
    if (this.state !== "greeting") this.heardMs = this.clock();
    try {
      if (typeof raw === "string") return this.control(raw);
      const chunk = this.media(raw);
      return chunk && { chunk };
    } catch (error) {
      if (!(error instanceof ProtocolError) || error.code === "unsupported_codec") throw error;
      this.count(`refused_${error.code}`);
      return null;
    }
  }
  /** Queue a ping and a report when they are due. */
  tick() {
    const now = this.clock();
    if (this.state !== "open") return;
    if (now - this.pingedMs >= PING_EVERY_MS) {
      this.pingedMs = now;
      this.outbox.add({ type: "ping", t_us: this.nowUs });
    }
    if (this.playout?.session === this.sessions && now - this.reportedMs >= REPORT_EVERY_MS) {
      this.reportedMs = now;
      this.tell(this.playout);
    }
  }
  /** The server goes away, or refused the greeting: it is time to leave this connection. */
  get wantsToLeave() {
    return this.comeback.wantsToLeave;
  }
  /** Nothing was heard of the server for long, or no answer to the greeting: the line is dead, whatever the socket believes. */
  get isSilent() {
    return (this.state === "open" || this.state === "greeting") && this.clock() - this.heardMs >= SILENCE_MS;
  }
  /** The connection closed. */
  lost(code = BROKEN, reason = "") {
    code = this.comeback.codeOf(code);
    const resumes = this.state === "greeting" && !this.begins;
    let then = code === FULL && resumes ? "resume" : afterClose(code);
    if (this.comeback.isRefused) {
      code = BAD_HANDSHAKE;
      then = resumes ? "retry" : "stop";
    }
    const unanswered = this.state === "greeting" && code === BROKEN ? `${this.url} opened a connection, and no session on it` : "";
    return this.after(this.hasEnded ? "stop" : then, code, this.comeback.why(code, reason || unanswered));
  }
  /** A connection did not come about: the server answered with an HTTP status, or nobody did. */
  refused(status, why, retryAfterMs2) {
    if (status === null) return this.after("resume", BROKEN, why);
    if (status === GONE && this.handle !== null) return this.after("retry", UNKNOWN, why);
    return this.after(afterStatus(status), status, why, retryAfterMs2);
  }
  /** A connection can never come about, by what this program, its browser or an address is. */
  impossible(why) {
    return this.after("stop", BROKEN, why);
  }
  // --- inside
  goOnWith(ticket) {
    this.handle = ticket.handle;
    this.handleUntilMs = ticket.untilMs;
    this.id = ticket.id;
    this.wantsPlay = ticket.plays;
    this.sessions = 1;
    this.music = new Music(1, ticket.audio, ticket.played);
    this.playout = { session: 1, playedThrough: ticket.played, bufferMs: 0, underruns: 0, clockPpm: 0 };
  }
  /** Nothing new is not said again. */
  tell(playout) {
    const report2 = {
      type: "playout.report",
      played_through_sample: this.playedThrough,
      buffer_ms: Math.max(0, playout.bufferMs),
      underruns: playout.underruns,
      clock_ppm: Math.max(-MOST_PPM, Math.min(MOST_PPM, playout.clockPpm))
    };
    const text = encode(report2);
    if (text !== this.told) this.outbox.add(report2);
    this.told = text;
  }
  greeting() {
    if (this.handle !== null && this.music) {
      return {
        type: "session.resume",
        protocol_minor: PROTOCOL_MINOR,
        handle: this.handle,
        received_through_sample: this.music.receivedThrough,
        played_through_sample: this.playedThrough,
        client: this.wish.client
      };
    }
    if (this.sessions) this.startOver();
    return { type: "session.start", protocol_minor: PROTOCOL_MINOR, ...this.wish };
  }
  /** A session that is gone is begun anew: with what held last and the changes that nobody saw, and playing if it played. */
  startOver() {
    const left = this.outbox.restart();
    let config = this.config ?? this.wish.config;
    this.config = null;
    for (const message of left) if (message.type === "session.update") config = merged(config, message.config);
    this.wish = { ...this.wish, config };
    if (this.creditWish) this.outbox.add(this.creditWish);
    if (this.wantsPlay) this.outbox.add({ type: "playback", action: "play" });
    for (const message of left) if (message.type === "session.end") this.outbox.add(message);
  }
  /** The next one, as soon as the server takes one more. */
  takeMessage() {
    return this.outbox.waits && this.bucket?.allows(this.clock()) ? this.outbox.take() : null;
  }
  takePicture() {
    const picture = this.picture;
    if (!picture) return null;
    this.picture = null;
    this.sentPictures += 1;
    const seq = this.seq;
    this.seq = seq + 1 >>> 0;
    const { kind, payload, atUs, size = null } = picture;
    return encodeMedia({
      kind,
      flags: FLAG.KEYFRAME,
      stream: STREAM.VIDEO,
      seq,
      ts: Math.min(SAFE_INTEGER, Math.max(0, Math.floor(atUs))),
      window: 0,
      dur: 0,
      source: null,
      size,
      payload
    });
  }
  media(raw) {
    const media = decodeMedia(new Uint8Array(raw));
    if (!media || !this.music || this.state !== "open") {
      this.count("unknown_media");
      return null;
    }
    return this.music.add(media);
  }
  control(raw) {
    const message = decodeServer(raw);
    switch (message?.type) {
      case "session.created":
        this.begin(message);
        break;
      case "session.resumed":
        if (!this.music) return this.count("nothing_to_resume");
        this.outbox.rewind(message.consumed_messages);
        if (this.creditWish) this.outbox.add(this.creditWish);
        this.resumed += 1;
        this.opens(message);
        break;
      case "session.updated":
        this.config = message.config;
        break;
      case "resume.handle":
        this.handle = message.resumable ? message.handle : null;
        this.handleUntilMs = this.clock() + message.expires_ms;
        this.outbox.consumed(message.consumed_messages);
        break;
      case "video.request":
        this.video = message.video;
        break;
      case "pong":
        this.sync.pong(message.t_us, message.server_us, this.nowUs);
        break;
      case "error":
        this.comeback.error(message);
        break;
      case "go_away":
        this.comeback.goAway(message);
        break;
      case "session.ended":
        this.ended = message;
        break;
      case void 0:
        this.count("unknown_type");
    }
    return message && { message };
  }
  begin(created) {
    this.sessions += 1;
    this.ended = this.playout = null;
    this.music = new Music(this.sessions, created.audio);
    this.created = created;
    this.opens(created);
  }
  opens(message) {
    this.state = "open";
    this.heardMs = this.clock();
    this.id = message.session_id;
    this.comeback.stands();
    this.config = message.config;
    this.video = message.video;
    this.limits = message.limits;
    this.bucket = new Bucket(message.limits.messages_per_s, this.clock());
    this.reportedMs = this.pingedMs = -Infinity;
    this.told = "";
  }
  /** resume without a handle is retry; a session that was to end is not begun anew. */
  after(then, code, why, retryAfterMs2) {
    if (this.state === "over") then = "stop";
    if (then === "resume" && this.handle === null) then = "retry";
    if (then === "retry") {
      if (code === UNKNOWN && this.handle && this.state !== "open") this.comeback.answered();
      this.handle = null;
      if (this.ending) then = "stop";
    }
    const next = this.comeback.after(then, code, why, retryAfterMs2);
    this.state = next.then === "stop" ? "over" : "waiting";
    return next;
  }
  count(what) {
    this.ignored[what] = (this.ignored[what] ?? 0) + 1;
    return null;
  }
};
function merged(config, change) {
  const duck = { ...config.duck, ...change.duck };
  return { ...config, ...change, ...Object.keys(duck).length ? { duck } : {} };
}

// src/wstransport.ts
var CONNECT_MS = 1e4;
var OTHER = 400;
var WsTransport = class {
  carriesMedia = true;
  /** Throws Unsupported. */
  constructor() {
    if (!globalThis.WebSocket) throw new Unsupported("there is no WebSocket here; Node has one from Node 22 on");
  }
  /** Throws Unsupported where the browser lets this page not ask that server (Firefox says only that it is "insecure"), ClientError
   * for what is no websocket's address. */
  open(where, receiver) {
    try {
      return new WsLine(where, receiver);
    } catch (error) {
      const { name, message } = error;
      if (name === "SecurityError") throw new Unsupported(`${where.url}: ${message}${across(where.url)}`);
      throw name === "SyntaxError" ? new ClientError(`${where.url}: ${message}`) : error;
    }
  }
};
var WsLine = class {
  constructor({ url, token }, receiver) {
    this.receiver = receiver;
    this.socket = new WebSocket(url, token ? [SUBPROTOCOL, `cuestream.token.${token}`] : [SUBPROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.opened();
    this.socket.onmessage = ({ data }) => this.over || receiver.received(data);
    this.socket.onclose = ({ code, reason }) => this.closed(code, reason);
    this.patience = setTimeout(() => this.close(BROKEN), CONNECT_MS);
  }
  socket;
  patience;
  stood = false;
  over = false;
  get bufferedBytes() {
    return this.socket.bufferedAmount;
  }
  send(data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(data);
  }
  close(code) {
    if (code === 1e3 || code >= 3e3) this.socket.close(code);
    else this.socket.close();
    this.closed(code, "");
  }
  opened() {
    if (this.over) return;
    if (this.socket.protocol !== SUBPROTOCOL) return this.other();
    clearTimeout(this.patience);
    this.stood = true;
    this.receiver.opened();
  }
  /** What opened is no server of ours; browsers close most of those themselves, and tell a page no more than that. */
  other() {
    this.socket.close();
    this.closed(BROKEN, `${this.socket.url}: not a server of ${SUBPROTOCOL}`, OTHER);
  }
  closed(code, reason, status) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.patience);
    this.receiver.closed({ code, reason, stood: this.stood, status });
  }
};

// src/client.ts
var TICK_MS = 50;
var FULL_BYTES = 2e5;
var NO_INVITATION = "invite() must give the answer of POST /v1/sessions";
var INVITE_MS = 1e4;
var LONGEST_MS = 2 ** 31 - 1;
var END_MS = 3e3;
var Client = class extends Emitter {
  session;
  /** Where the session can be reached otherwise. */
  urls;
  /** Why it is over; null while it is not, and after an end that was asked for. */
  failure = null;
  /** Whether music counts as heard once its listeners had it. Off from the first `report` on, and while a player is connected. */
  acknowledge = true;
  transport;
  invite;
  inviteMs;
  gate = new Gate();
  line = null;
  running = null;
  leaving = null;
  isLeft = false;
  full = 0;
  word;
  // the server's, for why the last connection did not come about
  handed = null;
  /** Throws ClientError for a url that is none, Unsupported where there is no WebSocket. */
  constructor(options = {}) {
    super();
    const { url = ".", key, name, invite, inviteMs = INVITE_MS, config, audio, client, transport } = options;
    const wish = { ...config && { config }, ...audio && { audio }, ...client && { client } };
    this.session = new Session(options.ticket?.url ?? "", { ...options, wish });
    this.urls = options.ticket?.urls ?? null;
    this.transport = transport ?? new WsTransport();
    const server = invite ? "" : serverAt(url);
    this.invite = invite ?? (() => createSession(server, key, name));
    this.inviteMs = Math.min(inviteMs, LONGEST_MS);
  }
  /** Begin, or go on. Resolves when the session stands. Throws Refused or Unreachable. */
  connect() {
    if (this.running) throw new Closed("a client connects once; make another one");
    return new Promise((resolve, reject) => {
      const stands = (message) => {
        for (const end of ends) end();
        resolve(message);
      };
      const ends = [this.on("session.created", stands), this.on("session.resumed", stands)];
      this.running = this.run().then(() => reject(this.failure ?? new Closed("the session ended before it began")));
    });
  }
  // --- what holds
  get live() {
    return this.session.state === "open";
  }
  get config() {
    return this.session.config;
  }
  /** How the server wants pictures; null before it said so. */
  get video() {
    return this.session.video;
  }
  /** For `keepTicket`; null when nobody else could go on with the session. */
  get ticket() {
    const { ticket } = this.session;
    return ticket && { ...ticket, ...this.urls && { urls: this.urls } };
  }
  /** The clock of pictures, whole microseconds. */
  get nowUs() {
    return this.session.nowUs;
  }
  /** A moment on the clock of pictures as `performance.now()` would have said it. */
  timeOf(atUs) {
    return this.session.zeroMs + atUs / 1e3 - performance.timeOrigin;
  }
  get stats() {
    const { session, line } = this;
    const { music, sync, sessions, resumed, sentPictures, replacedPictures, ignored, state } = session;
    return {
      state,
      sessions,
      resumed,
      rttMs: sync.best && sync.best.rttUs / 1e3,
      receivedThrough: music?.receivedThrough ?? 0,
      skippedSamples: music?.skippedSamples ?? 0,
      repeatedSamples: music?.repeatedSamples ?? 0,
      concealedSamples: music?.concealedSamples ?? 0,
      sentPictures,
      skippedPictures: replacedPictures + this.full,
      bufferedBytes: line?.bufferedBytes ?? 0,
      ignored: { ...ignored }
    };
  }
  // --- up
  play() {
    this.playback("play");
  }
  pause() {
    this.playback("pause");
  }
  stop() {
    this.playback("stop");
  }
  resetContext() {
    this.playback("reset_context");
  }
  /** Turn what is named, all of it or, when the server refuses a value, nothing. */
  update(config) {
    this.send({ type: "session.update", config });
  }
  /** Change now: a cut, at that moment or with the next picture. */
  sceneChange(atUs) {
    this.send(atUs === void 0 ? { type: "scene.change" } : { type: "scene.change", at_us: atUs });
  }
  credit(creditMs) {
    this.send({ type: "flow.credit", credit_ms: creditMs });
  }
  /** Have the server record the session; "recording.state" comes when it begins, and when it is finished. */
  record(audio = "flac", video = false) {
    this.send({ type: "recording", action: "start", audio, video });
  }
  stopRecording() {
    this.send({ type: "recording", action: "stop" });
  }
  /** Fade out and end. */
  end(fadeMs) {
    this.send(fadeMs === void 0 ? { type: "session.end" } : { type: "session.end", fade_ms: fadeMs });
  }
  /** Any control message; it waits for the connection. Throws Closed or TooMuch. */
  send(message) {
    this.check();
    this.session.send(message);
    this.flush();
  }
  /** Whether a picture of that moment is wanted now: not more often than the server asks, and not while the line is full. True
   * counts as taken. Throws Closed, or why the session is over. */
  wants(atUs) {
    this.check();
    if (!this.live || !this.transport.carriesMedia) return false;
    if ((this.line?.bufferedBytes ?? 0) > FULL_BYTES) {
      this.full += this.gate.passes(atUs, this.video.fps) ? 1 : 0;
      return false;
    }
    return this.gate.passes(atUs, this.video.fps);
  }
  /** Show a picture; one that still waits is dropped. Throws RangeError when it is larger than the server takes, and as `wants`. */
  push(picture) {
    this.check();
    this.session.push(picture);
    this.flush();
  }
  /** What was heard, by whoever plays the music; from the first one on nothing else counts, and the server sends half a second
   * more than that. A MusicPlayer that is connected says it. */
  report(playout) {
    this.acknowledge = false;
    this.session.report(playout);
    this.flush();
  }
  /** End the session without a fade, and the connection. A client that was not connected yet is not connected any more. */
  async close() {
    if (this.live) await this.goodbye();
    this.leave(1e3);
    await this.running;
  }
  /** Leave the session to whoever has its ticket. */
  detach() {
    this.leave(LEAVING);
  }
  check() {
    if (this.session.state === "over") throw this.failure ?? new Closed("the session is over");
  }
  // --- the connection
  playback(action) {
    this.send({ type: "playback", action });
  }
  async goodbye() {
    let timer;
    try {
      this.end(0);
      await Promise.race([this.running, new Promise((done) => timer = setTimeout(done, END_MS))]);
    } catch {
    } finally {
      clearTimeout(timer);
    }
  }
  leave(code) {
    this.isLeft = true;
    this.session.close();
    this.line?.close(code);
    this.leaving?.();
  }
  async run() {
    const ticking = setInterval(() => this.tick(), TICK_MS);
    let next;
    for (; ; ) {
      this.emit("line", { state: "connecting" });
      next = await this.connection();
      if (next.then === "stop") break;
      this.emit("line", { state: "lost", next });
      if (this.session.state !== "over") await this.rest(next.pauseMs);
    }
    clearInterval(ticking);
    if (!this.isLeft) this.failure ??= failure(next, this.session, this.word);
    this.emit("line", { state: "closed", next });
  }
  async rest(ms) {
    let timer;
    await Promise.race([new Promise((done) => timer = setTimeout(done, Math.min(ms, LONGEST_MS))), this.left()]);
    clearTimeout(timer);
  }
  /** What is waited for besides is not waited for any more once the client is left. */
  left() {
    return new Promise((done) => this.leaving = () => done(null));
  }
  /** One connection from its beginning to what follows it. */
  async connection() {
    const { session } = this;
    this.word = void 0;
    try {
      if (!session.begins || session.state === "over") return await this.talk(null);
      const invited = await this.inTime(this.invited());
      if (!invited) return session.lost(1e3);
      const { client_secret, urls } = invited;
      this.urls = urls;
      session.url = urls.ws;
      return await this.talk(client_secret.value);
    } catch (error) {
      if (error instanceof Refused) {
        this.word = error.word;
        return session.refused(error.code, error.message, error.retryAfterMs);
      }
      if (error instanceof ClientError && !(error instanceof Unreachable)) {
        this.failure = error;
        return session.impossible(error.message);
      }
      return session.refused(null, error.message);
    }
  }
  /** A backend of someone else's answers what it likes, also nothing, or a page. What is no invitation never becomes one; what fails
   * otherwise, as a request that nobody answers, may pass. Throws ClientError. */
  async invited() {
    let answer;
    try {
      answer = await this.invite();
    } catch (error) {
      if (error instanceof ClientError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw error instanceof SyntaxError ? new ClientError(`${NO_INVITATION}: ${why}`) : new Unreachable(why);
    }
    if (isInvitation(answer)) return answer;
    throw new ClientError(NO_INVITATION);
  }
  /** What comes of it; null when the client is left before. */
  async inTime(invited) {
    let timer;
    const late = new Promise((_, fail) => {
      const error = new Unreachable(`no invitation came within ${this.inviteMs / 1e3} s`);
      timer = setTimeout(() => fail(error), this.inviteMs);
    });
    try {
      return await Promise.race([invited, late, this.left()]);
    } finally {
      clearTimeout(timer);
    }
  }
  talk(token) {
    const { session } = this;
    if (session.state === "over") return Promise.resolve(session.lost(1e3));
    const where = { url: session.url, offer: this.urls?.offer ?? null, token, handle: token ? null : session.handle };
    return new Promise((resolve) => {
      this.line = this.transport.open(where, {
        opened: () => {
          session.opened();
          this.flush();
        },
        received: (data) => this.received(data),
        closed: ({ code, reason, stood, status = null, retryAfterMs: retryAfterMs2, word }) => {
          this.line = null;
          this.word = word;
          if (stood || session.state === "over") resolve(session.lost(code, reason));
          else resolve(session.refused(status, reason || unopened(session.url, token), retryAfterMs2));
        }
      });
    });
  }
  tick() {
    if (this.session.isSilent) this.line?.close(BROKEN);
    else if (this.session.wantsToLeave) this.line?.close(LEAVING);
    this.flush();
  }
  /** Write what there is to say. */
  flush() {
    const { line, session } = this;
    if (!line) return;
    if (this.acknowledge && this.handed) session.report(this.handed);
    session.tick();
    for (; ; ) {
      const data = session.take(this.transport.carriesMedia && line.bufferedBytes <= FULL_BYTES);
      if (data === null) return;
      line.send(data);
    }
  }
  received(data) {
    const seen = this.seen(data);
    if (seen === null) return;
    if ("chunk" in seen) return this.hand(seen.chunk);
    const { message } = seen;
    if (message.type === "session.created" || message.type === "session.resumed") this.emit("line", { state: "open" });
    this.emit(message.type, message);
    this.emit("message", message);
    this.flush();
  }
  hand(chunk) {
    this.emit("music", chunk);
    this.handed = { session: chunk.session, playedThrough: chunk.end, bufferMs: 0, underruns: 0, clockPpm: 0 };
    this.flush();
  }
  /** A server that sends what was not agreed on is left. */
  seen(data) {
    try {
      return this.session.receive(data);
    } catch (error) {
      this.failure = error;
      this.leave(LEAVING);
      return null;
    }
  }
};
function unopened(url, token) {
  const proxy = token ? "; where a proxy is before the server, does it hand websockets on?" : "";
  return `${url}: no answer${across(url) || proxy}`;
}
function failure(next, session, word) {
  if (session.hasEnded || session.ending || next.code === 1e3) return null;
  return next.gaveUp ? new Unreachable(next.why) : new Refused(next.code, next.why, next.askedMs || void 0, word);
}

// src/drift.ts
var MOST = 5e-3;
var KP = 0.05;
var KI = KP ** 2 / 4;
var SMOOTH_S = 1;
var Drift = class {
  /** Samples of music for one of the card, where both have the same rate. */
  ratio = 1;
  levelS = null;
  integral = 0;
  /** levelS: in the buffer now. passedS: since the last call. Returns the ratio to play with. */
  update(levelS, targetS, passedS) {
    const before = this.levelS ?? levelS;
    this.levelS = before + (levelS - before) * Math.min(1, passedS / SMOOTH_S);
    const error = this.levelS - targetS;
    const wanted = KP * error + this.integral + KI * error * passedS;
    if (Math.abs(wanted) < MOST || wanted * error < 0) this.integral += KI * error * passedS;
    this.ratio = 1 + Math.max(-MOST, Math.min(MOST, wanted));
    return this.ratio;
  }
  /** The level jumps: what was learnt of the clocks stays. */
  restart() {
    this.levelS = null;
  }
  /** How much faster than the server's clock the card is, millionths; true in the mean over minutes. */
  get clockPpm() {
    return -this.integral * 1e6;
  }
};

// src/sinc.ts
var HALF = 8;
var PHASES = 512;
var BETA = 8;
var Sinc = class {
  taps;
  /** Samples that are needed before a position, and after it. */
  before;
  after;
  table;
  constructor(cutoff = 1) {
    this.after = Math.ceil(HALF / cutoff);
    this.before = this.after - 1;
    this.taps = 2 * this.after;
    this.table = new Float32Array((PHASES + 1) * this.taps);
    for (let phase = 0; phase <= PHASES; phase++) this.fill(phase, cutoff);
  }
  /** The value at a position of a ring, whose length is `mask` + 1, a power of two. */
  at(ring, mask, position) {
    const { table, taps } = this;
    const whole = Math.floor(position);
    const phase = (position - whole) * PHASES;
    const row = Math.floor(phase);
    const part = phase - row;
    const first = whole - this.before;
    let value = 0;
    for (let k = 0, i = row * taps; k < taps; k++, i++) {
      value += ring[first + k & mask] * (table[i] + part * (table[i + taps] - table[i]));
    }
    return value;
  }
  /** One row, of sum 1. */
  fill(phase, cutoff) {
    const row = this.table.subarray(phase * this.taps, (phase + 1) * this.taps);
    for (let k = 0; k < this.taps; k++) {
      const x = k - this.before - phase / PHASES;
      row[k] = sinc(x * cutoff) * kaiser(x / (this.after + 0.5));
    }
    const sum = row.reduce((a, b) => a + b, 0);
    for (let k = 0; k < this.taps; k++) row[k] /= sum;
  }
};
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}
function kaiser(x) {
  return bessel(BETA * Math.sqrt(Math.max(0, 1 - x * x))) / bessel(BETA);
}
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

// src/jitterbuffer.ts
var COMFORT = {
  targetS: 0.06,
  leastS: 0.04,
  mostS: 0.4,
  fadeS: 5e-3,
  calmS: 20,
  spareS: 0.02,
  excessS: 0.08,
  settledS: 3,
  capacityS: 2
};
var MOST_MARKS = 64;
var ROOM = 65536 + 1024;
var JitterBuffer = class {
  /** rate: of the music; cardRate: of the blocks that are read. */
  constructor(rate, cardRate, channels, comfort = {}) {
    this.rate = rate;
    this.cardRate = cardRate;
    this.channels = channels;
    this.comfort = { ...COMFORT, ...comfort };
    this.targetS = this.comfort.targetS;
    this.base = rate / cardRate;
    this.sinc = new Sinc(Math.min(1, cardRate / rate));
    this.fade = Math.round(this.comfort.fadeS * rate);
    const length = 2 ** Math.ceil(Math.log2(this.comfort.capacityS * rate + ROOM));
    this.mask = length - 1;
    this.rings = Array.from({ length: channels }, () => new Float32Array(length));
  }
  /** False while a pause or the end makes an empty buffer no underrun. */
  expecting = true;
  playing = false;
  underruns = 0;
  skipped = 0;
  targetS;
  drift = new Drift();
  comfort;
  base;
  // samples of music for one of the card, but for the drift
  sinc;
  rings;
  mask;
  fade;
  // samples of music
  marks = [{ at: 0, first: 0, session: 0 }];
  // bound: MOST_MARKS, none is near when it goes
  put = 0;
  // samples put in
  at = 0;
  // the position that is played next, counted the same
  gain = 0;
  lowestS = Infinity;
  calmS = 0;
  floorS = Infinity;
  settledS = 0;
  /** Seconds of music that wait. */
  get levelS() {
    return Math.max(0, this.put - this.at) / this.rate;
  }
  get played() {
    const at = Math.floor(this.at);
    const mark = this.marks.filter((mark2) => mark2.at <= at).at(-1) ?? this.marks[0];
    return {
      session: mark.session,
      playedThrough: mark.first + Math.max(0, at - mark.at),
      playing: this.playing,
      levelS: this.levelS,
      targetS: this.targetS,
      underruns: this.underruns,
      skipped: this.skipped,
      clockPpm: this.drift.clockPpm
    };
  }
  /** Take the next stretch of music. */
  add(stretch) {
    const { channels, mask } = this;
    const last = this.marks.at(-1);
    const count = stretch.samples.length / channels;
    const joins = stretch.session !== last.session || stretch.first !== last.first + this.put - last.at;
    if (joins) this.mark({ at: this.put, first: stretch.first, session: stretch.session });
    const fades = joins && !stretch.crossfade && this.put > 0;
    if (fades) this.fadeOut();
    for (let channel = 0; channel < channels; channel++) {
      const ring = this.rings[channel];
      for (let i = 0; i < count; i++) {
        const rise = fades && i < this.fade ? i / this.fade : 1;
        ring[this.put + i & mask] = rise * stretch.samples[i * channels + channel];
      }
    }
    this.put += count;
    if (this.levelS > this.comfort.capacityS) this.skip();
  }
  /** The next block for the card, a plane for each channel. Silence where there is no music. */
  read(planes) {
    const count = planes[0].length;
    const passedS = count / this.cardRate;
    for (const plane of planes) plane.fill(0);
    if (!this.playing && !this.begins()) return;
    const step = this.base * this.drift.update(this.levelS, this.targetS, passedS);
    const slope = this.base / this.fade;
    for (let i = 0; i < count; i++) {
      const left = this.put - this.sinc.after - this.at;
      if (left <= 0) return this.runDry();
      const wanted = left > this.fade ? 1 : 0;
      this.gain += Math.max(-slope, Math.min(slope, wanted - this.gain));
      for (let channel = 0; channel < this.channels; channel++) {
        planes[channel][i] = this.gain * this.sinc.at(this.rings[channel], this.mask, this.at);
      }
      this.at += step;
    }
    this.adapt(passedS);
    this.shorten(passedS);
  }
  // --- inside
  /** Whether enough waits to play; at the end of the music whatever is left does. */
  begins() {
    const rest = !this.expecting && this.put - this.sinc.after - this.at > this.fade;
    if (this.levelS < this.targetS && !rest) return false;
    this.playing = true;
    this.gain = 0;
    this.calm();
    this.drift.restart();
    return true;
  }
  runDry() {
    this.playing = false;
    if (!this.expecting) return;
    this.underruns += 1;
    this.targetS = Math.min(this.comfort.mostS, this.targetS * 1.5);
  }
  calm() {
    this.calmS = this.settledS = 0;
    this.lowestS = this.floorS = Infinity;
  }
  adapt(passedS) {
    this.calmS += passedS;
    this.lowestS = Math.min(this.lowestS, this.levelS);
    if (this.calmS < this.comfort.calmS) return;
    const unused = Math.max(0, this.lowestS - this.comfort.spareS);
    this.targetS = Math.max(this.comfort.leastS, this.targetS - unused / 4);
    this.calmS = 0;
    this.lowestS = Infinity;
  }
  /** What was far too much for long is not worth its delay. */
  shorten(passedS) {
    this.settledS += passedS;
    this.floorS = Math.min(this.floorS, this.levelS);
    if (this.settledS < this.comfort.settledS) return;
    if (this.floorS > this.targetS + this.comfort.excessS) this.skip(this.floorS - this.targetS);
    this.settledS = 0;
    this.floorS = Infinity;
  }
  mark(mark) {
    this.marks.push(mark);
    if (this.marks.length > MOST_MARKS) this.marks.shift();
  }
  /** What waits ends softly: music follows that does not go on from it. */
  fadeOut() {
    const count = Math.min(this.fade, Math.max(0, this.put - Math.ceil(this.at)));
    for (const ring of this.rings) for (let i = 1; i <= count; i++) ring[this.put - i & this.mask] *= (i - 1) / count;
  }
  /** Go on so much later, by a crossfade; without a number, down to the target. */
  skip(overS = this.levelS - this.targetS) {
    const over = Math.floor(overS * this.rate);
    const from = Math.floor(this.at);
    const { mask, fade } = this;
    for (const ring of this.rings) {
      for (let i = -this.sinc.before; i < fade; i++) {
        const rise = Math.max(0, i) / fade;
        ring[from + over + i & mask] = ring[from + i & mask] * (1 - rise) + ring[from + over + i & mask] * rise;
      }
    }
    this.at += over;
    this.skipped += over;
    this.drift.restart();
  }
};

// src/player.ts
var CREDIT_MS = 1500;
var GESTURES = ["pointerdown", "touchend", "keydown"];
var TELLS_LATENCY = !globalThis.navigator?.userAgent?.includes("Gecko/");
var MusicPlayer = class _MusicPlayer extends Emitter {
  constructor(context, { context: theirs, comfort = {}, destination }) {
    super();
    this.context = context;
    this.owns = !theirs;
    context.addEventListener("statechange", () => context.state === "interrupted" && void this.unlocked());
    this.node = new AudioWorkletNode(context, "cuestream-loudspeaker", {
      numberOfInputs: 0,
      outputChannelCount: [2],
      processorOptions: comfort
    });
    this.node.connect(destination ?? context.destination);
    this.node.port.onmessage = ({ data }) => {
      this.played = data;
      this.emit("played", data);
    };
  }
  /** What was played, at the newest report; null before the first. */
  played = null;
  /** In an event of the user's, or the browser keeps it silent: `unlocked`. Throws Unsupported. */
  static async open(options = {}) {
    const context = options.context ?? new AudioContext({ latencyHint: "interactive" });
    if (!context.audioWorklet) throw new Unsupported("browsers play on secure pages only: use https or localhost");
    const url = URL.createObjectURL(new Blob(['"use strict";(()=>{var y=.0006250000000000001,v=1,u=class{ratio=1;levelS=null;integral=0;update(t,e,r){let a=this.levelS??t;this.levelS=a+(t-a)*Math.min(1,r/v);let s=this.levelS-e,i=.05*s+this.integral+y*s*r;return(Math.abs(i)<.005||i*s<0)&&(this.integral+=y*s*r),this.ratio=1+Math.max(-.005,Math.min(.005,i)),this.ratio}restart(){this.levelS=null}get clockPpm(){return-this.integral*1e6}};var p=class{taps;before;after;table;constructor(t=1){this.after=Math.ceil(8/t),this.before=this.after-1,this.taps=2*this.after,this.table=new Float32Array(513*this.taps);for(let e=0;e<=512;e++)this.fill(e,t)}at(t,e,r){let{table:a,taps:s}=this,i=Math.floor(r),n=(r-i)*512,h=Math.floor(n),l=n-h,c=i-this.before,f=0;for(let S=0,m=h*s;S<s;S++,m++)f+=t[c+S&e]*(a[m]+l*(a[m+s]-a[m]));return f}fill(t,e){let r=this.table.subarray(t*this.taps,(t+1)*this.taps);for(let s=0;s<this.taps;s++){let i=s-this.before-t/512;r[s]=M(i*e)*k(i/(this.after+.5))}let a=r.reduce((s,i)=>s+i,0);for(let s=0;s<this.taps;s++)r[s]/=a}};function M(o){return o===0?1:Math.sin(Math.PI*o)/(Math.PI*o)}function k(o){return g(8*Math.sqrt(Math.max(0,1-o*o)))/g(8)}function g(o){let t=1;for(let e=1,r=1;r>1e-12*t;e++)r*=(o/(2*e))**2,t+=r;return t}var x={targetS:.06,leastS:.04,mostS:.4,fadeS:.005,calmS:20,spareS:.02,excessS:.08,settledS:3,capacityS:2},P=64,A=66560,d=class{constructor(t,e,r,a={}){this.rate=t;this.cardRate=e;this.channels=r;this.comfort={...x,...a},this.targetS=this.comfort.targetS,this.base=t/e,this.sinc=new p(Math.min(1,e/t)),this.fade=Math.round(this.comfort.fadeS*t);let s=2**Math.ceil(Math.log2(this.comfort.capacityS*t+A));this.mask=s-1,this.rings=Array.from({length:r},()=>new Float32Array(s))}expecting=!0;playing=!1;underruns=0;skipped=0;targetS;drift=new u;comfort;base;sinc;rings;mask;fade;marks=[{at:0,first:0,session:0}];put=0;at=0;gain=0;lowestS=1/0;calmS=0;floorS=1/0;settledS=0;get levelS(){return Math.max(0,this.put-this.at)/this.rate}get played(){let t=Math.floor(this.at),e=this.marks.filter(r=>r.at<=t).at(-1)??this.marks[0];return{session:e.session,playedThrough:e.first+Math.max(0,t-e.at),playing:this.playing,levelS:this.levelS,targetS:this.targetS,underruns:this.underruns,skipped:this.skipped,clockPpm:this.drift.clockPpm}}add(t){let{channels:e,mask:r}=this,a=this.marks.at(-1),s=t.samples.length/e,i=t.session!==a.session||t.first!==a.first+this.put-a.at;i&&this.mark({at:this.put,first:t.first,session:t.session});let n=i&&!t.crossfade&&this.put>0;n&&this.fadeOut();for(let h=0;h<e;h++){let l=this.rings[h];for(let c=0;c<s;c++){let f=n&&c<this.fade?c/this.fade:1;l[this.put+c&r]=f*t.samples[c*e+h]}}this.put+=s,this.levelS>this.comfort.capacityS&&this.skip()}read(t){let e=t[0].length,r=e/this.cardRate;for(let i of t)i.fill(0);if(!this.playing&&!this.begins())return;let a=this.base*this.drift.update(this.levelS,this.targetS,r),s=this.base/this.fade;for(let i=0;i<e;i++){let n=this.put-this.sinc.after-this.at;if(n<=0)return this.runDry();let h=n>this.fade?1:0;this.gain+=Math.max(-s,Math.min(s,h-this.gain));for(let l=0;l<this.channels;l++)t[l][i]=this.gain*this.sinc.at(this.rings[l],this.mask,this.at);this.at+=a}this.adapt(r),this.shorten(r)}begins(){let t=!this.expecting&&this.put-this.sinc.after-this.at>this.fade;return this.levelS<this.targetS&&!t?!1:(this.playing=!0,this.gain=0,this.calm(),this.drift.restart(),!0)}runDry(){this.playing=!1,this.expecting&&(this.underruns+=1,this.targetS=Math.min(this.comfort.mostS,this.targetS*1.5))}calm(){this.calmS=this.settledS=0,this.lowestS=this.floorS=1/0}adapt(t){if(this.calmS+=t,this.lowestS=Math.min(this.lowestS,this.levelS),this.calmS<this.comfort.calmS)return;let e=Math.max(0,this.lowestS-this.comfort.spareS);this.targetS=Math.max(this.comfort.leastS,this.targetS-e/4),this.calmS=0,this.lowestS=1/0}shorten(t){this.settledS+=t,this.floorS=Math.min(this.floorS,this.levelS),!(this.settledS<this.comfort.settledS)&&(this.floorS>this.targetS+this.comfort.excessS&&this.skip(this.floorS-this.targetS),this.settledS=0,this.floorS=1/0)}mark(t){this.marks.push(t),this.marks.length>P&&this.marks.shift()}fadeOut(){let t=Math.min(this.fade,Math.max(0,this.put-Math.ceil(this.at)));for(let e of this.rings)for(let r=1;r<=t;r++)e[this.put-r&this.mask]*=(r-1)/t}skip(t=this.levelS-this.targetS){let e=Math.floor(t*this.rate),r=Math.floor(this.at),{mask:a,fade:s}=this;for(let i of this.rings)for(let n=-this.sinc.before;n<s;n++){let h=Math.max(0,n)/s;i[r+e+n&a]=i[r+n&a]*(1-h)+i[r+e+n&a]*h}this.at+=e,this.skipped+=e,this.drift.restart()}};var T=.05,b=class extends AudioWorkletProcessor{buffer=null;expecting=!1;over=!1;told=0;comfort;constructor(t){super(),this.comfort=t.processorOptions,this.port.onmessage=({data:e})=>this.hear(e)}process(t,[e]){let{buffer:r}=this;return r?(r.read(e.slice(0,r.channels)),r.channels===1&&e[1].set(e[0]),currentTime-this.told>=T&&(this.told=currentTime,this.port.postMessage(r.played)),!this.over):!this.over}hear(t){"stretch"in t?this.play(t):"expecting"in t?this.expecting=t.expecting:this.over=!0,this.buffer&&(this.buffer.expecting=this.expecting)}play({stretch:t,rate:e,channels:r}){(this.buffer?.rate!==e||this.buffer.channels!==r)&&(this.buffer=new d(e,sampleRate,r,this.comfort)),this.buffer.add(t)}};registerProcessor("cuestream-loudspeaker",b);})();\n'], { type: "text/javascript" }));
    try {
      await context.audioWorklet.addModule(url);
    } finally {
      URL.revokeObjectURL(url);
    }
    return new _MusicPlayer(context, options);
  }
  node;
  owns;
  /** Resolves when it may sound, or never shall: at once, or with the next click, touch or key of the user. Safari takes the sound away
   * during a call and when another program plays (`interrupted`); the player then comes here by itself. */
  async unlocked() {
    const { context } = this;
    const resume = () => void context.resume().catch(() => {
    });
    for (const gesture of GESTURES) addEventListener(gesture, resume);
    while (context.state === "suspended" || context.state === "interrupted") {
      if (context.state === "suspended") resume();
      await new Promise((changed) => context.addEventListener("statechange", changed, { once: true }));
    }
    for (const gesture of GESTURES) removeEventListener(gesture, resume);
  }
  /** Milliseconds from the worklet to the ear; in Firefox without what the sound output takes. */
  get outputMs() {
    const { context } = this;
    return 1e3 * (context.baseLatency + (TELLS_LATENCY && context.outputLatency || 0));
  }
  /** Play what a client hears, and tell its server what was played. Returns a function that ends this. */
  connect(client) {
    client.credit(CREDIT_MS);
    client.acknowledge = false;
    const ends = [
      client.on("music", (chunk) => this.play(chunk)),
      client.on("state", ({ playback }) => this.expect(playback === "playing")),
      this.on(
        "played",
        ({ session, playedThrough, levelS, underruns, clockPpm }) => client.report({ session, playedThrough, bufferMs: 1e3 * levelS, underruns, clockPpm })
      )
    ];
    return () => {
      this.expect(false);
      for (const end of ends) end();
      client.acknowledge = true;
    };
  }
  play({ session, first, crossfade, samples, rate, channels }) {
    this.tell({ stretch: { session, first, crossfade, samples }, rate, channels });
  }
  /** Whether music is to be there: running dry then is an underrun. */
  expect(expecting) {
    this.tell({ expecting });
  }
  async close() {
    this.tell({ over: true });
    this.node.disconnect();
    this.node.port.onmessage = null;
    if (this.owns) await this.context.close();
  }
  tell(told) {
    this.node.port.postMessage(told);
  }
};

// src/easel.ts
var QUALITY = 0.8;
var HAVE_CURRENT_DATA = 2;
var FORMS = [
  { codec: "jpeg", kind: KIND.JPEG, type: "image/jpeg" },
  { codec: "webp", kind: KIND.WEBP, type: "image/webp" },
  { codec: "png", kind: KIND.PNG, type: "image/png" }
];
var WORKER = `
const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext("2d", { alpha: false });
onmessage = async ({ data: { bitmap, type, quality } }) => {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  pen.drawImage(bitmap, 0, 0);
  const payload = await (await canvas.convertToBlob({ type, quality })).arrayBuffer();
  postMessage({ payload, bitmap }, [payload, bitmap]);
};`;
function makeEasel() {
  return typeof OffscreenCanvas === "undefined" ? new PageEasel() : new WorkerEasel();
}
var WorkerEasel = class {
  canvas = new OffscreenCanvas(1, 1);
  pen = penOf(this.canvas);
  worker;
  shown = null;
  constructor() {
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
  }
  draw(what, maxEdge) {
    return drawn(this.canvas, this.pen, what, maxEdge);
  }
  async encode(codecs) {
    const { kind, type } = formOf(codecs);
    const bitmap = this.canvas.transferToImageBitmap();
    const { data } = await new Promise((done, failed) => {
      this.worker.onmessage = done;
      this.worker.onerror = ({ message }) => failed(new Unsupported(message || "the pictures cannot be encoded in a worker"));
      this.worker.postMessage({ bitmap, type, quality: QUALITY }, [bitmap]);
    });
    this.shown?.close();
    this.shown = data.bitmap;
    return { kind, payload: new Uint8Array(data.payload), shown: data.bitmap };
  }
  close() {
    this.worker.terminate();
    this.shown?.close();
  }
};
var PageEasel = class {
  canvas = document.createElement("canvas");
  pen = penOf(this.canvas);
  draw(what, maxEdge) {
    return drawn(this.canvas, this.pen, what, maxEdge);
  }
  async encode(codecs) {
    const { kind, type } = formOf(codecs);
    const blob = await new Promise((done) => this.canvas.toBlob(done, type, QUALITY));
    if (!blob) throw new Unsupported("the canvas gave no picture");
    return { kind, payload: new Uint8Array(await blob.arrayBuffer()), shown: this.canvas };
  }
  close() {
  }
};
function fitted(width, height, maxEdge) {
  const scale = Math.min(1, maxEdge / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}
function penOf(canvas) {
  const pen = canvas.getContext("2d", { alpha: false });
  if (!pen) throw new Unsupported("this browser gives no canvas");
  return pen;
}
function drawn(canvas, pen, what, maxEdge) {
  const { width, height } = sizeOf(what);
  if (!width || !height || "readyState" in what && what.readyState < HAVE_CURRENT_DATA) return false;
  const size = fitted(width, height, maxEdge);
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  pen.drawImage(what, 0, 0, size.width, size.height);
  return true;
}
function sizeOf(what) {
  if ("videoWidth" in what) return { width: what.videoWidth, height: what.videoHeight };
  if ("displayWidth" in what) return { width: what.displayWidth, height: what.displayHeight };
  return what;
}
function formOf(codecs) {
  const form = FORMS.find(({ codec }) => codecs.includes(codec));
  if (!form) throw new Unsupported(`the server takes ${codecs.join(", ")}; a canvas makes none of them`);
  return form;
}

// src/ticker.ts
var WORKER2 = "let timer; onmessage = ({ data }) => { clearInterval(timer); timer = setInterval(() => postMessage(0), data); };";
var Ticker = class {
  worker;
  constructor(everyMs, onTick) {
    const url = URL.createObjectURL(new Blob([WORKER2], { type: "text/javascript" }));
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
    this.worker.onmessage = onTick;
    this.worker.postMessage(everyMs);
  }
  close() {
    this.worker.terminate();
  }
};

// src/view.ts
function still(subject) {
  return { now: () => subject, close: () => {
  } };
}
var StreamView = class {
  element = document.createElement("video");
  constructor(stream, failed) {
    const { element } = this;
    element.muted = element.playsInline = true;
    element.srcObject = stream;
    element.play().catch((error) => element.srcObject && failed(error));
  }
  /** So far. */
  get frames() {
    return this.element.getVideoPlaybackQuality().totalVideoFrames;
  }
  now() {
    return this.element;
  }
  close() {
    this.element.srcObject = null;
  }
};
var CanvasView = class {
  constructor(canvas, failed) {
    this.canvas = canvas;
    this.failed = failed;
    try {
      this.begin();
    } catch {
    }
  }
  keeps = null;
  // null: not known yet
  captured = null;
  now() {
    this.begin();
    return this.keeps ? this.canvas : this.captured?.now() ?? null;
  }
  /** Capture what does not keep its picture, before one is wanted: it may be drawn once, and never again. */
  begin() {
    const { canvas, failed } = this;
    if (!canvas.width || !canvas.height) return;
    if (this.keeps === null && (this.captured?.begun || shows(canvas))) this.keeps = keepsPicture(canvas);
    if (this.keeps) this.close();
    else this.captured ??= capture(canvas, failed);
  }
  close() {
    this.captured?.close();
    this.captured = null;
  }
};
var STILL_MS = 1e3;
var FIRST_MS = 60;
var CapturedView = class {
  /** source: the canvas's track, or in Firefox its stream. */
  constructor(stream, source, failed) {
    this.stream = stream;
    this.source = source;
    this.view = new StreamView(stream, failed);
    source.requestFrame();
  }
  view;
  askedMs = null;
  // when the next frame was asked for
  before = 0;
  // frames, then
  patienceMs = FIRST_MS;
  get begun() {
    return this.view.frames > 0;
  }
  now() {
    const { view, source } = this;
    if (this.askedMs === null) {
      this.askedMs = performance.now();
      this.before = view.frames;
      source.requestFrame();
    }
    const standsStill = view.frames === this.before;
    if (!this.begun || standsStill && performance.now() - this.askedMs < this.patienceMs) return null;
    this.askedMs = null;
    this.patienceMs = STILL_MS;
    return view.now();
  }
  close() {
    this.view.close();
    for (const track of this.stream.getTracks()) track.stop();
  }
};
function capture(canvas, failed) {
  try {
    const stream = canvas.captureStream(0);
    const [track] = stream.getVideoTracks();
    return new CapturedView(stream, track && "requestFrame" in track ? track : stream, failed);
  } catch (error) {
    if (error.name === "SecurityError") throw error;
    return null;
  }
}
var PROBE = 16;
function shows(canvas) {
  const probe = Object.assign(document.createElement("canvas"), { width: PROBE, height: PROBE });
  const pen = probe.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0, PROBE, PROBE);
  return pen.getImageData(0, 0, PROBE, PROBE).data.some((value, at) => at % 4 === 3 && value > 0);
}
function keepsPicture(canvas) {
  try {
    return (canvas.getContext("2d") ?? canvas.getContext("bitmaprenderer")) !== null;
  } catch {
    return true;
  }
}

// src/shutter.ts
var LOOK_MS = 12;
var STILL_US = STILL_MS * 1e3;
var STILL_LOOK_MS = 500;
var FOREIGN = /* @__PURE__ */ new Set(["DataCloneError", "SecurityError"]);
var Shutter = class {
  // of a video element, its time
  /** Begins at once; until the client is live nothing is taken. */
  constructor(client, subject, options = {}) {
    this.client = client;
    this.subject = subject;
    this.options = options;
    if (subject instanceof MediaStreamTrack) this.close = this.follow(subject);
    else this.close = this.watch("toBlob" in subject ? new CanvasView(subject, this.fail) : still(subject));
  }
  easel = makeEasel();
  close;
  busy = false;
  wanted = false;
  // and not taken yet
  over = false;
  failing = false;
  last = null;
  sentUs = -Infinity;
  sentAt = NaN;
  stop() {
    this.over = true;
    this.close();
    this.easel.close();
  }
  /** Each frame of a track; while none comes, as of a screen on which nothing moves, the last one again. */
  follow(track) {
    if (typeof MediaStreamTrackProcessor === "undefined") return this.watch(new StreamView(new MediaStream([track]), this.fail));
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable.getReader();
    void this.read(reader).catch(this.fail);
    const ticker = new Ticker(STILL_LOOK_MS, () => {
      if (this.last && !this.isSentLately) this.take(still(this.last));
    });
    return () => {
      ticker.close();
      void reader.cancel().catch(() => {
      });
    };
  }
  async read(reader) {
    for (; ; ) {
      const { value: frame } = await reader.read();
      if (!frame) return;
      this.take(still(frame));
      frame.close();
    }
  }
  watch(view) {
    const ticker = new Ticker(LOOK_MS, () => this.take(view));
    return () => {
      ticker.close();
      view.close();
    };
  }
  take(view) {
    const { client } = this;
    if (this.busy || this.over || this.hasEnded || !client.live) return;
    this.wanted ||= client.wants(client.nowUs);
    if (this.wanted && !(this.standsStill && this.isSentLately) && this.drawn(view)) {
      this.wanted = false;
      this.sentUs = client.nowUs;
      this.sentAt = timeOf(this.subject);
      void this.send(client.nowUs);
    }
  }
  /** Of a track: there will be no pictures of it. */
  get hasEnded() {
    return this.subject instanceof MediaStreamTrack && this.subject.readyState === "ended";
  }
  /** Whether a video is paused, or over, at what was sent last, or a track gives no frames. */
  get standsStill() {
    const { subject } = this;
    if (subject instanceof MediaStreamTrack) return subject.muted;
    return "paused" in subject && (subject.paused || subject.ended) && subject.currentTime === this.sentAt;
  }
  get isSentLately() {
    return this.client.nowUs - this.sentUs < STILL_US;
  }
  /** Whether there is a picture; one that fails is wanted no more. */
  drawn(view) {
    try {
      const drawable = view.now();
      return drawable !== null && this.easel.draw(drawable, this.client.video.max_edge);
    } catch (error) {
      this.wanted = false;
      this.fail(error);
      return false;
    }
  }
  /** While a picture is encoded no other one is taken. */
  async send(atUs) {
    const { client, easel, options } = this;
    this.busy = true;
    try {
      const { kind, payload, shown } = await easel.encode(client.video.codecs);
      this.last = shown;
      if (this.over || !client.live) return;
      client.push({ kind, payload, atUs });
      this.failing = false;
      options.onPicture?.(atUs, shown);
    } catch (error) {
      this.fail(error);
    } finally {
      this.busy = false;
    }
  }
  fail = (error) => {
    if (this.over) return;
    const said = 'the browser gives no pictures of what another site owns: it needs CORS there and crossorigin="anonymous" here';
    const told = FOREIGN.has(error.name) ? new Unsupported(said) : error;
    if (this.options.onError) this.options.onError(told);
    else if (!this.failing) report(told);
    this.failing = true;
  };
};
function timeOf(subject) {
  return "currentTime" in subject ? subject.currentTime : NaN;
}

// src/sources.ts
var SMALL = { width: { ideal: 640 }, height: { ideal: 360 } };
function camera(video = SMALL) {
  return devices().getUserMedia({ video, audio: false });
}
function screen(video = SMALL) {
  const from = devices();
  if (!("getDisplayMedia" in from)) {
    throw new Unsupported("This browser shares no screen; those of phones and tablets do not. Take the camera or a file.");
  }
  return from.getDisplayMedia({ video, audio: false });
}
async function show(element, what) {
  hide(element);
  element.muted = element.playsInline = true;
  if (what instanceof Blob) {
    element.src = URL.createObjectURL(what);
    element.loop = true;
  } else element.srcObject = what;
  await element.play();
}
function hide(element) {
  for (const track of element.srcObject?.getTracks() ?? []) track.stop();
  element.pause();
  element.srcObject = null;
  if (element.src.startsWith("blob:")) URL.revokeObjectURL(element.src);
  element.removeAttribute("src");
  element.load();
}
function devices() {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  if (globalThis.isSecureContext) throw new Unsupported("This browser gives pages neither camera nor screen. Take a file.");
  throw new Unsupported("The browser gives camera and screen to secure pages only: use https or localhost.");
}

// src/ticket.ts
var NAME = "cuestream.ticket";
function savedTicket(storage) {
  try {
    const ticket = JSON.parse((storage ?? sessionStorage).getItem(NAME) ?? "null");
    return ticket && ticket.untilMs > performance.timeOrigin + performance.now() ? ticket : null;
  } catch {
    return null;
  }
}
function keepTicket(client, storage) {
  const save = () => put(client.ticket, storage);
  const ends = [client.on("resume.handle", save), client.on("line", save)];
  addEventListener("pagehide", save);
  return () => {
    for (const end of ends) end();
    removeEventListener("pagehide", save);
    put(null, storage);
  };
}
function put(ticket, storage) {
  try {
    const kept = storage ?? sessionStorage;
    if (ticket) kept.setItem(NAME, JSON.stringify(ticket));
    else kept.removeItem(NAME);
  } catch {
  }
}

// src/rtctransport.ts
var CHANNEL = "cuestream";
var GATHER_MS = 2e3;
var CONNECT_MS2 = 15e3;
var RtcTransport = class {
  /** Throws Unsupported. */
  constructor(options) {
    this.options = options;
    checkWebRtc();
    this.video = options.video ?? null;
  }
  carriesMedia = false;
  video;
  line = null;
  /** Another track from now on; null sends nothing. */
  async show(video) {
    this.video = video;
    await this.line?.show(video);
  }
  /** What the browser counts of the connection; null while there is none. */
  async stats() {
    return this.line?.stats() ?? null;
  }
  /** Throws Unsupported where the server has no WebRTC. */
  open(where, receiver) {
    if (!where.offer) throw new Unsupported("this server has no WebRTC; the websocket and endless sound need none");
    this.line = new RtcLine(where.offer, where.token ?? where.handle, receiver, this.video, this.options);
    return this.line;
  }
};
var RtcLine = class {
  constructor(offer, token, receiver, video, { iceServers = [], onMusic, bufferMs }) {
    this.offer = offer;
    this.token = token;
    this.receiver = receiver;
    this.peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.channel = this.peer.createDataChannel(CHANNEL);
    this.channel.binaryType = "arraybuffer";
    this.sender = this.peer.addTransceiver(video ?? "video", { direction: "sendonly" }).sender;
    const music = this.peer.addTransceiver("audio", { direction: "recvonly" }).receiver;
    if (bufferMs !== void 0) music.jitterBufferTarget = bufferMs;
    this.peer.ontrack = ({ track }) => onMusic(new MediaStream([track]));
    this.peer.onconnectionstatechange = () => this.peer.connectionState === "failed" && this.close(BROKEN);
    this.channel.onopen = () => this.opened();
    this.channel.onmessage = ({ data }) => this.over || receiver.received(data);
    this.channel.onclose = () => this.close(BROKEN);
    this.patience = setTimeout(() => this.close(BROKEN), CONNECT_MS2);
    void this.meet().catch((error) => this.refused(error));
  }
  peer;
  channel;
  sender;
  patience;
  stood = false;
  over = false;
  stats() {
    return this.peer.getStats();
  }
  get bufferedBytes() {
    return this.channel.bufferedAmount;
  }
  send(data) {
    if (this.channel.readyState === "open") this.channel.send(data);
  }
  async show(video) {
    if (!this.over) await this.sender.replaceTrack(video);
  }
  /** There are no codes on a data channel: the server hears that we are gone, and waits. */
  close(code) {
    this.ended({ code, reason: "" });
  }
  /** Our offer, with all candidates, and the server's answer. */
  async meet() {
    const { peer, offer, token } = this;
    const { sdp = "" } = await peer.createOffer();
    await peer.setLocalDescription({ type: "offer", sdp: withStereo(sdp) });
    await gathered(peer);
    if (this.over) return;
    const headers = { "content-type": "application/json", ...bearing(token) };
    const body = JSON.stringify({ type: "offer", sdp: peer.localDescription.sdp });
    const { text, status } = await ask(offer, { method: "POST", headers, body });
    const answer = parsed(text);
    if (!answer?.sdp) throw unlike(offer, status);
    if (!this.over) await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  }
  opened() {
    clearTimeout(this.patience);
    this.stood = true;
    this.receiver.opened();
  }
  refused(error) {
    const answered = error instanceof Refused ? { status: error.code, retryAfterMs: error.retryAfterMs, word: error.word } : {};
    const reason = error instanceof ClientError ? error.message : `WebRTC: ${error.message}`;
    this.ended({ code: BROKEN, reason, ...answered });
  }
  ended(end) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.patience);
    this.peer.close();
    this.receiver.closed({ ...end, stood: this.stood });
  }
};
function checkWebRtc() {
  if (!globalThis.RTCPeerConnection) throw new Unsupported("this browser has no WebRTC; the websocket and endless sound need none");
}
async function gathered(peer) {
  if (peer.iceGatheringState === "complete") return;
  await new Promise((done) => {
    const late = setTimeout(done, GATHER_MS);
    peer.onicegatheringstatechange = () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(late);
      done();
    };
  });
}
function withStereo(sdp) {
  const lines = sdp.split("\r\n");
  for (const [, payload] of sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000/gim)) {
    const at = lines.findIndex((line) => line.startsWith(`a=fmtp:${payload} `));
    if (at < 0) lines.splice(lines.findIndex((line) => line.startsWith(`a=rtpmap:${payload} `)) + 1, 0, `a=fmtp:${payload} stereo=1`);
    else if (!/[ ;]stereo=1/.test(lines[at])) lines[at] += ";stereo=1";
  }
  return lines.join("\r\n");
}

// src/whep.ts
var GONE2 = /* @__PURE__ */ new Set(["disconnected", "failed", "closed"]);
var WhepPlayer = class _WhepPlayer {
  constructor(url, options) {
    this.url = url;
    this.options = options;
    this.peer = new RTCPeerConnection({ iceServers: options.iceServers ?? [], bundlePolicy: "max-bundle" });
    this.peer.addTransceiver("audio", { direction: "recvonly" });
    this.peer.ontrack = ({ track }) => this.track = track;
    this.ended = new Promise((done) => this.end = done);
  }
  /** The `srcObject` of an audio element, or the input of a graph. */
  music;
  /** Resolves when nothing is heard any more, whoever ended it. */
  ended;
  peer;
  track = null;
  resource = null;
  end;
  /** url: `urls.whep` of the session. Resolves when the music is there. Throws Refused (404: no such session), Unsupported or ClientError. */
  static async open(url, options = {}) {
    checkWebRtc();
    const address = addressOf(String(url), globalThis.location?.href);
    if (!address) throw new ClientError(`an address such as urls.whep was expected, found "${url}"`);
    const player = new _WhepPlayer(address, options);
    try {
      await player.meet();
    } catch (error) {
      player.close();
      throw error;
    }
    return player;
  }
  /** Hear no more, and tell the server so. */
  close() {
    const told = this.resource;
    this.resource = null;
    this.peer.close();
    this.end();
    if (told) void fetch(told, { method: "DELETE", headers: bearing(this.options.token), keepalive: true }).catch(() => {
    });
  }
  /** Our offer, without candidates: the server learns our address when we check its own. */
  async meet() {
    const { peer } = this;
    const headers = { ...bearing(this.options.token), "content-type": "application/sdp" };
    const { sdp = "" } = await peer.createOffer();
    const offer = withStereo(sdp);
    await peer.setLocalDescription({ type: "offer", sdp: offer });
    const answer = await ask(this.url, { method: "POST", headers, body: offer });
    if (!answer.text.startsWith("v=0")) throw unlike(this.url, answer.status);
    this.resource = new URL(answer.headers.get("location") ?? "", this.url);
    await peer.setRemoteDescription({ type: "answer", sdp: answer.text });
    const track = await this.connected();
    this.music = new MediaStream([track]);
    peer.onconnectionstatechange = () => GONE2.has(peer.connectionState) && this.close();
  }
  /** The music, once the connection stands; an answer may also leave it out. */
  async connected() {
    const { peer } = this;
    let late;
    const stands = new Promise((resolve, reject) => {
      const fail = () => reject(new ClientError("WebRTC: no connection"));
      late = setTimeout(fail, CONNECT_MS2);
      const look = () => {
        if (peer.connectionState === "connected") resolve();
        else if (peer.connectionState === "failed") fail();
      };
      peer.onconnectionstatechange = look;
      look();
    });
    try {
      await stands;
    } finally {
      clearTimeout(late);
    }
    if (!this.track) throw new ClientError("WebRTC: the answer has no music");
    return this.track;
  }
};
export {
  CLOSES,
  COMFORT,
  Client,
  ClientError,
  Closed,
  ERRORS,
  EXTENSION,
  FLAG,
  HEADER_BYTES,
  HEADER_OFFSETS,
  JitterBuffer,
  KIND,
  KNOWN_FLAGS,
  MusicPlayer,
  PATIENCE,
  PROTOCOL_MINOR,
  ProtocolError,
  Refused,
  RtcTransport,
  SAFE_INTEGER,
  SIZE_BYTES,
  SIZE_OFFSETS,
  SOURCE_BYTES,
  SOURCE_OFFSETS,
  STREAM,
  SUBPROTOCOL,
  Session,
  Shutter,
  TooMuch,
  Unreachable,
  Unsupported,
  WhepPlayer,
  WsTransport,
  camera,
  createSession,
  decodeMedia,
  encodeMedia,
  hide,
  keepTicket,
  savedTicket,
  screen,
  show
};
