// The small parts: music as it is placed, the gate of pictures, clocks, listeners.

import { describe, expect, test, vi } from "vitest";
import type { Client } from "../src/client.js";
import { ClockSync } from "../src/clocksync.js";
import { fitted } from "../src/easel.js";
import { Emitter } from "../src/emitter.js";
import { Closed } from "../src/errors.js";
import { Gate } from "../src/gate.js";
import type { Media } from "../src/media.js";
import { Music } from "../src/music.js";
import { FLAG, KIND, STREAM } from "../src/protocol.js";
import { across, ask, createSession, retryAfterMs } from "../src/rest.js";
import { Shutter } from "../src/shutter.js";
import { keepTicket, savedTicket, type Ticket } from "../src/ticket.js";

function message(seq: number, first: number, values: number[], flags = 0): Media {
  const payload = new Uint8Array(Int16Array.from(values).buffer);
  const about = { window: 0, source: null, size: null };
  return { kind: KIND.PCM_S16, flags, stream: STREAM.MUSIC, seq, ts: first, dur: values.length / 2, payload, ...about };
}

describe("music", () => {
  const stereo = () => new Music(1, { codec: "pcm_s16", sample_rate: 48_000, channels: 2 });

  test("what is known already is cut off, of both channels", () => {
    const music = stereo();
    music.add(message(0, 0, [0, 0, 16384, -16384]));
    const chunk = music.add(message(1, 1, [16384, -16384, 8192, -8192]))!;
    expect(chunk).toMatchObject({ first: 2, end: 3 });
    expect([...chunk.samples]).toEqual([0.25, -0.25]);
    expect(music.add(message(2, 0, [1, 1]))).toBeNull();
    expect(music).toMatchObject({ receivedThrough: 3, repeatedSamples: 2, skippedSamples: 0 });
  });

  test("a message that is not newer is left alone, until the line is another one", () => {
    const music = stereo();
    music.add(message(7, 0, [1, 1]));
    expect(music.add(message(7, 1, [1, 1]))).toBeNull();
    expect(music.staleMessages).toBe(1);
    music.reconnected();
    expect(music.add(message(0, 1, [1, 1]))).not.toBeNull();
  });

  test("what was looped is counted, and the end is seen", () => {
    const music = stereo();
    expect(music.add(message(0, 0, [1, 1, 2, 2], FLAG.CONCEALED))!.concealed).toBe(true);
    expect(music.concealedSamples).toBe(2);
    music.add({ ...message(1, 2, []), flags: FLAG.END });
    expect(music.ended).toBe(true);
  });

  test("what was not agreed on is refused", () => {
    expect(() => stereo().add({ ...message(0, 0, [1, 1]), kind: KIND.OPUS })).toThrow("unsupported_codec");
    expect(() => stereo().add({ ...message(0, 0, [1, 1]), dur: 2 })).toThrow("channels");
    expect(() => stereo().add({ ...message(0, 0, [1, 1]), stream: STREAM.ORIGINAL })).toThrow("the other way");
  });
});

describe("pictures", () => {
  test("as many a second as are wanted, also when frames come out of step with that", () => {
    const gate = new Gate();
    let passed = 0;
    for (let frame = 0; frame < 300; frame++) passed += gate.passes((frame * 1e6) / 30, 8) ? 1 : 0;
    expect(Math.abs(passed - 80)).toBeLessThanOrEqual(1);
  });

  test("after a pause there is no burst", () => {
    const gate = new Gate();
    gate.passes(0, 8);
    expect([5e6, 5.01e6, 5.02e6, 5.13e6].map((at) => gate.passes(at, 8))).toEqual([true, false, false, true]);
  });

  test.each([
    [1920, 1080, { width: 320, height: 180 }],
    [1080, 1920, { width: 180, height: 320 }],
    [100, 50, { width: 100, height: 50 }],
    [4000, 1, { width: 320, height: 1 }],
  ])("%i by %i keeps its shape", (width, height, size) => expect(fitted(width, height, 320)).toEqual(size));
});

test("the shortest round trip of the last minute says how far the clocks are apart", () => {
  const sync = new ClockSync();
  expect(sync.best).toBeNull();
  sync.pong(0, 1_000_050, 200);
  sync.pong(1000, 1_001_050, 1100);
  sync.pong(2000, 1_002_500, 3000);
  expect(sync.best).toMatchObject({ rttUs: 100, offsetUs: 1_000_000 });
  sync.pong(100_000_000, 101_000_400, 100_000_900);
  expect(sync.best!.rttUs).toBe(900);
});

