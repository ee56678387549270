// What the music remembers, as a strip: pictures of long-term memory on the left, of the short-term window on the right.
// The server says capture times; the pictures themselves never left this page, which keeps a small copy of what it sent.

const WIDTH = 96, HEIGHT = 54;
const RECENT = 96; // copies that are kept for cells to come: 12 s of pictures
const WORDS = {
  window: "in the short-term window",
  recalled: "recalled from long-term memory",
  memory: "kept in long-term memory, not heard now",
};

export class Memory {
  /** old, window: lists; caption: says what the chosen cell is. */
  constructor({ old, window, caption }) {
    Object.assign(this, { old, window, caption });
    for (const list of [old, window]) {
      list.onkeydown = (event) => this.step(event);
      list.onfocus = () => this.chosen ?? this.choose(list.lastElementChild);
      list.onblur = () => this.choose(null);
      list.onpointerover = ({ target }) => this.choose(target.closest("li"));
      list.onpointerleave = () => this.choose(null);
    }
    this.clear();
  }

  clear() {
    this.copies = new Map(); // capture time: canvas
    this.cells = new Map(); // capture time: element
    this.chosen = null;
    this.show([]);
  }

  /** A picture that was sent. */
  keep(atUs, canvas) {
    const copy = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
    const scale = Math.max(WIDTH / canvas.width, HEIGHT / canvas.height);
    const [w, h] = [canvas.width * scale, canvas.height * scale];
    copy.getContext("2d").drawImage(canvas, (WIDTH - w) / 2, (HEIGHT - h) / 2, w, h);
    this.copies.set(Math.floor(atUs), copy);
    for (const at of this.copies.keys()) {
      if (this.copies.size <= RECENT + this.cells.size) break;
      if (!this.cells.has(at)) this.copies.delete(at);
    }
  }

  show(cells) {
    const now = performance.now(), held = new Map();
    for (const cell of cells) {
      const element = this.cells.get(cell.at_us) ?? this.make(cell.at_us);
      element.dataset.place = cell.place;
      element.born = now - cell.age_ms;
      element.picture = cell.picture;
      held.set(cell.at_us, element);
    }
    this.cells = held;
    const shown = [...held.values()], inWindow = ({ dataset }) => dataset.place === "window";
    arrange(this.window, shown.filter(inWindow));
    arrange(this.old, shown.filter((element) => !inWindow(element)));
    this.choose(this.chosen?.isConnected ? this.chosen : null);
  }

  make(at) {
    const element = document.createElement("li");
    element.id = `cell-${at}`;
    element.setAttribute("role", "option");
    const copy = this.copies.get(at);
    if (copy) element.append(copy);
    return element;
  }

  choose(element) {
    this.chosen?.removeAttribute("aria-selected");
    this.chosen = element;
    element?.setAttribute("aria-selected", "true");
    for (const list of [this.old, this.window]) {
      if (element?.parentElement === list) list.setAttribute("aria-activedescendant", element.id);
      else list.removeAttribute("aria-activedescendant");
    }
    this.describe();
  }

  /** Left, right, home and end go through a list. */
  step(event) {
    const all = [...event.currentTarget.children], at = all.indexOf(this.chosen);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(all[Math.max(0, Math.min(all.length - 1, to))] ?? null);
  }

  /** To be called now and then: ages grow. */
  describe() {
    const now = performance.now();
    for (const element of this.cells.values()) {
      element.setAttribute("aria-label", `Picture ${element.picture}, ${age(now - element.born)} ago, ${WORDS[element.dataset.place]}`);
    }
    const { old, window } = this, first = old.firstElementChild ?? window.firstElementChild;
    if (this.chosen) this.caption.textContent = this.chosen.getAttribute("aria-label");
    else if (first) {
      const recalled = old.querySelectorAll("[data-place=recalled]").length;
      this.caption.textContent = `${old.children.length} in long-term memory, ${recalled} of them heard now · ${window.children.length} in the window · back to ${age(now - first.born)} ago`;
    } else this.caption.textContent = "";
  }
}

/** Make a list's children these, touching only what differs, so that what stays neither blinks nor loses focus. */
function arrange(list, wanted) {
  for (const child of [...list.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((element, i) => list.children[i] !== element && list.insertBefore(element, list.children[i] ?? null));
  list.style.flexGrow = Math.max(1, wanted.length);
}

function age(ms) {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 60 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")} min`;
}
