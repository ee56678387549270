// How a page is pressed: buttons that are of no use now, single keys, and the key of a server that asks for one.

import { browser, tab } from "./kept.js";
import { calm } from "./said.js";

const $ = (id) => document.getElementById(id);

/** A button that is of no use now keeps the focus, so none is `disabled`. live: whether these buttons are of use. */
export function enable(ids, live) {
  for (const id of ids) $(id).setAttribute("aria-disabled", !live);
}
document.addEventListener("click", (event) => event.target.closest("[aria-disabled=true]") && event.stopPropagation(), true);

const PRESSED = { " ": "pause", c: "change", n: "reset", h: "hold_scene", m: "mute", r: "record" };

/** Single keys, by their names in small letters, which can be turned off at the foot of the page. own: those that press a button of
 * this page alone. */
export function shortcuts(controls, own = {}) {
  const press = (id) => () => $(id).hidden || $(id).click();
  const keys = { "+": () => controls.nudge(1), "-": () => controls.nudge(-1), escape: () => calm() };
  for (const [name, id] of Object.entries({ ...PRESSED, ...own })) keys[name] = press(id);
  $("shortcuts").checked = browser.get("shortcuts") !== "off";
  $("keys").hidden = !$("shortcuts").checked;
  $("shortcuts").onchange = () => {
    browser.set("shortcuts", $("shortcuts").checked ? "on" : "off");
    $("keys").hidden = !$("shortcuts").checked;
  };
  addEventListener("keydown", (event) => {
    const { target } = event, key = event.key.toLowerCase();
    const typing = $("keydialog").open || target.matches("input[type=number], input[type=text], input[type=password], select");
    const pressing = (key === " " && target.matches("button, input, summary")) || (key === "enter" && target !== document.body);
    if (event.ctrlKey || event.metaKey || event.altKey || typing || pressing || !$("shortcuts").checked || !(key in keys)) return;
    event.preventDefault();
    if (!event.repeat || key === "+" || key === "-") keys[key]();
  });
}

/** Empty where none is given. */
export function askKey() {
  const dialog = $("keydialog");
  return new Promise((done) => {
    $("keyform").onsubmit = ({ submitter }) => { // not once it is closed: for Safari that is no answer to the click any more
      const given = submitter.value && $("apikey").value;
      if (given) tab.set("key", given);
      done(given);
    };
    dialog.onclose = () => done("");
    $("apikey").value = "";
    dialog.showModal();
  });
}