test("a listener that throws stops no other one, and can be taken off", () => {
  class Bell extends Emitter<{ ring: number }> {
    ring = (times: number) => this.emit("ring", times);
  }
  const bell = new Bell();
  const heard: number[] = [];
  const errors: unknown[] = [];
  vi.stubGlobal("queueMicrotask", (throws: () => void) => errors.push(throws));
  bell.on("ring", () => {
    throw new Error("deaf");
  });
  const end = bell.on("ring", (times) => heard.push(times));
  bell.ring(1);
  end();
  bell.ring(2);
  expect(heard).toEqual([1]);
  expect(errors).toHaveLength(2);
  expect(errors[0]).toThrow("deaf"); // where nobody catches it
  vi.unstubAllGlobals();
});

test("a request that nobody answers is given up, also in the middle of an answer, and where the browser names no reason", async () => {
  const aborted = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))));
  vi.stubGlobal("fetch", (_: string, { signal }: { signal: AbortSignal }) => aborted(signal));
  await expect(ask("http://here/", {}, 20)).rejects.toThrow("http://here/: no answer within 0.02 s");
  vi.stubGlobal("fetch", async (_: string, { signal }: { signal: AbortSignal }) => ({ text: () => aborted(signal) }));
  await expect(ask("http://here/", {}, 20)).rejects.toThrow("http://here/: no answer within 0.02 s");
  vi.unstubAllGlobals();
});

test("who refuses in other words than a server's is named by its address, and quoted where that helps", async () => {
  const said = (body: string, status = 502, statusText = "Bad Gateway") => {
    vi.stubGlobal("fetch", async () => new Response(body, { status, statusText }));
    return ask("http://here/", {}).catch((error: Error) => error);
  };
  const words = "http://here/ answered HTTP 502 Bad Gateway, not in a Cuestream server's words; perhaps a proxy before it did";
  for (const body of ["", "Bad Gateway\n", "\n<html>\n<h1>502 Bad Gateway</h1>", "\x1f\x8b\x08"]) {
    expect(await said(body)).toMatchObject({ message: words, code: 502, word: undefined });
  }
  expect(await said("no healthy\nupstream\n")).toMatchObject({ message: `${words}: "no healthy upstream"` });
  expect(await said('{"error": "x"}')).toMatchObject({ message: `${words}: "{"error": "x"}"` });
  expect(await said("a".repeat(500))).toMatchObject({ message: `${words}: "${"a".repeat(120)}…"` });
  expect(await said("", 404, "")).toMatchObject({ message: words.replace("502 Bad Gateway", "404") }); // HTTP/2 has no reasons
  const ours = await said('{"error": {"code": "session_not_found", "text": "no such session here"}}', 404);
  expect(ours).toMatchObject({ message: "no such session here", code: 404, word: "session_not_found" });
  vi.unstubAllGlobals();
});

test.each(["<!doctype html>", "null", "[]", '{"client_secret": {}}'])("%s is no session that was made", async (body) => {
  vi.stubGlobal("fetch", async () => new Response(body));
  const refused = expect(createSession("http://here")).rejects;
  await refused.toMatchObject({
    name: "Refused",
    message: "http://here/v1/sessions answered, but not as a Cuestream server does; is one there?",
  });
  vi.unstubAllGlobals();
});

test.each(["7", "0", "86400"])("a wait of %s s is heard", async (after) => {
  vi.stubGlobal("fetch", async () => new Response("", { status: 503, headers: { "retry-after": after } }));
  await expect(ask("http://here/", {})).rejects.toMatchObject({ retryAfterMs: Number(after) * 1000 });
  vi.unstubAllGlobals();
});

test("a wait until a date is heard, by the clock of who says it; what is over is now", () => {
  const wait = (after: string, date?: string) => retryAfterMs(new Headers({ "retry-after": after, ...(date && { date }) }));
  const date = "Sun, 06 Nov 1994 08:49:07 GMT";
  expect(wait("Sun, 06 Nov 1994 08:49:37 GMT", date)).toBe(30_000);
  expect(wait("Sunday, 06-Nov-94 08:49:37 GMT", date)).toBe(30_000);
  expect(wait("Fri, 31 Dec 1999 23:59:59 GMT")).toBe(0);
  const soon = wait(new Date(Date.now() + 60_000).toUTCString())!;
  expect(soon > 55_000 && soon <= 60_000).toBe(true);
});

