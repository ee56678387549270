// What a page says of the session: one word in the pill of its header, and trouble in a box that can be dismissed.

const $ = (id) => document.getElementById(id);
/** Of a session that plays, by its health. */
export const SAY = { on_time: "playing", degraded: "playing", concealing: "looping", waiting: "waiting for a picture" };
/** Not in the words, for a busy server comes and goes, and each change of them is read out. */
const WHY = {
  degraded: "The server is busy and makes the music with less work.",
  concealing: "The server is too slow just now: what was heard last is repeated until it catches up.",
};
const WARNED_MS = 10_000; // until a warning goes away

let told = null, fading = null; // what the message that is shown is about

export function pill(state, text) {
  $("health").dataset.state = state;
  $("health").title = WHY[state] ?? "";
  document.title = state === "off" ? "Cuestream" : `${text} · Cuestream`; // seen while another tab is open
  write($("health"), text);
}

/** What says the same still is not read out again. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function trouble(text, about) {
  clearTimeout(fading);
  told = about;
  write($("trouble"), text);
  $("toast").hidden = $("trouble").hidden = false;
}

/** What goes away by itself. */
export function warn(text) {
  trouble(text, "warning");
  fading = setTimeout(calm, WARNED_MS, "warning");
}

/** What was said about this holds no longer. */
export function calm(about = told) {
  if (about === told) $("toast").hidden = $("trouble").hidden = true;
}

/** Words about one thing for as long as there are any: to be handed to who finds them. */
export const sayer = (about) => (text) => (text ? trouble(text, about) : calm(about));
