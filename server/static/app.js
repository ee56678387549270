// The page: a source, a client, a loudspeaker and the drawing of it, wired to the elements of index.html.

import { Client, MusicPlayer, Shutter, camera, createSession, hide, keepTicket, savedTicket, screen, show } from "./cuestream.js";
import { Measure } from "./measure.js";
import { Memory } from "./memory.js";
import { Recording } from "./recording.js";
import { Scope } from "./scope.js";

const $ = (id) => document.getElementById(id);
const SLIDERS = {
  gain_db: (v) => `${v > 0 ? "+" : ""}${v.toFixed(1)} dB`,
  guidance: (v) => v.toFixed(1),
  temperature: (v) => v.toFixed(2),
  short_term_s: (v) => `${v.toFixed(1)} s`,
};
const SAY = { on_time: "on time", degraded: "degraded", concealing: "looping", waiting: "waiting for a picture" };
const REFUSED = {
  NotAllowedError: "The browser did not allow it. Allow the camera or screen for this page, or choose a file.",
  NotFoundError: "There is no such camera or screen here. Choose another source.",
};
const GONE = { camera: "The camera is gone. Choose a source.", screen: "The screen is no longer shared. Choose a source." };
const WRONG_KEY = 401, NO_ANSWER = 1006;
const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const FRAME_MS = 40, CALM_FRAME_MS = 500;
const GAUGE_MS = 400;
const MOST_CUTS = 200; // that are remembered for statistics
const DESCRIBE_MS = 500; // words that count seconds
const WAIT_MS = 120; // a slider is sent so long after its last move
const HINT_MS = 400; // before somebody is asked for a click
const FAREWELL_MS = 1500; // for the last fade
const WARNED_MS = 10_000; // until a warning goes away
const COMFORT = { targetS: 0.18, leastS: 0.15 }; // a page that draws hands music on 0.1 s late now and then

const scope = new Scope({ strip: $("strip"), wave: $("wave"), spectrum: $("spectrum") });
const memory = new Memory({ old: $("memoryold"), window: $("memorywindow"), caption: $("memorycaption") });
const recording = new Recording(
  { button: $("record"), list: $("recorded"), forms: () => [...document.getElementsByName("form")], film: $("film") },
  (message) => client?.send(message),
  () => (key ? { authorization: `Bearer ${key}` } : {}),
  (text) => (text ? trouble(text, "recording") : calm("recording")),
);
const measure = new Measure();
let client = null, player = null, shutter = null, config = null, waiting = {}, timer = null;
let playback = "stopped", health = "waiting";
let forget = () => {}; // of the session, by this tab
let cuts = []; // {atMs, sample}: capture time, and the first sample that may know of it
let key = sessionStorage.getItem("key") || "";
const named = new URLSearchParams(location.search).get("session"); // of an address with ?session=NAME: it is always the same
const unaddressed = $("addresses").firstElementChild;

// --- what the server is

const about = await (await fetch("v1/version")).json();
config = { ...about.config };
$("model").textContent = about.model;
for (const id of ["record", "recordings", "recordkey"]) $(id).hidden = !about.records;
$("version").textContent = `Cuestream ${about.version} · ${about.protocol}`;
if (about.label) {
  $("label").textContent = about.label;
  $("label").hidden = false;
}
showConfig();

// --- start and end

$("start").onclick = () => (client ? finish() : begin());

/** ticket: of the session that this tab had before it was reloaded; null begins another one. */
async function begin(ticket = null) {
  calm();
  if (!ticket && source() === "file" && !file) return chooseFile(true);
  if (!ticket && about.asks_for_a_key && !(key ||= await askKey())) return;
  $("start").disabled = $("sources").disabled = true;
  try {
    player = await MusicPlayer.open({ comfort: COMFORT });
    if (!ticket || source() === "camera") await openSource(); // a page cannot open the others by itself
    await unlocked();
    const invite = () => createSession(".", key, named);
    client = new Client({ invite, config: changes(), client: "page", ticket });
    player.connect(client); // before whoever draws
    for (const [type, answer] of Object.entries(answers)) client.on(type, answer);
    client.on("music", heard);
    client.on("line", line);
    player.on("played", report);
    forget = keepTicket(client);
    client.connect().catch(() => {}); // `line` says it
    if (!ticket) client.play();
    watchSource();
  } catch (error) {
    client?.detach();
    trouble(REFUSED[error.name] ?? error.message, "source");
    cleanUp();
  }
  $("start").disabled = $("sources").disabled = false;
  enable();
}

