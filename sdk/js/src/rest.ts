// A session is made by REST before it is talked to: the answer has a secret that opens it once, and where to go with it.

import { ClientError, Refused, Unreachable } from "./errors.js";

/** What POST /v1/sessions answers, as far as a client needs it. */
export interface Invitation {
  readonly session_id: string;
  readonly client_secret: { readonly value: string; readonly expires_s: number };
  readonly urls: {
    readonly ws: string;
    /** Endless sound of the session, by format: ogg, mp3, wav, flac. */
    readonly audio: Readonly<Record<string, string>>;
    /** For WebRTC, where the server has it. */
    readonly offer?: string;
    readonly whip?: string;
    /** For a `WhepPlayer`. */
    readonly whep?: string;
    /** The page for OBS's browser source. */
    readonly obs?: string;
    /** The page that turns the session: a dock in OBS, a phone. */
    readonly control?: string;
  };
  readonly resume_window_s: number;
  readonly model: string;
  readonly label: string;
}

/** POST /v1/sessions at a server. key: its API key, which belongs on a backend, or in a page that only its owner opens.
 * name: of the session; the server names it when left out.
 * Throws Refused with the server's own words, Unreachable when nobody answers, ClientError for what is no address. */
export async function createSession(server: string, key?: string, name?: string | null): Promise<Invitation> {
  const body = name ? JSON.stringify({ session_id: name }) : null;
  const url = new URL("v1/sessions", serverAt(server));
  const { text, status } = await ask(url, { method: "POST", headers: bearing(key), body });
  const made = parsed(text) as Invitation | null;
  if (isInvitation(made)) return made;
  throw unlike(url, status);
}

/** Whether it is what POST /v1/sessions answers. */
export function isInvitation(answer: Partial<Invitation> | null | undefined): answer is Invitation {
  return typeof answer?.client_secret?.value === "string" && typeof answer.urls?.ws === "string";
}

/** A server's address with a slash at its end; in a page it may be relative. Throws ClientError for what is none. */
export function serverAt(server: string): string {
  const url = addressOf(server, globalThis.location?.href);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new ClientError(`an address such as http://host:8765 was expected, found "${server}"`);
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

/** Null for what is no address. */
export function addressOf(text: string, base?: string): URL | null {
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
}

/** What a server takes as a key. */
const TOKEN = /^[!-~]([ -~]*[!-~])?$/;

/** The headers of who has a token. Throws ClientError for what is none: a browser would quote it in its own error. */
export function bearing(token: string | null | undefined): Record<string, string> {
  if (!token) return {};
  if (!TOKEN.test(token)) throw new ClientError("a token is ASCII, without a space at its ends or the end of a line; this one is not");
  return { authorization: `Bearer ${token}` };
}

/** How long a request waits for its answer. */
export const ANSWER_MS = 10_000;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** The whole answer. Throws Refused or Unreachable. */
export async function ask(url: URL | string, request: RequestInit, answerMs = ANSWER_MS): Promise<Answer> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), answerMs);
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, { ...request, signal: patience.signal });
    text = await answer.text();
  } catch (error) {
    const why = patience.signal.aborted ? `no answer within ${answerMs / 1000} s` : (error as Error).message;
    throw new Unreachable(`${url}: ${why}${across(url)}`);
  } finally {
    clearTimeout(timer);
  }
  const { ok, status, statusText, headers } = answer;
  if (ok) return { status, headers, text };
  const pauseMs = retryAfterMs(headers);
  const { error } = (parsed(text) ?? {}) as { error?: { code?: string; text?: unknown } };
  if (typeof error?.text === "string") throw new Refused(status, error.text, pauseMs, error.code);
  throw new Refused(status, `${url} ${strange(status, statusText, text)}`, pauseMs);
}

/** How long an answer asks to be left alone; undefined where it does not say. A date is taken by the answer's own clock where that is
 * known (RFC 9110, 10.2.3). */
export function retryAfterMs(headers: Headers): number | undefined {
  const after = headers.get("retry-after") ?? "";
  if (/^\d+$/.test(after)) return Number(after) * 1000;
  const until = dated(after);
  return until === null ? undefined : Math.max(0, until - (dated(headers.get("date") ?? "") ?? Date.now()));
}

/** A date of HTTP, milliseconds; null for what is none. */
function dated(text: string): number | null {
  const at = / GMT$/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

/** The error of an answer that says yes, and is not what was asked for: another program is there, or answers every address. */
export function unlike(url: URL | string, status: number): Refused {
  return new Refused(status, `${url} answered, but not as a Cuestream server does; is one there?`);
}

/** Null where it is no JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Of what others say, characters. */
const MOST_QUOTED = 120;

/** What is said of a refusal that is not a Cuestream server's. A page for people is not quoted: it repeats the status. */
function strange(status: number, reason: string, text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  const cut = line.length > MOST_QUOTED ? `${line.slice(0, MOST_QUOTED)}…` : line;
  const quoted = /^[^<\p{Cc}][^\p{Cc}]*$/u.test(cut) && line !== reason ? `: "${cut}"` : "";
  return `answered HTTP ${status}${reason && ` ${reason}`}, not in a Cuestream server's words; perhaps a proxy before it did${quoted}`;
}

/** Addresses of this machine, which Chromium and Firefox let a page on https ask by http. */
const LOOPBACK = /^(localhost|.+\.localhost|127\.[\d.]+|\[::1\])$/;

/** What may have kept a page out: the browser tells it nothing of a refusal, of the server's or of its own. */
export function across(url: URL | string): string {
  const here = globalThis.location as Location | undefined;
  if (!here) return "";
  const there = new URL(url, here.href);
  const plain = here.protocol === "https:" && /^(http|ws):$/.test(there.protocol);
  if (plain && !LOOPBACK.test(there.hostname)) return "; browsers let a page on https ask servers on https only (mixed content)";
  if (there.host === here.host) return "";
  const safari = plain ? " Safari lets a page on https ask servers on https only." : "";
  return `; is a server there, and was it started with --origin ${here.origin}?${safari}`;
}
