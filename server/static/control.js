// The page that turns a session which somebody else holds: a dock in OBS, a tab, a phone.
//
//   control?session=NAME    where a key is asked for with #token=..., as /v1/sessions/NAME/urls says, or the key is given by hand
//
// What happens in a session is told to its client alone. So this page asks, once a second while somebody sees it: one small answer,
// which is also that to each change. Nothing is drawn and nothing sounds here.

import { aboutServer } from "./about.js";
import { unnamed } from "./addresses.js";
import { NO_ANSWER, OK, answered } from "./asking.js";
import { Controls, anotherSeed, heed } from "./controls.js";
import { tab } from "./kept.js";
import { askKey, enable, shortcuts } from "./pressing.js";
import { Recording } from "./recording.js";
import { SAY, calm, pill, sayer, trouble } from "./said.js";

const $ = (id) => document.getElementById(id);
const session = new URLSearchParams(location.search).get("session") ?? "", one = `v1/sessions/${session}`;
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const LOOK_MS = 1000, LOOK_MOST_MS = 4000; // the pauses grow while the session is not there
const DENIED_MS = 30_000; // more wrong tokens a minute, and the server hears none
const ANSWER_MS = 20_000; // a recording waits for the disk
const WRONG_KEY = 401, FORBIDDEN = 403, ABSENT = 404, CONFLICT = 409;
const WHY = { [NO_ANSWER]: "no answer", [ABSENT]: "not there" };
const NO_TOKEN = {
  [WRONG_KEY]: "The token in this page's address is not valid here, perhaps since the server's key is another one.",
  [FORBIDDEN]: `The token in this page's address does not let it turn the session “${session}”.`,
};
const TAKE_ANOTHER = ` Take the address from “cuestream obs setup”, or from …/${one}/urls.`;
const NOT_THERE = `There is no session “${session}” now. This page looks for it, and works as soon as it has begun.`;

let about = null, controls = null, recording = null;
let key = token ?? tab.get("key") ?? "";
let there = null; // the session as the server told it last, null when it is not there
let held = ""; // its configuration, as it is shown
let changing = 0; // changes that are not answered yet
let asking = Promise.resolve();
const seen = { looks: 0, get session() { return there; } }; // for tests and for the console

function bearing() {
  return about.asks_for_a_key && key ? { authorization: `Bearer ${key.replace(/[^ -~]/g, "?")}` } : {}; // no header has other letters
}

/** {status, told: the answer's JSON}. Requests wait for each other, so that no answer is older than one before it. */
function ask(method, path, body) {
  asking = asking.then(() => answered(path, ANSWER_MS, { method, headers: bearing(), body: JSON.stringify(body) }));
  return asking;
}

// --- the session, as it is

/** For as long as the server answers. */
async function attend() {
  for (let pause = LOOK_MS, answered = true; answered; ) {
    if (about.asks_for_a_key && !key) await logIn();
    const { status, told } = await ask("GET", one);
    seen.looks += 1;
    pause = status === OK ? LOOK_MS : Math.min(2 * pause, LOOK_MOST_MS);
    answered = status !== NO_ANSWER;
    if (status === OK) show(told);
    else show(null, WHY[status] ?? "not allowed");
    if (status === OK) calm("line");
    else if (!(status in WHY)) pause = refused(status, told.error?.text ?? `answered ${status}`);
    await rest(pause);
  }
}

let wake = () => {};
document.addEventListener("visibilitychange", () => document.hidden || wake());

/** So long, and for as long as nobody sees the page; who turns to it waits for nothing. */
function rest(ms) {
  return new Promise((done) => {
    wake = done;
    setTimeout(() => document.hidden || done(), ms);
  });
}

/** Says why the server does not say how the session is. Returns milliseconds until it may be asked again. */
function refused(status, text) {
  const words = token ? NO_TOKEN[status] && NO_TOKEN[status] + TAKE_ANOTHER : status === WRONG_KEY && "That key is not right.";
  trouble(words || `The server says: ${text}.`, "line");
  if (token || status !== WRONG_KEY) return DENIED_MS;
  key = "";
  tab.forget("key");
  return 0; // somebody has to give another one first
}

