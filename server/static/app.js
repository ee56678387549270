// The page: a session with a source before it and a loudspeaker behind it, wired to the elements of index.html.
//
//   source.js ── pictures ──► Client ── music ──► MusicPlayer, scope.js (drawn), measure.js (how old the pictures in it are)
//                             ▲    │
//   controls.js, recording.js ┘    └ what the server says ──► controls.js, recording.js, memory.js, addresses.js, the pill

import { aboutServer } from "./about.js";
import { addresses } from "./addresses.js";
import { Controls, anotherSeed, heed } from "./controls.js";
import { Client, MusicPlayer, createSession, keepTicket, savedTicket } from "./cuestream.js";
import { tab } from "./kept.js";
import { Measure } from "./measure.js";
import { Memory } from "./memory.js";
import { askKey, enable, shortcuts } from "./pressing.js";
import { Recording, clock } from "./recording.js";
import { SAY, calm, pill, sayer, trouble, warn } from "./said.js";
import { Scope } from "./scope.js";
import { Source } from "./source.js";

const $ = (id) => document.getElementById(id);
const AFRESH = { session_limit: "The session was as long as one may be.", lost: "The server had lost the session." };
const RENAMED = " Its addresses are new, too; those of a session with a name stay.";
const OPENING = { camera: "waiting for the camera", screen: "waiting for the screen", file: "opening the file" };
const INSECURE = "Browsers give camera, screen and sound to secure pages alone. Open this page by https, or as localhost on the server's own machine.";
const NO_SOCKET = "The server answers, but opens no websocket: a proxy before it has to hand those on";
const WRONG_KEY = 401, TAKEN = 409, FULL = 503, NO_ANSWER = 1006, UNKNOWN = 4404;
const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const FRAME_MS = 40, CALM_FRAME_MS = 500;
const GAUGE_MS = 400;
const MOST_CUTS = 200; // that are remembered for statistics
const DESCRIBE_MS = 500; // words that count seconds
const UNHEARD = "click to hear the music";
const HINT_MS = 400; // before somebody is asked for it
const FAREWELL_MS = 1500; // for the last fade
const FADE_S = 0.02; // of the sound of this tab alone
const COMFORT = { targetS: 0.18, leastS: 0.15 }; // a page that draws hands music on 0.1 s late now and then

const scope = new Scope({ strip: $("strip"), wave: $("wave"), spectrum: $("spectrum") });
const memory = new Memory({ old: $("memoryold"), window: $("memorywindow"), caption: $("memorycaption") });
const recording = new Recording(
  { button: $("record"), section: $("recordings") },
  (message) => client?.send(message),
  bearing,
  sayer("recording"),
);
const source = new Source(
  { group: $("sources"), picker: $("file"), preview: $("preview"), empty: $("empty"), filename: $("filename") },
  {
    begin: () => begin(),
    pictured: (atUs, picture) => {
      scope.show(picture);
      memory.keep(atUs, picture);
    },
    changed: () => showState(),
    say: sayer("source"),
  },
);
const measure = new Measure();
let client = null, player = null, sound = null; // sound: a GainNode between the player and the loudspeaker
let playback = "stopped", health = "waiting";
let forget = () => {}; // of the session, by this tab
let ended = null; // why the session before this one did, where the server said so
let cuts = []; // {atMs, sample}: capture time, and the first sample that may know of it
let key = tab.get("key") || "";
let named = new URLSearchParams(location.search).get("session"); // of an address with ?session=NAME: it is always the same
const unaddressed = $("addresses").firstElementChild;

// --- what the server is

const about = await aboutServer(sayer("line"));
const controls = new Controls($("controls"), about.config, () => client);
$("model").textContent = about.model;
heed(about.follows);
for (const id of ["record", "recordings", "recordkey"]) $(id).hidden = !about.records;
$("version").textContent = `Cuestream ${about.version} · ${about.protocol}`;
$("label").textContent = about.label.replace(`${about.model} `, ""); // which stands beside it

