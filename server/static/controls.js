// What can be turned, shown as it holds, and sent when somebody turns it; before a session it is kept for it. A page may have more
// elements than those made here: each turns the setting that it is named after.

const $ = (id) => document.getElementById(id);
const SLIDERS = {
  gain_db: (v) => `${v > 0 ? "+" : ""}${v.toFixed(1)} dB`,
  guidance: (v) => v.toFixed(1),
  temperature: (v) => v.toFixed(2),
  energy: (v) => (v ? `${v > 0 ? "+" : "−"}${Math.abs(v).toFixed(2)}` : "as the picture"),
  short_term_s: (v) => `${v.toFixed(1)} s`,
  top_k: (v) => (v ? v.toFixed(0) : "off"),
  top_p: (v) => (v ? v.toFixed(2) : "off"),
  fade_ms: (v) => `${v} ms`,
  "duck.threshold_db": (v) => `${v.toFixed(0)} dB`,
  "duck.depth_db": (v) => `${v.toFixed(0)} dB`,
  "duck.attack_ms": (v) => `${v} ms`,
  "duck.release_ms": (v) => `${v} ms`,
};
const SWITCHES = ["mute", "hold_scene", "duck.enabled"];
const WAIT_MS = 120; // a slider is sent so long after its last move
const MARKUP = `
<div class="group">
  <h2>Mix</h2>
  <div class="slider"><label for="gain_db">Gain</label><output id="gain_db_out" for="gain_db" aria-hidden="true"></output><input type="range" id="gain_db" min="-40" max="12" step="0.5"></div>
  <div class="row">
    <label class="switch" title="Silence for everybody who hears this session, OBS too (M)"><input type="checkbox" id="mute" aria-keyshortcuts="M"><span></span>Mute</label>
    <label class="switch" title="Off: this tab is silent, and OBS and other players go on. For who would hear the music twice"><input type="checkbox" id="here" checked><span></span>Play in this tab</label>
  </div>
</div>
<div class="group">
  <h2>Scene</h2>
  <div class="row tight">
    <button id="change" class="wide accent" aria-disabled="true" aria-keyshortcuts="C" title="Answer what is shown now, as at a cut (C)">Change now</button>
    <button id="reset" class="wide" aria-disabled="true" aria-keyshortcuts="N" title="Other music from here on, crossfaded (N)">New music</button>
  </div>
  <div class="row apart">
    <fieldset class="tabs small" id="cuts">
      <legend>At a cut</legend>
      <label title="A cut means nothing"><input type="radio" name="cut_response" value="ignore"><span>Ignore</span></label>
      <label title="The old scene fades out of the music"><input type="radio" name="cut_response" value="gentle"><span>Gentle</span></label>
      <label title="The music turns to the new scene at once"><input type="radio" name="cut_response" value="follow"><span>Follow</span></label>
    </fieldset>
    <label class="switch" title="The music stays with this scene; newer pictures are not looked at (H)"><input type="checkbox" id="hold_scene" aria-keyshortcuts="H"><span></span>Hold scene</label>
  </div>
</div>
<div class="group">
  <h2>Music</h2>
  <div class="slider" data-of="energy"><label for="energy">Energy <small>calmer or livelier than the picture</small></label><output id="energy_out" for="energy" aria-hidden="true"></output><input type="range" id="energy" min="-1" max="1" step="0.05"></div>
  <div class="slider" data-of="guidance"><label for="guidance">Guidance <small>how firmly it follows the picture</small></label><output id="guidance_out" for="guidance" aria-hidden="true"></output><input type="range" id="guidance" min="1.1" max="8" step="0.1"></div>
  <div class="slider" data-of="temperature"><label for="temperature">Temperature <small>how freely it plays</small></label><output id="temperature_out" for="temperature" aria-hidden="true"></output><input type="range" id="temperature" min="0.1" max="2" step="0.05"></div>
  <div class="slider" data-of="short_term_s"><label for="short_term_s">Window <small>how long a scene sounds on</small></label><output id="short_term_s_out" for="short_term_s" aria-hidden="true"></output><input type="range" id="short_term_s" min="0.5" max="30" step="0.5"></div>
  <div class="row tight fields">
    <div class="field" data-of="key"><label for="tonality">Key</label><select id="tonality" title="The music keeps to the notes of this key"><option value="seed">As the seed chooses</option><option value="free">Free, may wander</option><option value="C">C major, A minor</option><option value="Db">D♭ major, B♭ minor</option><option value="D">D major, B minor</option><option value="Eb">E♭ major, C minor</option><option value="E">E major, C♯ minor</option><option value="F">F major, D minor</option><option value="Gb">G♭ major, E♭ minor</option><option value="G">G major, E minor</option><option value="Ab">A♭ major, F minor</option><option value="A">A major, F♯ minor</option><option value="Bb">B♭ major, G minor</option><option value="B">B major, G♯ minor</option></select></div>
    <div class="field seed"><label for="seed">Seed</label><input type="number" id="seed" title="The same seed plays the same music for the same pictures" min="0" max="9007199254740991" step="1"><button id="dice" title="Another seed" aria-label="Draw another seed">⚄</button></div>
  </div>
</div>
`;

export class Controls {
  /** section: is filled. config: of a player that nobody turned. client: gives that of the session, or null. */
  constructor(section, config, client) {
    section.innerHTML = MARKUP;
    this.untouched = flat(config);
    this.client = client;
    this.sliders = Object.keys(SLIDERS).filter($);
    this.switches = SWITCHES.filter($);
    this.waiting = {}; // to be sent
    this.timer = null;
    for (const name of this.sliders) {
      $(name).oninput = () => {
        showSlider(name, Number($(name).value));
        this.turn({ [name]: Number($(name).value) });
      };
    }
    for (const name of this.switches) $(name).onchange = () => this.turn({ [name]: $(name).checked });
    $("cuts").onchange = ({ target }) => this.turn({ cut_response: target.value });
    $("tonality").onchange = () => this.turn({ key: $("tonality").value });
    $("seed").onchange = () => this.turnSeed(Number($("seed").value));
    $("dice").onclick = () => this.turnSeed(anotherSeed());
    this.hold(config);
  }

  /** The server's word. */
  hold(config) {
    this.config = flat(config);
    if (!this.timer) this.show();
  }

  /** What was chosen before the session, where it differs from how the player plays by itself. */
  get chosen() {
    const all = Object.entries({ ...this.config, ...this.waiting });
    return nested(Object.fromEntries(all.filter(([name, value]) => value !== this.untouched[name])));
  }

  show() {
    const { config } = this;
    for (const name of this.sliders) showSlider(name, config[name]);
    for (const name of this.switches) $(name).checked = config[name];
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
      if (client) client.update(nested(waiting));
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

/** For other music: the same seed plays the same music for the same pictures. */
export function anotherSeed() {
  return Math.floor(Math.random() * 1e6);
}

/** Settings that the player heeds are shown, wherever on the page they are, and what else is about them. */
export function heed(follows) {
  for (const part of document.querySelectorAll("[data-of]")) part.hidden = !follows.includes(part.dataset.of);
}

/** {duck: {depth_db}} as {"duck.depth_db"}, and the other way round. */
function flat(config) {
  const parts = Object.entries(config.duck).map(([name, value]) => [`duck.${name}`, value]);
  const { duck, ...all } = config;
  return { ...all, ...Object.fromEntries(parts) };
}

function nested(settings) {
  const found = {};
  for (const [name, value] of Object.entries(settings)) {
    const [first, part] = name.split(".");
    if (part) found[first] = { ...found[first], [part]: value };
    else found[first] = value;
  }
  return found;
}
