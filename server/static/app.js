// The page: a source, a client, a loudspeaker and the drawing of it, wired to the elements of index.html.

import { Client, MusicPlayer, Shutter, camera, hide, keepTicket, savedTicket, screen, show } from "./cuestream.js";
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
const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const FRAME_MS = 40, CALM_FRAME_MS = 500;
const GAUGE_MS = 400;
const MOST_CUTS = 200; // that are remembered for statistics
const DESCRIBE_MS = 500; // words that count seconds
const WAIT_MS = 120; // a slider is sent so long after its last move
const HINT_MS = 400; // before somebody is asked for a click
const FAREWELL_MS = 1500; // for the last fade
const COMFORT = { targetS: 0.18, leastS: 0.15 }; // a page that draws hands music on 0.1 s late now and then

const scope = new Scope({ strip: $("strip"), wave: $("wave"), spectrum: $("spectrum") });
const memory = new Memory({ old: $("memoryold"), window: $("memorywindow"), caption: $("memorycaption") });
const recording = new Recording(
  { button: $("record"), list: $("recorded"), forms: () => [...document.getElementsByName("form")], film: $("film") },
  (message) => client?.send(message),
  () => (key ? { authorization: `Bearer ${key}` } : {}),
);
const measure = new Measure();
let client = null, player = null, shutter = null, config = null, playback = "stopped", waiting = {}, timer = null;
let forget = () => {}; // of the session, by this tab
let cuts = []; // {atMs, sample}: capture time, and the first sample that may know of it
let file = null, key = sessionStorage.getItem("key") || "";

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
$("sources").onchange = () => source() === "file" && $("file").click();
$("file").onchange = () => {
  file = $("file").files[0] ?? null;
  if (client && file) attachSource();
};
for (const input of document.getElementsByName("source")) {
  input.onchange = () => client && source() !== "file" && attachSource();
}

function source() {
  return document.querySelector("input[name=source]:checked").value;
}

/** ticket: of the session that this tab had before it was reloaded; null begins another one. */
async function begin(ticket = null) {
  trouble("");
  if (!ticket && source() === "file" && !file) return $("file").click();
  if (!ticket && about.asks_for_a_key && !key) key = await askKey();
  $("start").disabled = true;
  try {
    player = await MusicPlayer.open({ comfort: COMFORT });
    if (!ticket || source() === "camera") await openSource(); // a page cannot open the others by itself
    await unlocked();
    client = new Client({ key, config: changes(), client: "page", ticket });
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
    trouble(error.name === "NotAllowedError" ? "The browser did not allow it. Allow the camera or screen for this page, or choose a file." : error.message);
    cleanUp();
  }
  $("start").disabled = false;
  enable();
}

/** A page that was reloaded may be silent until somebody touches it. */
async function unlocked() {
  const hint = setTimeout(() => pill("off", "click to hear the music"), HINT_MS);
  await player.unlocked();
  clearTimeout(hint);
}

async function openSource() {
  sessionStorage.setItem("source", source());
  await show($("preview"), source() === "file" ? file : await (source() === "camera" ? camera() : screen()));
  $("empty").hidden = true;
}

function watchSource() {
  const [track] = $("preview").srcObject?.getVideoTracks() ?? [];
  if (!track && !$("preview").src) return;
  shutter = new Shutter(client, track ?? $("preview"), {
    onPicture: (atUs, picture) => {
      scope.show(picture);
      memory.keep(atUs, picture);
    },
    onError: (error) => trouble(error.message),
  });
}

async function attachSource() {
  shutter?.stop();
  hide($("preview"));
  try {
    await openSource();
    watchSource();
    trouble("");
  } catch (error) {
    trouble(error.message);
  }
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
  shutter?.stop();
  hide($("preview"));
  const done = player;
  client = player = shutter = null;
  recording.finished();
  playback = "stopped";
  $("empty").hidden = false;
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
  if (state === "lost" && next.then === "retry") trouble(next.why);
  if (state === "open") trouble("");
  if (state === "closed") {
    pill("off", "not connected");
    if (client.failure) trouble(client.failure.message);
    if (next.code === 401) {
      key = "";
      sessionStorage.removeItem("key");
    }
    cleanUp();
  }
  enable();
}

// --- what the server says

const answers = {
  "session.created": (message) => {
    scope.clear();
    memory.clear();
    measure.clear();
    cuts = [];
    stands(message);
  },
  "session.resumed": (message) => {
    stands(message);
    if (!shutter) trouble("The music goes on. Choose the screen or the file again, for its picture.");
  },
  "session.updated": (message) => {
    config = message.config;
    if (!timer) showConfig();
  },
  state: (message) => {
    playback = message.playback;
    pill(message.health, playback === "playing" ? SAY[message.health] : playback);
    enable();
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
    if (!message.fatal) trouble(message.text);
    showConfig();
  },
  warning: (message) => trouble(message.text),
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
$("seed").onchange = () => change({ seed: Math.max(0, Math.floor(Number($("seed").value))) });
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

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
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
  const typing = event.target.matches("input[type=number], input[type=password], select");
  const pressing = event.key === " " && event.target.matches("button, input");
  if (event.ctrlKey || event.metaKey || event.altKey || typing || pressing || !(event.key.toLowerCase() in KEYS)) return;
  event.preventDefault();
  KEYS[event.key.toLowerCase()]();
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
if (left) {
  for (const input of document.getElementsByName("source")) input.checked = input.value === sessionStorage.getItem("source");
  begin(left);
}
