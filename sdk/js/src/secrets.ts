// What is shown of what was said: errors and reasons reach logs, and what they quote may hold keys.

/** What to hide, and what stands there then: `$1` is what comes before it. */
const HIDDEN: readonly (readonly [RegExp, string])[] = [
  [/([a-z][a-z\d+.-]*:\/\/)[^\s/?#"'<>]*@/gi, "$1…@"], // name and password of an address
  [/([a-z][a-z\d+.-]*:\/\/[^\s?#"'<>]*[?#])[^\s"'<>]*[^\s"'<>.,:;)]/gi, "$1…"], // its query: signed ones have a key there
  [/([?&#][\w.~-]+=)[^\s&#"'<>]+/g, "$1…"], // of an address without a host
  [/(\bbearer\s+)[^\s"'<>]+/gi, "$1…"],
  [/(\bcuestream\.token\.)[^\s"'<>,]+/gi, "$1…"],
];

/** The text without names, passwords and queries of addresses, and without tokens. */
export function withoutSecrets(text: string): string {
  return HIDDEN.reduce((shown, [secret, instead]) => shown.replace(secret, instead), text);
}