/** A page that was reloaded may be silent until somebody touches it. */
async function unlocked() {
  const hint = setTimeout(() => pill("off", "click to hear the music"), HINT_MS);
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
  client = player = null;
  void recording.finished();
  playback = "stopped";
  if (!named) $("addresses").replaceChildren(unaddressed);
  void rest();
  enable();
  setTimeout(() => done?.close(), 300);
}

function askKey() {
  return new Promise((done) => {
    $("keydialog").onclose = () => {
      sessionStorage.setItem("key", $("apikey").value);
      done($("apikey").value);
    };
    $("apikey").value = "";
    $("keydialog").showModal();
  });
}

function line({ state, next }) {
  if (!client) return;
  if (state === "connecting") pill("off", "connecting");
  if (state === "lost") pill("lost", next.then === "resume" ? "line lost, resuming" : "trying again");
  if (state === "lost" && next.then === "retry") trouble(saying(next), "line");
  if (state === "open") calm("line");
  if (state === "closed") {
    pill("off", "not connected");
    if (client.failure) trouble(saying({ ...next, why: client.failure.message }), "line");
    if (next.code === WRONG_KEY) {
      key = "";
      sessionStorage.removeItem("key");
    }
    cleanUp();
  }
  enable();
}

/** In words for who sits before the page. */
function saying({ code, then, why }) {
  if (code === WRONG_KEY) return "That key is not right.";
  if (code === NO_ANSWER) return `The server does not answer${then === "stop" ? "" : "; trying again"}.`;
  return why;
}

// --- the source: camera, screen or file

const SOURCES = [...document.getElementsByName("source")];
let shown = null; // the one that is shown
let asked = 0; // how often for one: what comes after another was asked for is not shown
let file = null; // that has a picture
let begins = false; // as soon as a file is chosen

for (const input of SOURCES) {
  input.onclick = () => {
    if (input.value === "file") chooseFile();
    else if (!client) void rest();
    else if (input.value === "screen" || input.value !== shown) void attachSource(); // another screen may be wanted
  };
}
$("file").oncancel = putBack;
$("file").onchange = async () => {
  const [chosen] = $("file").files;
  try {
    await checkPicture(chosen);
  } catch (error) {
    putBack();
    return trouble(error.message, "source");
  }
  file = chosen;
  if (client) return attachSource();
  calm("source");
  await (begins ? begin() : rest());
};

function source() {
  return SOURCES.find((input) => input.checked).value;
}

function select(source) {
  for (const input of SOURCES) input.checked = input.value === source;
}

function chooseFile(thenBegin = false) {
  begins = thenBegin;
  $("file").value = ""; // or the same one again is no change
  $("file").click();
}

/** Nothing was chosen: what is shown goes on. */
function putBack() {
  if (!client) void rest();
  else if (shown) select(shown);
}

/** Throws what is wrong with a file. */
async function checkPicture(file) {
  const probe = Object.assign(document.createElement("video"), { muted: true, src: URL.createObjectURL(file) });
  const readable = await new Promise((done) => {
    probe.onloadedmetadata = () => done(true);
    probe.onerror = () => done(false);
  });
  const { videoWidth } = probe;
  URL.revokeObjectURL(probe.src);
  probe.removeAttribute("src");
  if (!readable) throw new Error("This file cannot be played here.");
  if (!videoWidth) throw new Error("This file has no picture that can be shown here.");
}

/** Show what is chosen; what was shown goes on until it is there. False where something else was asked for meanwhile. Throws. */
async function openSource() {
  const chosen = source(), turn = ++asked;
  const what = chosen === "file" ? file : await (chosen === "camera" ? camera() : screen());
  const tracks = chosen === "file" ? [] : what.getVideoTracks();
  if (turn !== asked) {
    for (const track of tracks) track.stop();
    return false;
  }
  closeSource();
  $("empty").hidden = true;
  await show($("preview"), what);
  shown = chosen;
  for (const track of tracks) track.onended = sourceLost;
  $("filename").textContent = chosen === "file" ? file.name : "";
  sessionStorage.setItem("source", chosen);
  return true;
}