function bearing() {
  return key ? { authorization: `Bearer ${key}` } : {};
}

function mayAsk() {
  return !about.asks_for_a_key || key !== "";
}

// --- start and end

let beginning = false;

$("start").onclick = ({ detail }) => {
  if (detail) $("start").blur(); // after a click Space is to pause; a keyboard goes on from here
  client ? finish() : begin();
};

/** ticket: of the session that this tab had before it was reloaded; null begins another one. */
async function begin(ticket = null) {
  calm();
  if (!isSecureContext) return trouble(INSECURE, "page");
  if (!ticket && !source.ready) return source.pick(true);
  if (!ticket && !mayAsk() && !(key = await askKey())) return;
  beginning = $("sources").disabled = true;
  showButtons();
  pill("off", OPENING[source.chosen]);
  try {
    const asked = [MusicPlayer.open({ comfort: COMFORT }), ticket ? source.reopen() : source.open()]; // Safari: in the click alone
    const [opened, shown] = await Promise.allSettled(asked);
    player = opened.value ?? null;
    if (opened.reason ?? shown.reason) throw opened.reason ?? shown.reason;
    player.context.addEventListener("statechange", () => (showState(), void player?.unlocked()));
    sound = new GainNode(player.context, { gain: $("here").checked ? 1 : 0 });
    player.node.disconnect();
    player.node.connect(sound).connect(player.context.destination);
    await unlocked();
    client = new Client({ invite, config: controls.chosen, client: "page", ticket });
    player.connect(client); // before whoever draws
    for (const [type, answer] of Object.entries(answers)) client.on(type, answer);
    client.on("music", heard);
    client.on("line", line);
    player.on("played", report);
    forget = keepTicket(client);
    client.connect().catch(() => {}); // `line` says it
    if (!ticket) client.play();
    source.watch(client);
  } catch (error) {
    client?.detach();
    pill("off", "not connected");
    trouble(error.message, "source");
    cleanUp();
  }
  beginning = $("sources").disabled = false;
  showButtons();
}

let refusal = null; // of the last session that was asked for, null where it was made

async function invite() {
  refusal = null;
  try {
    return await createSession(".", key, named);
  } catch (error) {
    refusal = error;
    throw error;
  }
}

/** A page that was reloaded may be silent until somebody touches it. Firefox waits, too, where nothing can sound. */
async function unlocked() {
  const clicked = () => navigator.getAutoplayPolicy?.(player.context) === "allowed";
  const hint = setTimeout(() => pill("off", clicked() ? "waiting for a sound output" : UNHEARD), HINT_MS);
  await player.unlocked();
  clearTimeout(hint);
}

function finish() {
  const ending = client;
  player.expect(false);
  if (!ending.live) return ending.close();
  ending.end();
  setTimeout(() => ending.close(), FAREWELL_MS);
}

function cleanUp() {
  forget();
  const done = player;
  client = player = sound = ended = null;
  void recording.finished();
  playback = "stopped";
  memory.clear();
  if (!named) locate(null);
  void source.rest();
  showButtons();
  setTimeout(() => done?.close(), 300);
}

function line({ state, next }) {
  if (!client) return;
  if (state === "connecting" && $("health").dataset.state !== "lost") pill("off", "connecting");
  if (state === "lost") pill("lost", next.then === "resume" ? "line lost, resuming" : "trying again");
  const unanswered = state === "lost" && next.code === NO_ANSWER && next.pauseMs > 0; // not only a line that broke
  const refused = state === "lost" && next.then === "retry" && next.code !== UNKNOWN && !ended; // of those a new session is said
  if (unanswered || refused) trouble(saying(next), "line");
  if (state === "open") calm("line");
  if (state === "closed") {
    pill("off", "not connected");
    if (client.failure) trouble(saying({ ...next, why: client.failure.message }), "line");
    else calm("line");
    if (next.code === WRONG_KEY) {
      key = "";
      tab.forget("key");
    }
    cleanUp();
  }
  showButtons();
}

