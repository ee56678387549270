// How a page is pressed: buttons that are of no use now, single keys, and the key of a server that asks for one.

const $ = (id) => document.getElementById(id);

/** A button that is of no use now keeps the focus, so none is `disabled`. live: whether these buttons are of use. */
export function enable(ids, live) {
  for (const id of ids) $(id).setAttribute("aria-disabled", !live);
}
document.addEventListener("click", (event) => event.target.closest("[aria-disabled=true]") && event.stopPropagation(), true);

/** keys: what each does, by its name in small letters. They can be turned off at the foot of the page. */
export function shortcuts(keys) {
  $("shortcuts").checked = localStorage.getItem("shortcuts") !== "off";
  $("keys").hidden = !$("shortcuts").checked;
  $("shortcuts").onchange = () => {
    localStorage.setItem("shortcuts", $("shortcuts").checked ? "on" : "off");
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
      if (given) sessionStorage.setItem("key", given);
      done(given);
    };
    dialog.onclose = () => done("");
    $("apikey").value = "";
    dialog.showModal();
  });
}
