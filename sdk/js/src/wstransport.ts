// Everything over one websocket: JSON as text, media as binary messages.

import { BROKEN } from "./closes.js";
import { ClientError, Unsupported } from "./errors.js";
import { SUBPROTOCOL } from "./protocol.js";
import { across } from "./rest.js";
import type { Line, Receiver, Transport, Where } from "./transport.js";

const CONNECT_MS = 10_000;
/** The HTTP status with which a server of ours refuses another's subprotocol. */
const OTHER = 400;

export class WsTransport implements Transport {
  readonly carriesMedia = true;

  /** Throws Unsupported. */
  constructor() {
    if (!globalThis.WebSocket) throw new Unsupported("there is no WebSocket here; Node has one from Node 22 on");
  }

  /** Throws Unsupported where the browser lets this page not ask that server (Firefox says only that it is "insecure"), ClientError
   * for what is no websocket's address. */
  open(where: Where, receiver: Receiver): Line {
    try {
      return new WsLine(where, receiver);
    } catch (error) {
      const { name, message } = error as Error;
      if (name === "SecurityError") throw new Unsupported(`${where.url}: ${message}${across(where.url)}`);
      throw name === "SyntaxError" ? new ClientError(`${where.url}: ${message}`) : error;
    }
  }
}

class WsLine implements Line {
  private readonly socket: WebSocket;
  private readonly patience: ReturnType<typeof setTimeout>;
  private stood = false;
  private over = false;

  constructor(
    { url, token }: Where,
    private readonly receiver: Receiver,
  ) {
    this.socket = new WebSocket(url, token ? [SUBPROTOCOL, `cuestream.token.${token}`] : [SUBPROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.opened();
    this.socket.onmessage = ({ data }) => this.over || receiver.received(data as string | ArrayBuffer);
    this.socket.onclose = ({ code, reason }) => this.closed(code, reason);
    this.patience = setTimeout(() => this.close(BROKEN), CONNECT_MS);
  }

  get bufferedBytes(): number {
    return this.socket.bufferedAmount;
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(data);
  }

  close(code: number): void {
    if (code === 1000 || code >= 3000) this.socket.close(code);
    else this.socket.close(); // a page may say nothing else
    this.closed(code, "");
  }

  private opened(): void {
    if (this.over) return;
    if (this.socket.protocol !== SUBPROTOCOL) return this.other();
    clearTimeout(this.patience);
    this.stood = true;
    this.receiver.opened();
  }

  /** What opened is no server of ours; browsers close most of those themselves, and tell a page no more than that. */
  private other(): void {
    this.socket.close();
    this.closed(BROKEN, `${this.socket.url}: not a server of ${SUBPROTOCOL}`, OTHER);
  }

  private closed(code: number, reason: string, status?: number): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.patience);
    this.receiver.closed({ code, reason, stood: this.stood, status });
  }
}
