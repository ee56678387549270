// Where else a session can be heard and turned: one row for each address, with a button that copies it.

const COPIED_MS = 1200;

/** The rows of a session's `urls`. keyed: whether this server asks for its key. */
export function addresses(urls, session, keyed) {
  const header = keyed ? ' -H "Authorization: Bearer $KEY"' : "";
  const api = `curl -X PATCH ${location.origin}/v1/sessions/${session}${header} -d '{"change_now":true}'`;
  const { ogg, mp3, wav, flac } = urls.audio;
  return Object.entries({ OBS: urls.obs, Opus: ogg, MP3: mp3, WAV: wav, FLAC: flac, API: api }).map(row);
}

function row([name, text]) {
  const made = Object.assign(document.createElement("div"), { className: "address" });
  const label = Object.assign(document.createElement("span"), { textContent: name });
  const code = Object.assign(document.createElement("code"), { textContent: text, title: text });
  const copy = Object.assign(document.createElement("button"), { textContent: "Copy" });
  copy.setAttribute("aria-label", `Copy the ${name} address`);
  copy.onclick = async () => {
    await (navigator.clipboard?.writeText(text) ?? copySelected(code)); // a page by http has no clipboard
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), COPIED_MS);
  };
  made.append(label, code, copy);
  return made;
}

function copySelected(element) {
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
}
