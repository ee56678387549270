// @cuestream/client: what a program uses, and the parts for those who bring their own transport, player or pictures.

export * from "./protocol.js";
export { ClientError, Closed, ProtocolError, Refused, TooMuch, Unreachable, Unsupported } from "./errors.js";
export { Client, type ClientOptions, type Events, type LineState, type Stats } from "./client.js";
export { PATIENCE, type Patience } from "./closes.js";
export type { Next } from "./comeback.js";
export { JitterBuffer, COMFORT, type Comfort, type Played, type Stretch } from "./jitterbuffer.js";
export { decodeMedia, encodeMedia, type Media, type Size, type Source as MusicSource } from "./media.js";
export type { Chunk } from "./music.js";
export { MusicPlayer, type PlayerOptions } from "./player.js";
export { createSession, type Invitation } from "./rest.js";
export { Session, type Picture, type Playout, type SessionOptions } from "./session.js";
export type { Shown } from "./easel.js";
export { Shutter, type ShutterOptions, type Subject } from "./shutter.js";
export { camera, hide, screen, show } from "./sources.js";
export { keepTicket, savedTicket, type Ticket } from "./ticket.js";
export { RtcTransport, type RtcOptions } from "./rtctransport.js";
export type { Line, LineEnd, Receiver, Transport, Where } from "./transport.js";
export { WhepPlayer, type WhepOptions } from "./whep.js";
export { WsTransport } from "./wstransport.js";
