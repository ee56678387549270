// What a page needs to go on with a session that it had before it was reloaded, and where it keeps that.

import type { AudioFormat } from "./protocol.js";
import type { Invitation } from "./rest.js";

/** handle: opaque, the server's. untilMs: when it is too old, on the clock that zeroMs is on. zeroMs: of the capture times.
 * plays: whether music was asked for. */
export interface Ticket {
  readonly handle: string;
  readonly url: string;
  readonly id: string;
  readonly zeroMs: number;
  readonly untilMs: number;
  readonly played: number;
  readonly audio: AudioFormat;
  readonly plays: boolean;
  readonly urls?: Invitation["urls"];
}

/** Something that has a ticket and says when there is a newer one: a Client. */
export interface TicketHolder {
  readonly ticket: Ticket | null;
  on(type: "resume.handle" | "line", listener: () => void): () => void;
}

const NAME = "cuestream.ticket";

/** The ticket that `keepTicket` left, null when there is none or it is too old, or the browser keeps nothing. storage: the tab's when
 * left out. */
export function savedTicket(storage?: Storage): Ticket | null {
  try {
    const ticket = JSON.parse((storage ?? sessionStorage).getItem(NAME) ?? "null") as Ticket | null;
    return ticket && ticket.untilMs > performance.timeOrigin + performance.now() ? ticket : null;
  } catch {
    return null; // somebody else's
  }
}

/** Keep a client's ticket where the same tab finds it again after a reload; it is gone when the session is over. Returns a
 * function that ends this and forgets the ticket. */
export function keepTicket(client: TicketHolder, storage?: Storage): () => void {
  const save = () => put(client.ticket, storage);
  const ends = [client.on("resume.handle", save), client.on("line", save)];
  addEventListener("pagehide", save);
  return () => {
    for (const end of ends) end();
    removeEventListener("pagehide", save);
    put(null, storage);
  };
}

/** A browser that blocks all cookies throws when it is asked for its storage, and keeps nothing. */
function put(ticket: Ticket | null, storage?: Storage): void {
  try {
    const kept = storage ?? sessionStorage;
    if (ticket) kept.setItem(NAME, JSON.stringify(ticket));
    else kept.removeItem(NAME);
  } catch {
    // then a reload begins another session
  }
}