async function logIn() {
  pill("off", "needs the key");
  $("enter").hidden = false;
  while (!key) {
    await new Promise((pressed) => ($("enter").onclick = pressed));
    key = await askKey();
  }
  $("enter").hidden = true;
  calm("line");
  if (mayRecord()) void recording.recall();
}

/** told: null where the session is not there; why: in a few words. */
function show(told, why) {
  there = told;
  const playing = told?.playback === "playing", gone = told?.state === "detached";
  enable(["change", "reset", "pause", "record"], Boolean(told));
  $("controls").classList.toggle("idle", !told);
  $("absent").hidden = why !== WHY[ABSENT];
  $("pause").textContent = !told || playing ? "Pause" : "Play";
  if (!told) return pill(why === WHY[ABSENT] ? "off" : "lost", why);
  pill(gone ? "waiting" : told.health, gone ? "waiting for its client" : playing ? SAY[told.health] : told.playback);
  hold(told.config);
  if (mayRecord()) void follow(told.recording);
}

/** What is typed at this moment stays, unless the settings change. */
function hold(config) {
  const text = JSON.stringify(config);
  if (changing || text === held) return;
  held = text;
  controls.hold(config);
}

// --- what is turned

async function turn(change) {
  changing += 1;
  const { status, told } = await ask("PATCH", one, change);
  changing -= 1;
  if (status === OK) {
    calm("refusal");
    return show(told);
  }
  trouble(status === ABSENT ? NOT_THERE : told?.error.text ?? "The server does not answer; nothing was changed.", "refusal");
  controls.show();
}

/** The settings are in the hands of who turns them, the buttons in those of the server's word. */
function wire() {
  controls = new Controls($("controls"), about.config, () => ({ update: (config) => turn({ config }) }));
  $("here").parentElement.remove(); // nothing sounds here
  $("change").onclick = () => turn({ change_now: true });
  $("reset").onclick = () => turn({ config: { seed: anotherSeed() }, playback: "reset_context", change_now: true });
  $("pause").onclick = () => turn({ playback: there.playback === "playing" ? "pause" : "play" });
  recording = new Recording({ button: $("record"), section: $("recordings") }, record, bearing, sayer("recording"));
  shortcuts(controls);
  document.querySelector("main").hidden = false;
}

// --- recordings, for who has the key

function mayRecord() {
  return about.records && !(about.asks_for_a_key && (token || !key));
}

async function record({ action, audio, video }) {
  const { status, told } = await (action === "start" ? ask("POST", `${one}/recording`, { audio, video }) : ask("DELETE", `${one}/recording`));
  if (told?.recording_id) recording.told(told);
  else if (action === "stop" && status === CONFLICT) void recording.finished();
  else trouble(told?.error.text ?? "The server does not answer.", "recording");
}

/** id: of the recording that runs, by whomever, null when none does. */
async function follow(id) {
  recording.describe();
  if (!id) recording.settle();
  if (id === recording.id && !recording.doubted) return;
  if (!id) return recording.finished();
  const { told } = await ask("GET", `v1/recordings/${id}`);
  if (told?.recording_id) recording.told(told);
}

// --- begin

addEventListener("hashchange", () => location.reload()); // another token
$("dismiss").onclick = ({ detail }) => {
  calm();
  if (!detail) $("pause").focus(); // a keyboard goes on from there
};
const wrong = unnamed("control", session);
if (!wrong) {
  $("session").textContent = session;
  $("absent").textContent = NOT_THERE;
  for (;;) {
    about = await aboutServer(sayer("line")); // another one may be there since
    if (!controls) wire();
    heed(about.follows);
    for (const id of ["record", "recordings", "recordkey"]) $(id).hidden = !about.records || Boolean(about.asks_for_a_key && token);
    if (mayRecord()) void recording.recall();
    window.cuestream = seen;
    await attend();
    recording.doubt();
  }
} else {
  trouble(wrong, "page");
  pill("off", "no session");
}
