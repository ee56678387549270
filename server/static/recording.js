// The record button and the list of what was recorded: begun and ended by messages, fetched by REST.

const WAIT_MS = 500; // between looks at a recording whose session is over
const MOST_LOOKS = 40;

export class Recording {
  /** button, list, forms (radio inputs), film (a checkbox). send: takes a control message. */
  constructor({ button, list, forms, film }, send, headers) {
    Object.assign(this, { button, list, forms, film, send, headers });
    this.id = null; // of the recording that runs
    this.began = 0;
    button.onclick = () => this.toggle();
    this.describe();
  }

  toggle() {
    if (this.id) return this.send({ type: "recording", action: "stop" });
    const audio = this.forms().find((input) => input.checked).value;
    this.send({ type: "recording", action: "start", audio, video: this.film.checked });
  }

  /** A recording.state, or the same by REST. */
  told({ recording_id, state, samples, paths, text }) {
    if (state === "recording") {
      if (this.id !== recording_id) this.began = performance.now() - samples / 48;
      this.id = recording_id;
    } else {
      if (this.id === recording_id) this.id = null;
      this.list.prepend(row(recording_id, samples, paths, text));
    }
    this.describe();
  }

  /** The session is over: what ran is being finished by the server. */
  async finished() {
    const id = this.id;
    this.id = null;
    this.describe();
    for (let look = 0; id && look < MOST_LOOKS; look++) {
      const answer = await fetch(`v1/recordings/${id}`, { headers: this.headers() });
      if (!answer.ok) return;
      const state = await answer.json();
      if (state.state !== "recording") return this.told({ text: state.error, ...state });
      await new Promise((done) => setTimeout(done, WAIT_MS));
    }
  }

  /** To be called now and then: the time grows. */
  describe() {
    this.button.classList.toggle("on", Boolean(this.id));
    this.button.setAttribute("aria-pressed", Boolean(this.id));
    this.button.lastChild.textContent = this.id ? clock((performance.now() - this.began) / 1000) : "Record";
    for (const input of [...this.forms(), this.film]) input.disabled = Boolean(this.id);
  }
}

function row(id, samples, paths, text) {
  const made = document.createElement("li");
  const title = Object.assign(document.createElement("span"), { textContent: `${id.slice(0, 15)} · ${clock(samples / 48000)}` });
  made.append(title);
  for (const path of paths) {
    const name = path.split("?")[0].split("/").at(-1);
    made.append(Object.assign(document.createElement("a"), { href: path.slice(1), textContent: name, download: "" }));
  }
  if (text) made.append(Object.assign(document.createElement("em"), { textContent: text }));
  return made;
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}
