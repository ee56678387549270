// The record button and the list of what was recorded: begun and ended by messages, fetched by REST.

const WAIT_MS = 500; // between looks at a recording whose session is over
const MOST_LOOKS = 40;
const GONE = "The recording ended with the server.";
/** Of a recording that ended by itself. */
const WHY = {
  length: "The recording is as long as one may be, and was finished.",
  quota: "The folder of recordings is full; the recording was finished.",
  disk: "Too little is free on the server's disk; the recording was finished.",
};

const MARKUP = `
<h2 id="recordingshead">Recordings</h2>
<div class="row">
  <fieldset class="tabs small" id="forms">
    <legend class="hide">Record the music as</legend>
    <label><input type="radio" name="form" value="flac" checked><span>FLAC</span></label>
    <label><input type="radio" name="form" value="wav"><span>WAV</span></label>
    <label><input type="radio" name="form" value="opus"><span>Opus</span></label>
  </fieldset>
  <label class="switch" title="Also a film of what was shown, with the music"><input type="checkbox" id="film" checked><span></span>With the picture</label>
</div>
<ul id="recorded"></ul>
<p class="dim">What you record is kept on the server, and can be downloaded here.</p>
`;

export class Recording {
  /** section: is filled. send: takes a control message. say: shows words, none: no more. */
  constructor({ button, section }, send, headers, say) {
    section.innerHTML = MARKUP;
    Object.assign(this, { button, section, send, headers, say });
    this.list = section.querySelector("ul");
    this.id = null; // of the recording that runs
    this.began = 0;
    this.doubted = false; // whether it still does
    this.listed = new Set();
    button.onclick = () => this.toggle();
    this.describe();
  }

  toggle() {
    if (this.id) return this.send({ type: "recording", action: "stop", event_id: this.id });
    const audio = this.section.querySelector("[name=form]:checked").value;
    this.send({ type: "recording", action: "start", audio, video: this.section.querySelector("#film").checked });
  }

  /** A recording.state, or the same by REST. */
  told({ recording_id, state, samples, paths, text, reason }) {
    this.doubted = false;
    if (state === "recording") {
      if (this.id !== recording_id) this.began = performance.now() - samples / 48;
      this.id = recording_id;
      this.say(text ? `${text}.` : ""); // a film may end before its recording
    } else {
      if (this.id === recording_id) this.id = null;
      this.enter({ recording_id, state, samples, paths, text });
      if (state === "failed") this.say(`The recording failed: ${text}.`);
      else if (reason in WHY) this.say(WHY[reason]);
    }
    this.describe();
  }

  /** The session goes on after a break: what runs is told next. */
  doubt() {
    this.doubted = true;
  }

  /** Something else was told. */
  settle() {
    if (this.doubted) this.lost();
  }

  /** A message of that id was refused: a stop, where nothing runs any more. */
  refused(eventId) {
    if (eventId && eventId === this.id) void this.finished();
  }

  /** Another session, or the same without it: the server was away. */
  lost() {
    this.doubted = false;
    if (!this.id) return;
    this.say(GONE);
    void this.finished();
  }

  /** What ran is over, or is being finished by the server: it is listed then. */
  async finished() {
    const { id } = this;
    this.id = null;
    this.describe();
    for (let look = 0; id && look < MOST_LOOKS; look++) {
      const answer = await fetch(`v1/recordings/${id}`, { headers: this.headers() }).catch(() => null); // the server may be away
      if (answer?.ok === false) return;
      const about = await answer?.json();
      if (about && about.state !== "recording") return this.told(about);
      await new Promise((done) => setTimeout(done, WAIT_MS));
    }
  }

  /** What lies on the server is listed. */
  async recall() {
    const answer = await fetch("v1/recordings", { headers: this.headers() }).catch(() => null);
    if (!answer?.ok) return;
    for (const about of (await answer.json()).recordings) {
      if (about.state !== "recording") this.enter(about);
    }
  }

  /** One that has no row yet gets it; the newest is the first, by its id. */
  enter(about) {
    const { list, listed } = this, id = about.recording_id;
    if (listed.has(id)) return;
    const older = [...list.children].find((other) => other.dataset.id < id);
    listed.add(id);
    list.insertBefore(row(about), older ?? null);
  }

  /** To be called now and then: the time grows. */
  describe() {
    this.button.classList.toggle("on", Boolean(this.id));
    this.button.setAttribute("aria-pressed", Boolean(this.id));
    const time = this.id && clock((performance.now() - this.began) / 1000);
    this.button.setAttribute("aria-label", time ? `Record, ${time}` : "Record"); // has in it what is seen, for who says that
    this.button.lastChild.textContent = time ?? "Record";
  }
}

function row({ recording_id, state, samples, paths, text }) {
  const made = document.createElement("li");
  made.dataset.id = recording_id;
  const length = samples === null ? "" : ` · ${clock(samples / 48000)}`; // of one that was cut off nobody counted it
  const title = Object.assign(document.createElement("span"), { textContent: began(recording_id) + length });
  made.append(title);
  for (const path of paths) {
    const name = path.split("?")[0].split("/").at(-1);
    made.append(Object.assign(document.createElement("a"), { href: path.slice(1), textContent: name, download: "" }));
  }
  const failing = state === "interrupted" ? "cut off" : text; // one that the server did not finish says nothing of itself
  if (failing) made.append(Object.assign(document.createElement("em"), { textContent: failing }));
  return made;
}

/** When it began, here; its id says so in UTC. */
function began(id) {
  const [, ...parts] = id.match(/^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)/).map(Number);
  const [year, month, ...rest] = parts;
  return new Date(Date.UTC(year, month - 1, ...rest)).toLocaleString();
}

/** 4:05, from an hour on 1:04:05. */
export function clock(seconds) {
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
  if (!parts[0]) parts.shift();
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}
