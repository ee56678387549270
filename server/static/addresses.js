// Where else a session can be heard and turned: one row for each address, with a button that copies it.

const COPIED_MS = 1200;
const NAME = /^[\w-]{1,64}$/;

/** What is wrong with an address of a page, "" where it names a session that there can be. */
export function unnamed(page, session) {
  return NAME.test(session) ? "" : `The address needs a session's name, of at most 64 letters, digits, - and _: ${page}?session=NAME`;
}

/** What is shown of a session's `urls`: that for OBS, the others where somebody wants them. keyed: whether this server asks for its
 * key. say: has words read out. */
export function addresses(urls, session, keyed, say) {
  const header = keyed ? ' -H "Authorization: Bearer $CUESTREAM_API_KEY"' : "";
  const api = `curl -X PATCH ${location.origin}/v1/sessions/${session}${header} -d '{"change_now":true}'`;
  const { ogg, mp3, wav, flac } = urls.audio;
  const others = { Opus: ogg, MP3: mp3, WAV: wav, FLAC: flac, Dock: urls.control, API: api };
  const hint = made("p", { className: "dim", textContent: "In OBS add a Browser Source with this address, and tick “Control audio via OBS”." });
  const more = made("details", {});
  more.append(made("summary", { textContent: "VLC, mpv and programs" }));
  more.append(...Object.entries(others).map(([name, text]) => row(name, text, say)));
  return [row("OBS", urls.obs, say), hint, more];
}

function made(kind, about) {
  return Object.assign(document.createElement(kind), about);
}

function row(name, text, say) {
  const one = made("div", { className: "address" });
  const code = made("code", { textContent: text, title: text });
  const copy = made("button", { textContent: "Copy", ariaLabel: `Copy the ${name} address` });
  copy.onclick = async () => {
    await (navigator.clipboard?.writeText(text) ?? copySelected(code)); // a page by http has no clipboard
    copy.textContent = "Copied";
    say(`Copied the ${name} address`);
    setTimeout(() => ((copy.textContent = "Copy"), say("")), COPIED_MS);
  };
  one.append(made("span", { textContent: name }), code, copy);
  return one;
}

function copySelected(element) {
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
}
