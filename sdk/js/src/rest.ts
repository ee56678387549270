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
  const answer = await ask(new URL("v1/sessions", serverAt(server)), { method: "POST", headers: bearing(key), body });
  return (await answer.json()) as Invitation;
}

/** A server's address with a slash at its end; in a page it may be relative. Throws ClientError for what is none. */
export function serverAt(server: string): string {
  let url: URL | null = null;
  try {
    url = new URL(server, globalThis.location?.href);
  } catch {} // said below
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new ClientError(`an address such as http://host:8765 was expected, found "${server}"`);
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

/** The headers of who has a token. */
export function bearing(token: string | null | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** How long a request waits for its answer. */
export const ANSWER_MS = 10_000;

/** Throws Refused or Unreachable. */
export async function ask(url: URL | string, request: RequestInit, answerMs = ANSWER_MS): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, { ...request, signal: AbortSignal.timeout(answerMs) });
  } catch (error) {
    const late = (error as Error).name === "TimeoutError";
    throw new Unreachable(`${url}: ${late ? `no answer within ${answerMs / 1000} s` : (error as Error).message}${across(url)}`);
  }
  if (answer.ok) return answer;
  const after = Number(answer.headers.get("retry-after")) * 1000;
  throw new Refused(answer.status, await said(url, answer), after > 0 ? after : undefined);
}

/** What may have kept a page of another site out: the browser tells it nothing of a refusal. */
export function across(url: URL | string): string {
  const here = globalThis.location as Location | undefined;
  if (!here || new URL(url, here.href).host === here.host) return "";
  return `; is a server there, and was it started with --origin ${here.origin}?`;
}

/** The server's own words, or what else answered there. */
async function said(url: URL | string, answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return (JSON.parse(text) as { error: { text: string } }).error.text;
  } catch {
    const line = text.split("\n", 1)[0];
    return `${url} answered HTTP ${answer.status}${line && `: ${line}`}`;
  }
}
