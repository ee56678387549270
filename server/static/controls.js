// What can be turned, shown as it holds, and sent when somebody turns it; before a session it is kept for it.

const $ = (id) => document.getElementById(id);
const SLIDERS = {
  gain_db: (v) => `${v > 0 ? "+" : ""}${v.toFixed(1)} dB`,
  guidance: (v) => v.toFixed(1),
  temperature: (v) => v.toFixed(2),
  energy: (v) => (v ? `${v > 0 ? "+" : "−"}${Math.abs(v).toFixed(2)}` : "as the picture"),
  short_term_s: (v) => `${v.toFixed(1)} s`,
};
const SWITCHES = ["mute", "hold_scene"];
const WAIT_MS = 120; // a slider is sent so long after its last move

export class Controls {
  /** config: of a player that nobody turned. client: gives that of the session, or null. */
  constructor(config, client) {
    this.untouched = config;
    this.client = client;
    this.waiting = {}; // to be sent
    this.timer = null;
    for (const name of Object.keys(SLIDERS)) {
      $(name).oninput = () => {
        showSlider(name, Number($(name).value));
        this.turn({ [name]: Number($(name).value) });
      };
    }
    for (const name of SWITCHES) $(name).onchange = () => this.turn({ [name]: $(name).checked });
    $("cuts").onchange = ({ target }) => this.turn({ cut_response: target.value });
    $("tonality").onchange = () => this.turn({ key: $("tonality").value });
    $("seed").onchange = () => this.turnSeed(Number($("seed").value));
    $("dice").onclick = () => this.turnSeed(Math.random() * 1e6);
    this.hold(config);
  }

  /** The server's word. */
  hold(config) {
    this.config = { ...config };
    if (!this.timer) this.show();
  }

  /** What was chosen before the session, where it differs from how the player plays by itself. */
  get chosen() {
    const all = Object.entries({ ...this.config, ...this.waiting });
    return Object.fromEntries(all.filter(([name, value]) => name !== "duck" && value !== this.untouched[name]));
  }

  show() {
    const { config } = this;
    for (const name of Object.keys(SLIDERS)) showSlider(name, config[name]);
    for (const name of SWITCHES) $(name).checked = config[name];
    $("seed").value = config.seed;
    $("tonality").value = config.key;
    for (const input of $("cuts").querySelectorAll("input")) input.checked = input.value === config.cut_response;
  }

  /** Changes that were made together go together. */
  turn(patch) {
    Object.assign(this.waiting, patch);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const client = this.client(), { waiting } = this;
      this.timer = null;
      this.waiting = {};
      if (client) client.update(waiting);
      else Object.assign(this.config, waiting);
    }, WAIT_MS);
  }

  turnSeed(wanted) {
    const seed = Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.floor(wanted)));
    $("seed").value = seed;
    this.turn({ seed });
  }

  /** Louder or quieter, by dB. */
  nudge(by) {
    $("gain_db").value = Number($("gain_db").value) + by;
    $("gain_db").oninput();
  }
}

function showSlider(name, value) {
  const input = $(name);
  input.value = value;
  input.style.setProperty("--done", `${(100 * (input.value - input.min)) / (input.max - input.min)}%`);
  input.setAttribute("aria-valuetext", SLIDERS[name](value));
  $(`${name}_out`).textContent = SLIDERS[name](value);
}
