// Where the pictures come from: camera, screen or file. What is shown goes on until what was asked for is there. A click, Enter
// or Space asks for one, and so does Start for what is chosen; arrow keys only choose.

import { Shutter, camera, hide, screen, show } from "./cuestream.js";
import { tab } from "./kept.js";

const REFUSED = {
  camera: {
    NotAllowedError: "The browser did not allow the camera. Allow it beside the address of this page, or choose another source.",
    NotFoundError: "There is no camera here. Choose another source.",
    NotReadableError: "The camera cannot be read; another program may have it.",
  },
  screen: {
    NotAllowedError: "No screen was shared. Press Screen to choose one, or choose another source.",
    NotFoundError: "There is no screen here that can be shared. Choose another source.",
    NotReadableError: "This screen or window cannot be read. Choose another one.",
    InvalidStateError: "This browser shares a screen in answer to a click alone. Press once more.",
  },
};
const GONE = { camera: "The camera is gone. Choose a source.", screen: "The screen is no longer shared. Choose a source." };

export class Source {
  /**
   * group: a fieldset of radio inputs. picker: a file input. preview, empty, filename: show the picture, that there is none, its
   * name. begin: a file was chosen for Start. pictured: takes each picture that was sent. changed: another one is shown, or none.
   * say: shows words, none: no more.
   */
  constructor({ group, picker, preview, empty, filename }, { begin, pictured, changed, say }) {
    Object.assign(this, { group, picker, preview, empty, filename, begin, pictured, changed, say });
    this.inputs = [...group.querySelectorAll("input")];
    this.client = null; // of the session that watches
    this.shutter = null;
    this.shown = null; // camera, screen or file
    this.asked = 0; // how often for one: what comes after another was asked for is not shown
    this.file = null; // has a picture
    this.begins = false; // as soon as a file is chosen
    this.stepping = false; // by arrow keys, which choose and ask for nothing
    group.onchange = () => this.client ?? void this.rest();
    group.onclick = ({ target }) => {
      if (target.type === "radio" && !this.stepping) this.ask(target.value);
    };
    group.onkeydown = ({ key, target }) => {
      this.stepping = key.startsWith("Arrow");
      if (key === "Enter") target.click();
    };
    group.onkeyup = () => void (this.stepping = false);
    group.addEventListener("focusout", ({ relatedTarget }) => group.contains(relatedTarget) || this.left());
    picker.oncancel = () => this.putBack();
    picker.onchange = () => void this.picked(picker.files[0]);
  }

  get chosen() {
    return this.inputs.find((input) => input.checked).value;
  }

  choose(source) {
    for (const input of this.inputs) input.checked = input.value === source;
  }

  /** Whether there is something to open without a file being chosen first. */
  get ready() {
    return this.chosen !== "file" || this.file !== null;
  }

  /** Whether the session sees something. */
  get watched() {
    return this.shutter !== null;
  }

  // --- asked for

  ask(source) {
    if (source === "file") this.pick();
    else if (this.client && (source === "screen" || source !== this.shown)) void this.attach(); // another screen may be wanted
    else this.say(""); // of another one
  }

  /** What was chosen and not asked for is chosen no more once something else is shown. */
  left() {
    this.stepping = false;
    if (this.client) this.putBack();
  }

  pick(thenBegin = false) {
    this.begins = thenBegin;
    this.picker.value = ""; // or the same one again is no change
    this.picker.click();
  }

  async picked(file) {
    try {
      await checkPicture(file);
    } catch (error) {
      this.putBack();
      return this.say(error.message);
    }
    this.file = file;
    this.choose("file");
    if (this.client) return this.attach();
    this.say("");
    await (this.begins ? this.begin() : this.rest());
  }

  /** Nothing was chosen: what is shown goes on. */
  putBack() {
    if (!this.client) void this.rest();
    else if (this.shown) this.choose(this.shown);
  }

  // --- shown

  /** Show what is chosen; what was shown goes on until it is there. False where something else was asked for meanwhile. Throws
   * what to say. */
  async open() {
    const { chosen } = this, turn = ++this.asked;
    const what = chosen === "file" ? this.file : await stream(chosen);
    const tracks = chosen === "file" ? [] : what.getVideoTracks();
    if (turn !== this.asked) {
      for (const track of tracks) track.stop();
      return false;
    }
    this.close();
    this.empty.hidden = true;
    await show(this.preview, what);
    this.shown = chosen;
    this.choose(chosen);
    for (const track of tracks) track.onended = () => this.lost();
    this.filename.textContent = chosen === "file" ? this.file.name : "";
    tab.set("source", chosen);
    return true;
  }

  /** After a reload: the camera, if it was that; a page cannot open the others by itself. */
  async reopen() {
    this.choose(tab.get("source"));
    if (this.chosen === "camera") await this.open().catch(() => {}); // the music goes on without a picture
  }

  /** What is shown is for this client, and what will be. */
  watch(client) {
    this.client = client;
    if (!this.shown) return;
    const [track] = this.preview.srcObject?.getVideoTracks() ?? [];
    const onError = ({ message }) => this.say(message);
    this.shutter = new Shutter(client, track ?? this.preview, { onPicture: this.pictured, onError });
  }

  /** While the music plays. */
  async attach() {
    try {
      if (!(await this.open())) return;
      this.watch(this.client);
      this.say("");
    } catch (error) {
      if (this.shown) this.choose(this.shown);
      else this.close();
      this.say(error.message);
    }
    this.changed();
  }

  /** The camera was pulled out, the sharing stopped. */
  lost() {
    this.say(GONE[this.shown]);
    this.close();
    this.changed();
  }

  close() {
    this.shutter?.stop();
    hide(this.preview);
    this.shutter = this.shown = null;
    this.empty.hidden = false;
    this.filename.textContent = "";
  }

  /** Without a session: the file that was chosen, standing still. */
  async rest() {
    this.client = null;
    this.asked += 1;
    this.close();
    if (this.chosen !== "file" || !this.file) return;
    await this.open().then(() => this.preview.pause(), () => {}); // whatever was wrong is said when it is to play
  }
}

/** Throws what to say. */
async function stream(source) {
  try {
    return await (source === "camera" ? camera() : screen());
  } catch (error) {
    throw new Error(REFUSED[source][error.name] ?? error.message);
  }
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