/** In words for who sits before the page. */
function saying({ code, then, why, pauseMs, askedMs }) {
  const after = askedMs ? ` in ${Math.ceil(pauseMs / 1000)} s` : "";
  const again = then === "stop" ? "" : `; trying again${after}`;
  if (refusal?.code === code && !refusal.word) return `${why}${again}.`; // not of the server
  if (code === WRONG_KEY) return "That key is not right.";
  if (code === TAKEN) return `A session named “${named}” is in use, in another tab or program. End it there, or choose another name below.`;
  if (code === FULL && then !== "stop") return `The server has no room for another session just now${again}.`;
  if (code === NO_ANSWER && !refusal && !client.stats.sessions) return `${NO_SOCKET}${again}.`;
  if (code === NO_ANSWER) return `The server does not answer${again}.`;
  return why;
}

// --- what the server says

const answers = {
  "session.created": (message) => {
    if (client.stats.sessions > 1) warn(`${AFRESH[ended] ?? AFRESH.lost} This is a new one, and the music begins afresh.${named ? "" : RENAMED}`);
    ended = null;
    scope.clear();
    memory.clear();
    measure.clear();
    cuts = [];
    recording.lost();
    stands(message);
  },
  "session.resumed": (message) => {
    stands(message);
    recording.doubt();
    if (!source.watched) trouble("The music goes on without a picture. Choose a source.", "source");
  },
  "session.updated": (message) => {
    controls.hold(message.config);
    calm("refusal");
  },
  state: (message) => {
    ({ playback, health } = message);
    showState();
    showButtons();
  },
  "session.ended": ({ reason }) => {
    ended = reason;
    if (reason === "idle") trouble("Nothing happened for a while, so the session ended. Start begins a new one.", "end");
  },
  "scene.cut": (message) => {
    scope.cut(message.from_sample);
    cuts.push({ atMs: client.timeOf(message.at_us), sample: message.from_sample });
    if (cuts.length > MOST_CUTS) cuts.shift();
    if (CALM.matches) return;
    $("flash").classList.add("on");
    requestAnimationFrame(() => requestAnimationFrame(() => $("flash").classList.remove("on")));
  },
  "memory.state": (message) => memory.show(message.cells),
  "recording.state": (message) => recording.told({ text: "", ...message }),
  latency: (message) => {
    const ear = measure.pictureToEar;
    if (ear) {
      $("latency").textContent = Math.round(ear.p50);
      $("latency95").textContent = `95 % under ${Math.round(ear.p95)}`;
    }
    $("rtf").textContent = Math.round(100 * message.real_time_factor);
  },
  error: (message) => {
    recording.refused(message.event_id);
    if (!message.fatal) trouble(message.text, "refusal");
    controls.show();
  },
  warning: (message) => warn(message.text),
  message: ({ type }) => type !== "session.resumed" && recording.settle(),
};

function stands(message) {
  controls.hold(message.config);
  locate(client.urls, client.session.id);
  if (about.records) void recording.recall();
}

function heard(chunk) {
  $("silence").hidden = true;
  scope.hear(chunk);
  measure.hear(chunk, chunk.source && client.timeOf(chunk.source.newestUs));
}

// --- where else the session can be heard

let located = null;

/** What is shown already stays, and what was opened in it. */
function locate(urls, session) {
  if (located !== null && urls?.obs === located) return;
  located = urls?.obs ?? null;
  const said = (text) => ($("said").textContent = text);
  $("addresses").replaceChildren(...(urls ? addresses(urls, session, about.asks_for_a_key, said) : [unaddressed]));
}

/** The addresses of the session that Start will open, where its name is known. */
async function foresee() {
  const asked = named;
  const answer = asked && mayAsk() && (await fetch(`v1/sessions/${encodeURIComponent(asked)}/urls`, { headers: bearing() }).catch(() => null));
  const urls = answer?.ok ? await answer.json() : null;
  if (!client && asked === named) locate(urls, asked);
}