test.each(["", "-5", "1e9", "0x10", "Infinity", "soon GMT", "31 Dec 2999"])("%j says not when to come again", async (after) => {
  vi.stubGlobal("fetch", async () => new Response("", { status: 503, headers: { "retry-after": after } }));
  await expect(ask("http://here/", {})).rejects.toMatchObject({ retryAfterMs: undefined });
  vi.unstubAllGlobals();
});

test("a page of another site hears what may have kept it out", async () => {
  vi.stubGlobal("location", new URL("http://game.example:8000/page"));
  vi.stubGlobal("fetch", async () => Promise.reject(new TypeError("Failed to fetch")));
  await expect(ask("http://music.example/", {})).rejects.toThrow("started with --origin http://game.example:8000?");
  await expect(ask("http://game.example:8000/v1", {})).rejects.toThrow(/Failed to fetch$/);
  vi.unstubAllGlobals();
});

test("a page on https hears that the browser lets it ask no server on http but one of the same machine", async () => {
  vi.stubGlobal("location", new URL("https://game.example/page"));
  vi.stubGlobal("fetch", async () => Promise.reject(new TypeError("Failed to fetch")));
  const mixed = /browsers let a page on https ask servers on https only \(mixed content\)$/;
  await expect(ask("http://music.example/", {})).rejects.toThrow(mixed);
  await expect(ask("http://game.example/v1", {})).rejects.toThrow(mixed);
  await expect(ask("https://music.example/", {})).rejects.toThrow(/--origin https:\/\/game.example\?$/);
  for (const server of ["http://127.0.0.1:8765/", "http://localhost:8765/", "http://[::1]:8765/"]) {
    await expect(ask(server, {})).rejects.toThrow(/--origin https:\/\/game.example\? Safari lets/);
  }
  expect(across("ws://music.example/v1/stream")).toMatch(mixed);
  vi.unstubAllGlobals();
});

test("a ticket is given back while its session waits, and not after that; what is none is none", () => {
  const now = performance.timeOrigin + performance.now();
  const saved = (text: string | null) => savedTicket({ getItem: () => text } as unknown as Storage);
  expect(saved(JSON.stringify({ handle: "h", untilMs: now + 10_000 }))).toMatchObject({ handle: "h" });
  for (const text of [JSON.stringify({ handle: "h", untilMs: now - 1 }), '{"handle": "h"}', "7", "{", null]) expect(saved(text)).toBeNull();
});

test("a browser that keeps nothing has no ticket, and is no error", () => {
  const denied = () => {
    throw new DOMException("Access is denied for this document.", "SecurityError");
  };
  Object.defineProperty(globalThis, "sessionStorage", { get: denied, configurable: true });
  const page = new EventTarget();
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
  const forget = keepTicket({ ticket: { handle: "h" } as Ticket, on: () => () => {} });
  page.dispatchEvent(new Event("pagehide"));
  forget();
  expect(savedTicket()).toBeNull();
  Reflect.deleteProperty(globalThis, "sessionStorage");
  vi.unstubAllGlobals();
});

/** Delivers its frames where the browser has MediaStreamTrackProcessor. */
class Track {
  readyState = "live";
  muted = false;
  deliver = () => {};
}

/** A shutter's surroundings: workers that answer at once, canvases that hold nothing. `foreign` pictures are not to be read; `over`:
 * the session ends while a picture is encoded. */
