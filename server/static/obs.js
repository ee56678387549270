// The page for OBS's browser source: hears a session that is shown its pictures elsewhere, and tells it when OBS changes the scene.
//
//   obs?session=NAME    where a key is asked for with #token=..., as /v1/sessions/NAME/urls says
//     &cut=0            another scene is no cut
//     &quiet=A,B        the music pauses in these scenes
//     &overlay=1        show what plays
//     &via=http         endless sound instead of WebRTC, also where server and browser have both

import { aboutServer } from "./about.js";
import { unnamed } from "./addresses.js";
import { MusicPlayer, WhepPlayer, Refused } from "./cuestream.js";
import { COMFORT, hearEndless } from "./endless.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const session = asked.get("session") ?? "", one = `v1/sessions/${encodeURIComponent(session)}`;
const cuts = asked.get("cut") !== "0", shows = asked.get("overlay") === "1";
const quiet = new Set((asked.get("quiet") ?? "").split(",").map((name) => name.trim()).filter(Boolean));
const headers = token ? { authorization: `Bearer ${token}` } : {};
const AGAIN_MS = 1000, AGAIN_MOST_MS = 8000; // somebody may open the session later
const LOOK_MS = 1000; // how often the overlay asks what plays
const DENIED_MS = 30_000; // more wrong tokens a minute, and the server hears none
const HINT_MS = 400; // before somebody is asked for a click
const FRAMES = 1024; // that the meter looks at
const SAY = { on_time: "playing", degraded: "playing", concealing: "catching up", waiting: "waiting for a picture" };
const DENIED = [401, 403];
const NO_TOKEN = `This address has no valid token; take it from the page, “Use it elsewhere”, or from …/${one}/urls`;

const seen = { connections: 0, cuts: 0, scene: null, via: null, lost: "", power }; // for tests and for the console
window.cuestream = seen;

/** A scene that OBS showed before the page was there is known where the source may read OBS's scenes. */
function scenes() {
  addEventListener("obsSceneChanged", ({ detail }) => void changed(detail.name));
  window.obsstudio?.getCurrentScene?.((scene) => {
    seen.scene ??= scene?.name ?? null;
    void settle();
  });
}

async function changed(name) {
  const was = quiet.has(seen.scene), is = quiet.has(name), first = seen.scene === name;
  seen.scene = name;
  const change = { ...(is !== was && { playback: is ? "pause" : "play" }), ...(cuts && !is && !first && { change_now: true }) };
  if (Object.keys(change).length) await turn(change);
}

/** In a quiet scene the music is to pause also when the session began after the scene. */
async function settle() {
  if (quiet.has(seen.scene)) await turn({ playback: "pause" });
}

async function turn(change) {
  const answer = await fetch(one, { method: "PATCH", headers, body: JSON.stringify(change) }).catch(() => null);
  if (!answer?.ok) return;
  seen.cuts += change.change_now ? 1 : 0;
  $("overlay").classList.toggle("cut", Boolean(change.change_now));
  setTimeout(() => $("overlay").classList.remove("cut"), 100);
}

// --- hearing

/** For as long as the page is there. */
async function hear(webrtc) {
  seen.via = webrtc && window.RTCPeerConnection && asked.get("via") !== "http" ? "whep" : "http";
  const once = seen.via === "whep" ? byWhep : byHttp;
  for (let pause = AGAIN_MS; ; pause = Math.min(2 * pause, AGAIN_MOST_MS)) {
    const connections = seen.connections;
    let denied = false;
    try {
      await once();
      seen.lost = "the session ended";
    } catch (error) {
      seen.lost = error.message;
      denied = error instanceof Refused && DENIED.includes(error.code);
      trouble(denied ? NO_TOKEN : "");
    }
    if (seen.connections > connections) pause = AGAIN_MS;
    await new Promise((done) => setTimeout(done, denied ? DENIED_MS : pause));
  }
}

let player = null;
addEventListener("pagehide", () => player?.close());

async function byWhep() {
  player = await WhepPlayer.open(`v1/whep/${encodeURIComponent(session)}`, { token });
  const context = new AudioContext();
  $("audio").srcObject = player.music;
  begun(context, context.createMediaStreamSource(player.music), () => sounding($("audio"), context));
  await player.ended;
  $("audio").srcObject = null;
  await context.close();
}

/** Resolves when the element may sound, and the meter see it: at once, or after a click. */
async function sounding(audio, context) {
  try {
    await audio.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    await new Promise((clicked) => ($("unlock").onclick = clicked));
    await Promise.all([audio.play(), context.resume()]);
  }
}

let loudspeaker = null;

async function byHttp() {
  loudspeaker ??= await MusicPlayer.open({ comfort: COMFORT });
  const { context, node } = loudspeaker;
  const url = `${one}/audio.wav${token ? `?token=${encodeURIComponent(token)}` : ""}`;
  await hearEndless(url, loudspeaker, seen.connections + 1, () => begun(context, node, () => loudspeaker.unlocked()));
}

/** context, music: a node to look at. unlocked: resolves when it may sound: OBS lets pages sound by themselves, others want a click. */
function begun(context, music, unlocked) {
  seen.connections += 1;
  seen.lost = "";
  trouble("");
  meter = new AnalyserNode(context, { fftSize: FRAMES });
  music.connect(meter);
  const asks = setTimeout(() => ($("unlock").hidden = false), HINT_MS);
  void unlocked().then(() => (clearTimeout(asks), ($("unlock").hidden = true)));
  void settle();
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// --- the overlay

let meter = null;
const samples = new Float32Array(FRAMES);

/** Of what sounds now: its power, full scale 1. */
function power() {
  meter?.getFloatTimeDomainData(samples);
  return samples.reduce((sum, value) => sum + value * value, 0) / FRAMES;
}

function draw() {
  requestAnimationFrame(draw);
  const level = Math.max(0, 1 + Math.log10(power() + 1e-9) / 5); // 50 dB
  $("level").style.transform = `scaleX(${Math.min(1, level).toFixed(3)})`;
}

async function look() {
  const answer = await fetch(one, { headers }).catch(() => null);
  const shown = answer?.ok ? await answer.json() : null, denied = DENIED.includes(answer?.status);
  const absent = denied ? "not allowed" : "waiting for a session";
  $("state").textContent = !shown ? absent : shown.playback === "playing" ? SAY[shown.health] : shown.playback;
  setTimeout(look, denied ? DENIED_MS : LOOK_MS);
}

function overlay(about) {
  const { model, label } = about;
  $("model").textContent = label.startsWith(`${model} `) ? label : [model, label].filter(Boolean).join(" · ");
  $("overlay").hidden = false;
  void look();
  draw();
}

// --- begin

addEventListener("hashchange", () => location.reload()); // another token
const wrong = unnamed("obs", session);
if (wrong) trouble(wrong);
else {
  scenes();
  const about = await aboutServer(trouble);
  if (shows) overlay(about);
  void hear(about.webrtc);
}