$("name").value = named ?? "";
$("name").onchange = () => {
  if (!$("name").reportValidity()) return;
  named = $("name").value || null;
  history.replaceState(null, "", named ? `?session=${named}` : location.pathname);
  void foresee();
};
$("naming").onsubmit = (event) => event.preventDefault();

// --- what is heard here

$("here").onchange = () => sound?.gain.setTargetAtTime($("here").checked ? 1 : 0, player.context.currentTime, FADE_S);

let played = 0, buffered = {};
function report({ playedThrough, levelS, targetS, underruns, playing }) {
  const bufferMs = 1000 * levelS, targetMs = 1000 * targetS;
  played = playedThrough;
  buffered = { bufferMs, underruns, targetMs };
  if (playing) measure.played(played, player?.outputMs ?? 0);
  $("buffer").textContent = Math.round(bufferMs);
  $("underruns").textContent = underruns;
  $("target").textContent = `aims at ${Math.round(targetMs)} ms`;
  $("gauge").style.setProperty("--level", `${Math.min(100, (100 * bufferMs) / GAUGE_MS)}%`);
  $("gauge").style.setProperty("--target", `${(100 * targetMs) / GAUGE_MS}%`);
  $("gauge").setAttribute("aria-valuenow", Math.round(bufferMs));
}

// --- buttons, and what they show

$("change").onclick = () => client?.sceneChange();
$("reset").onclick = () => {
  client?.update({ seed: anotherSeed() });
  client?.resetContext();
};
$("pause").onclick = () => (playback === "paused" ? client?.play() : client?.pause());

function showButtons() {
  enable(["change", "reset", "pause", "record"], Boolean(client?.live));
  $("pause").textContent = playback === "paused" ? "Play" : "Pause";
  enable(["start"], !beginning);
  $("start").textContent = client ? "End" : "Start";
  $("start").classList.toggle("stop", Boolean(client));
  $("name").readOnly = Boolean(client);
}

function showState() {
  if (!client?.live) return;
  if (player.context.state !== "running") return pill("waiting", UNHEARD); // Safari took the sound away, as for a call
  const blind = playback === "playing" && !source.watched;
  pill(blind ? "waiting" : health, blind ? "no picture" : playback === "playing" ? SAY[health] : playback);
}

$("dismiss").onclick = ({ detail }) => {
  calm();
  if (!detail) $("start").focus(); // a keyboard goes on from there
};

// --- keys

shortcuts(controls, { enter: "start" });

// --- drawing

let drawn = 0, described = 0;
function draw(now) {
  requestAnimationFrame(draw);
  if (now - drawn < (CALM.matches ? CALM_FRAME_MS : FRAME_MS)) return;
  drawn = now;
  scope.draw();
  if (now - described > DESCRIBE_MS) {
    described = now;
    memory.describe();
    recording.describe();
  }
  $("position").textContent = clock(Math.max(0, played) / 48000);
}
requestAnimationFrame(draw);

// --- for tests and for the console

window.cuestream = {
  measure,
  get statistics() {
    return {
      playback, played, ...buffered, pictureToEar: measure.pictureToEar,
      received: measure.received, concealed: measure.concealed,
      sent: client?.stats.sentPictures ?? 0, skipped: client?.stats.skippedPictures ?? 0,
      session: client?.session.id ?? null, resumed: client?.stats.resumed ?? 0,
      cuts: cuts.map((cut) => ({ ...cut, heardMs: measure.heardAt(cut.sample) })),
    };
  },
};

// --- what is there before a session; a reload goes on with one

if (!isSecureContext) trouble(INSECURE, "page");
void foresee();
if (about.records && mayAsk()) void recording.recall();

const left = savedTicket();
if (left && (!named || left.id === named)) begin(left);