function darkroom(subject: Partial<HTMLVideoElement> | Track) {
  const reported: (() => void)[] = [];
  const workers: Encoder[] = [];
  const room = { reported, pushed: 0, foreign: false, over: false, look };
  class Encoder {
    onmessage: ((event?: unknown) => void) | undefined;
    constructor() {
      workers.push(this);
    }
    postMessage(asked: unknown): void {
      if (typeof asked === "number") return; // the ticker's
      if (room.foreign) throw new DOMException("not origin-clean", "DataCloneError");
      client.live = !room.over;
      this.onmessage!({ data: { payload: new ArrayBuffer(1), bitmap: (asked as { bitmap: unknown }).bitmap } });
    }
  }
  class Canvas {
    getContext = () => ({ drawImage: () => {} });
    transferToImageBitmap = () => ({ width: 32, height: 18, close: () => {} });
  }
  vi.stubGlobal("queueMicrotask", (throws: () => void) => reported.push(throws));
  vi.stubGlobal("Worker", Encoder);
  vi.stubGlobal("OffscreenCanvas", Canvas);
  vi.stubGlobal("MediaStreamTrack", Track);
  const video = { codecs: ["jpeg"], fps: 12, max_edge: 320 };
  const push = () => {
    if (!client.live) throw new Closed("the session is over");
    room.pushed++;
  };
  const client = { nowUs: 0, live: true, video, wants: () => true, push };
  new Shutter(client as unknown as Client, subject as HTMLVideoElement | MediaStreamTrack);
  async function look(atMs = 0): Promise<number> {
    client.nowUs = atMs * 1000;
    workers[1]!.onmessage!();
    await new Promise((done) => setTimeout(done));
    return room.pushed;
  }
  return room;
}

test("pictures that cannot be made are told of once in a row, where nobody listens for that", async () => {
  const room = darkroom({ videoWidth: 64, videoHeight: 36 });
  for (const foreign of [true, true, false, true]) {
    room.foreign = foreign;
    await room.look();
  }
  expect(room.reported).toHaveLength(2);
  for (const throws of room.reported) expect(throws).toThrow("crossorigin");
  expect(room.pushed).toBe(1);
  vi.unstubAllGlobals();
});

test("a session that ends while a picture of it is encoded is no error of the shutter", async () => {
  const room = darkroom({ videoWidth: 64, videoHeight: 36 });
  room.over = true;
  expect(await room.look()).toBe(0);
  expect(await room.look()).toBe(0);
  expect(room.reported).toEqual([]);
  vi.unstubAllGlobals();
});

test("a video that stands still is sent once a second; one that plays or is sought, as often as is wanted", async () => {
  const video = { videoWidth: 64, videoHeight: 36, paused: true, currentTime: 3 };
  const { look } = darkroom(video);
  for (const [atMs, pushed] of [[0, 1], [84, 1], [999, 1], [1000, 2], [1084, 2]] as const) expect(await look(atMs)).toBe(pushed);
  video.currentTime = 4; // sought
  expect(await look(1168)).toBe(3);
  expect(await look(1252)).toBe(3);
  video.paused = false;
  expect(await look(1336)).toBe(4);
  expect(await look(1420)).toBe(5); // a browser tells its time in steps
  vi.unstubAllGlobals();
}); // prettier-ignore

test("a track that gives no frames is sent once a second, as it was last, to its end", async () => {
  const track = new Track();
  const frame = { displayWidth: 64, displayHeight: 36, close: () => {} };
  const read = () => new Promise((come) => (track.deliver = () => come({ value: frame })));
  vi.stubGlobal("MediaStreamTrackProcessor", class { readable = { getReader: () => ({ read }) }; });
  const { look } = darkroom(track);
  expect(await look(2000)).toBe(0); // there was none yet
  track.deliver();
  for (const [atMs, pushed] of [[2500, 1], [2999, 1], [3500, 2], [4000, 2], [4500, 3]] as const) expect(await look(atMs)).toBe(pushed);
  track.deliver();
  expect(await look(4600)).toBe(4);
  track.readyState = "ended";
  expect(await look(9000)).toBe(4);
  vi.unstubAllGlobals();
});

test("a muted track is sent once a second also where no browser delivers its frames", async () => {
  const track = new Track();
  vi.stubGlobal("MediaStream", class {});
  vi.stubGlobal("document", { createElement: () => ({ videoWidth: 64, videoHeight: 36, play: () => Promise.resolve() }) });
  const { look } = darkroom(track);
  for (const [atMs, pushed] of [[0, 1], [84, 2]] as const) expect(await look(atMs)).toBe(pushed);
  track.muted = true;
  for (const [atMs, pushed] of [[168, 2], [1083, 2], [1084, 3], [1168, 3]] as const) expect(await look(atMs)).toBe(pushed);
  track.muted = false;
  expect(await look(1252)).toBe(4);
  track.readyState = "ended";
  expect(await look(9000)).toBe(4);
  vi.unstubAllGlobals();
});