function closeSource() {
  shutter?.stop();
  hide($("preview"));
  shutter = shown = null;
  $("empty").hidden = false;
  $("filename").textContent = "";
}

function watchSource() {
  if (!shown) return;
  const [track] = $("preview").srcObject?.getVideoTracks() ?? [];
  shutter = new Shutter(client, track ?? $("preview"), {
    onPicture: (atUs, picture) => {
      scope.show(picture);
      memory.keep(atUs, picture);
    },
    onError: (error) => trouble(error.message, "source"),
  });
}

/** While the music plays. */
async function attachSource() {
  try {
    if (!(await openSource())) return;
    watchSource();
    calm("source");
  } catch (error) {
    if (shown) select(shown);
    else closeSource();
    trouble(REFUSED[error.name] ?? error.message, "source");
  }
  showState();
}

/** The camera was pulled out, the sharing stopped. */
function sourceLost() {
  trouble(GONE[shown], "source");
  closeSource();
  showState();
}

/** Without a session: the file that was chosen, standing still. */
async function rest() {
  asked += 1;
  closeSource();
  if (source() !== "file" || !file) return;
  await openSource().then(() => $("preview").pause(), () => {}); // whatever was wrong is said when it is to play
}

// --- what the server says

const answers = {
  "session.created": (message) => {
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
    if (!shutter) trouble("The music goes on. Choose the screen or the file again, for its picture.", "source");
  },
  "session.updated": (message) => {
    config = message.config;
    calm("refusal");
    if (!timer) showConfig();
  },
  state: (message) => {
    ({ playback, health } = message);
    showState();
    enable();
  },
  "session.ended": ({ reason }) => {
    if (reason === "idle") trouble("Nothing happened for a while, so the session ended. Start begins a new one.", "line");
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
      $("latency95").textContent = `95 % under ${Math.round(ear.p95)} ms`;
    }
    $("rtf").textContent = Math.round(100 * message.real_time_factor);
  },
  error: (message) => {
    recording.refused(message.event_id);
    if (!message.fatal) trouble(message.text, "refusal");
    showConfig();
  },
  warning: (message) => {
    trouble(message.text, "warning");
    fading = setTimeout(calm, WARNED_MS, "warning");
  },
  message: ({ type }) => type !== "session.resumed" && recording.settle(),
};

function stands(message) {
  config = message.config;
  showConfig();
  showAddresses();
}

function heard(chunk) {
  scope.hear(chunk);
  measure.hear(chunk, chunk.source && client.timeOf(chunk.source.newestUs));
}

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

// --- controls

for (const name of Object.keys(SLIDERS)) {
  $(name).oninput = () => {
    showSlider(name, Number($(name).value));
    change({ [name]: Number($(name).value) });
  };
}
for (const name of ["mute", "hold_scene"]) $(name).onchange = () => change({ [name]: $(name).checked });
$("cuts").onchange = ({ target }) => change({ cut_response: target.value });
$("seed").onchange = () => {
  const seed = Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.floor(Number($("seed").value))));
  $("seed").value = seed;
  change({ seed });
};
$("tonality").onchange = () => change({ key: $("tonality").value });
$("dice").onclick = () => {
  $("seed").value = Math.floor(Math.random() * 1e6);
  $("seed").onchange();
};
$("change").onclick = () => client?.sceneChange();
$("reset").onclick = () => client?.resetContext();
$("pause").onclick = () => (playback === "paused" ? client?.play() : client?.pause());

/** Changes that were made together go together. */
function change(patch) {
  Object.assign(waiting, patch);
  clearTimeout(timer);
  timer = setTimeout(() => {
    timer = null;
    if (client) client.update(waiting);
    else Object.assign(config, waiting);
    waiting = {};
  }, WAIT_MS);
}

