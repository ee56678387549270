// A session is made by REST before it is talked to: the answer has a secret that opens it once, and where to go with it.

import { Refused, Unreachable } from "./errors.js";

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
    /** The page for OBS's browser source. */
    readonly obs?: string;
  };
  readonly resume_window_s: number;
  readonly model: string;
  readonly label: string;
}

/** POST /v1/sessions at a server. key: its API key, which belongs on a backend, or in a page that only its owner opens.
 * name: of the session; the server names it when left out.
 * Throws Refused with the server's own words, Unreachable when nobody answers. */
export async function createSession(server: string, key?: string, name?: string | null): Promise<Invitation> {
  const body = name ? JSON.stringify({ session_id: name }) : null;
  const answer = await ask(new URL("v1/sessions", withSlash(server)), { method: "POST", headers: bearing(key), body });
  return (await answer.json()) as Invitation;
}

/** The headers of who has a token. */
export function bearing(token: string | null | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Throws Refused or Unreachable. */
export async function ask(url: URL | string, request: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, request);
  } catch (error) {
    throw new Unreachable(`${url}: ${(error as Error).message}`);
  }
  if (answer.ok) return answer;
  const after = Number(answer.headers.get("retry-after")) * 1000;
  throw new Refused(answer.status, await said(answer), after > 0 ? after : undefined);
}

async function said(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return (JSON.parse(text) as { error: { text: string } }).error.text;
  } catch {
    return text.split("\n", 1)[0] || `the server answered HTTP ${answer.status}`;
  }
}

function withSlash(server: string): string {
  const url = new URL(server, globalThis.location?.href);
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}