/** What was chosen before the session, where it differs from how the player plays by itself. */
function changes() {
  const chosen = Object.entries({ ...config, ...waiting }).filter(([name, value]) => name !== "duck" && value !== about.config[name]);
  return Object.fromEntries(chosen);
}

function showConfig() {
  for (const name of Object.keys(SLIDERS)) showSlider(name, config[name]);
  $("mute").checked = config.mute;
  $("hold_scene").checked = config.hold_scene;
  $("seed").value = config.seed;
  $("tonality").value = config.key;
  for (const input of document.getElementsByName("cut_response")) input.checked = input.value === config.cut_response;
}

function showSlider(name, value) {
  const input = $(name);
  input.value = value;
  input.style.setProperty("--done", `${(100 * (input.value - input.min)) / (input.max - input.min)}%`);
  $(`${name}_out`).textContent = SLIDERS[name](value);
}

function enable() {
  const live = Boolean(client?.live);
  for (const id of ["change", "reset", "pause", "record"]) $(id).disabled = !live;
  $("pause").textContent = playback === "paused" ? "Play" : "Pause";
  $("pause").setAttribute("aria-pressed", playback === "paused");
  $("start").textContent = client ? "End" : "Start";
  $("start").classList.toggle("stop", Boolean(client));
}

function pill(state, text) {
  $("health").dataset.state = state;
  $("health").textContent = text;
}

function showState() {
  if (!client?.live) return;
  const blind = playback === "playing" && !shutter;
  pill(blind ? "waiting" : health, blind ? "no picture" : playback === "playing" ? SAY[health] : playback);
}

let told = null, fading = null; // what the message that is shown is about

function trouble(text, about) {
  clearTimeout(fading);
  told = about;
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

/** What was said about this holds no longer. */
function calm(about = told) {
  if (about === told) $("trouble").hidden = true;
}

function showAddresses() {
  const { urls } = client;
  const header = about.asks_for_a_key ? ' -H "Authorization: Bearer $KEY"' : "";
  const api = `curl -X PATCH ${location.origin}/v1/sessions/${client.session.id}${header} -d '{"change_now":true}'`;
  const rows = [["OBS", urls.obs], ["Opus", urls.audio.ogg], ["MP3", urls.audio.mp3], ["WAV", urls.audio.wav], ["FLAC", urls.audio.flac], ["API", api]];
  $("addresses").replaceChildren(...rows.map(([name, text]) => address(name, text)));
}

function address(name, text) {
  const row = Object.assign(document.createElement("div"), { className: "address" });
  const label = Object.assign(document.createElement("span"), { textContent: name });
  const code = Object.assign(document.createElement("code"), { textContent: text, title: text });
  const copy = Object.assign(document.createElement("button"), { textContent: "Copy" });
  copy.setAttribute("aria-label", `Copy the ${name} address`);
  copy.onclick = async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1200);
  };
  row.append(label, code, copy);
  return row;
}

// --- keys

const KEYS = {
  enter: () => $("start").click(),
  " ": () => $("pause").click(),
  c: () => $("change").click(),
  n: () => $("reset").click(),
  h: () => $("hold_scene").click(),
  m: () => $("mute").click(),
  r: () => $("record").click(),
  "+": () => nudge(1),
  "-": () => nudge(-1),
};
addEventListener("keydown", (event) => {
  const { target } = event, key = event.key.toLowerCase();
  const typing = $("keydialog").open || target.matches("input[type=number], input[type=password], select");
  const pressing = (key === " " && target.matches("button, input")) || (key === "enter" && target !== document.body);
  if (event.ctrlKey || event.metaKey || event.altKey || typing || pressing || !(key in KEYS)) return;
  event.preventDefault();
  if (!event.repeat || key === "+" || key === "-") KEYS[key]();
});

function nudge(by) {
  $("gain_db").value = Number($("gain_db").value) + by;
  $("gain_db").oninput();
}

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
  const seconds = Math.floor(Math.max(0, played) / 48000);
  $("position").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
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

// --- a reload goes on with the session

const left = savedTicket();
if (left && (!named || left.id === named)) {
  select(sessionStorage.getItem("source"));
  begin(left);
}
