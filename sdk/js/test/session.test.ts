// The session on a virtual clock, over lines that break at random places.

import { describe, expect, test } from "vitest";
import { afterClose } from "../src/closes.js";
import { CLOSES, KIND, type ClientMessage } from "../src/protocol.js";
import { KEPT_MESSAGES, Outbox } from "../src/outbox.js";
import { Session } from "../src/session.js";
import { Line, ramp, Take } from "./fakeserver.js";
import { chance, World } from "./world.js";

/** Every index once, in order, with the samples that belong to it; returns how many. */
function whole(world: World, gaps = false): number {
  let next = 0;
  for (const { first, end, samples } of world.chunks) {
    if (gaps) expect(first).toBeGreaterThanOrEqual(next);
    else expect(first).toBe(next);
    expect(samples.length).toBe(end - first);
    expect(samples[0]).toBeCloseTo(ramp(first), 6);
    expect(samples.at(-1)).toBeCloseTo(ramp(end - 1), 6);
    next = end;
  }
  return next;
}

function sent(world: World, type: ClientMessage["type"]): ClientMessage[] {
  return world.take.seen.filter((message) => message.type === type);
}

const play = { type: "playback", action: "play" } as const;

describe("breaks", () => {
  test.each(Array.from({ length: 20 }, (_, seed) => seed))("no sample is lost or doubled, no change lost or doubled: %i", (seed) => {
    const world = new World(seed);
    const random = chance(seed);
    world.session.send(play);
    world.run(60); // a handle has come
    let gain = 0;
    for (let i = 0; i < 600; i++) {
      if (random() < 0.03 && world.line) world.cut(random() < 0.5 ? 1006 : 1012);
      if (random() < 0.05) world.session.send({ type: "session.update", config: { gain_db: -(gain += 0.25) } });
      world.step();
    }
    world.run(300);
    expect(world.takes.size).toBe(1);
    expect(whole(world)).toBeGreaterThan(world.take.position - 10_000);
    const gains = sent(world, "session.update").map((message) => "config" in message && message.config!.gain_db);
    expect(gains).toEqual(Array.from({ length: gains.length }, (_, i) => -(i + 1) / 4));
    expect(gains.length).toBe(gain * 4);
    expect(world.session.music!.skippedSamples).toBe(0);
  });

  test("a gap that the server skips is seen in the index, and marked", () => {
    const world = new World(1, 16_000);
    world.session.send(play);
    world.run(100);
    world.cut();
    for (let i = 0; i < 50; i++) world.take.advance();
    world.run(100);
    whole(world, true);
    expect(world.session.music!.skippedSamples).toBeGreaterThan(16_000);
    expect(world.chunks.filter(({ crossfade }) => crossfade)).toHaveLength(1);
  });

  test("a session that is gone begins anew, as it was and playing", () => {
    const world = new World();
    world.session.send(play);
    world.session.send({ type: "session.update", config: { gain_db: -6, duck: { enabled: true } } });
    world.run(100);
    world.take.ended = true;
    world.session.send({ type: "session.update", config: { seed: 7 } });
    world.cut();
    world.run(200);
    expect(world.takes.size).toBe(2);
    expect(world.take.config).toMatchObject({ gain_db: -6, seed: 7, duck: { enabled: true } });
    expect(world.take.playing).toBe(true);
    expect(world.chunks.at(-1)!.session).toBe(2);
  });

  test("a credit that was asked for is asked for again by each connection", () => {
    const world = new World();
    world.session.send({ type: "flow.credit", credit_ms: 1500 });
    world.run(100);
    world.cut();
    world.run(100);
    expect(sent(world, "flow.credit")).toHaveLength(2);
    world.take.ended = true;
    world.cut();
    world.run(200);
    expect(world.takes.size).toBe(2);
    expect(sent(world, "flow.credit")).toHaveLength(1);
  });

  test("1013 while resuming asks for the same session again; where nothing is to be resumed it begins one", () => {
    const world = new World();
    world.session.send(play);
    world.run(100);
    world.full = true;
    world.cut();
    world.run(40);
    expect(world.session.resumed).toBe(0);
    world.full = false;
    world.run(200);
    expect(world.session.resumed).toBe(1);
    expect(world.takes.size).toBe(1);
    whole(world);
    expect(world.session.lost(1013).then).toBe("retry");
    expect(world.session.begins).toBe(true);
  });

  test("what was asked to end is not begun again", () => {
    const world = new World();
    world.session.send(play);
    world.run(50);
    world.session.send({ type: "session.end" });
    world.run(50);
    expect(world.next).toMatchObject({ then: "stop", code: 1000 });
    expect(world.session.hasEnded).toBe(true);
    expect(() => world.session.send(play)).toThrow("over");
  });

  test.each(Object.entries(CLOSES))("after %i it does what the protocol says", (code, { action }) => {
    const world = new World();
    world.run(60);
    world.session.send(play);
    expect(world.session.lost(Number(code)).then).toBe(action);
  });

  const moments = ["greeting", "open", "lost", "resuming"];
  const codes = [...Object.keys(CLOSES).map(Number), 1006, 4999];
  test.each(codes.flatMap((code) => moments.map((moment) => [code, moment] as const)))(
    "after %i while %s the next greeting is as the protocol says: a session is asked for as long as it may be there",
    (code, moment) => {
      const world = new World(1, Infinity, 0);
      if (moment === "greeting") world.session.take();
      else world.run(60);
      if (moment === "lost" || moment === "resuming") world.session.lost();
      if (moment === "resuming") {
        world.session.opened();
        world.session.take();
      }
      let then = code === 1013 && moment === "resuming" ? "resume" : afterClose(code);
      if (then === "resume" && moment === "greeting") then = "retry";
      expect(world.session.lost(code).then).toBe(then);
      if (then === "stop") return expect(world.session.state).toBe("over");
      world.session.opened();
      expect(world.session.take()).toContain(then === "resume" ? "session.resume" : "session.start");
      expect(world.session.take()).toBeNull(); // and nothing else before its answer
    },
  );

  test("a server that begins sessions and knows none of them is given up", () => {
    const world = new World(1, Infinity, 0, { stableMs: 2000 });
    for (let at = 0; at < 13; at++) {
      world.run(15); // until a handle came, and not for long
      expect(world.session.handle).not.toBeNull();
      expect(world.session.lost(4404).gaveUp).toBe(at === 12);
      world.connect();
    }
  });

  test("a resume that nobody asked for is none, and the greeting still waits", () => {
    let now = 0;
    const session = new Session("ws://x", { clock: () => now });
    session.opened();
    session.take();
    const line = new Line(new Map([["s0", new Take()]]));
    line.feed(JSON.stringify({ type: "session.resume", handle: "s0", received_through_sample: 0, played_through_sample: 0 }));
    expect(session.receive(line.due()[0]!)).toBeNull();
    expect(session).toMatchObject({ state: "greeting", ignored: { nothing_to_resume: 1 } });
    now = 10_000;
    expect(session.isSilent).toBe(true);
  });

  test("who was never answered gives up soon, and says why", () => {
    const session = new Session("ws://x", { random: () => 0.5 });
    const pauses = [0, 1].map(() => session.refused(null, "ws://x: no answer"));
    expect(pauses.map(({ pauseMs }) => pauseMs)).toEqual([187.5, 375]);
    const why = "gave up after 3 attempts; ws://x: no answer";
    expect(session.refused(null, "ws://x: no answer")).toMatchObject({ then: "stop", gaveUp: true, why });
    expect(session.state).toBe("over");
  });

  test("a server that is full is asked again when it says so; one that wants a key, or never can, is not", () => {
    const session = new Session("ws://x");
    expect(session.refused(503, "every place is taken", 5000)).toMatchObject({ then: "retry", pauseMs: 5000 });
    for (const status of [400, 401, 403, 404, 501, 505]) {
      expect(new Session("ws://x").refused(status, "no")).toMatchObject({ then: "stop", code: status });
    }
  });

  test("a wait that was asked for is kept up to a limit: beyond it a session is not begun, and one that stood is asked for again", () => {
    const patience = { askedMs: 60_000 };
    const session = new Session("ws://x", { patience });
    expect(session.refused(429, "not now", 60_000)).toMatchObject({ then: "retry", pauseMs: 60_000, askedMs: 60_000 });
    const why = "not now; it asks to come again in 60.001 s";
    expect(session.refused(429, "not now", 60_001)).toMatchObject({ then: "stop", gaveUp: false, why, askedMs: 60_001 });
    const world = new World();
    world.run(60);
    world.session.lost(1006);
    expect(world.session.refused(503, "not now", 864e5)).toMatchObject({ then: "resume", pauseMs: 120_000, askedMs: 864e5 });
  });

  test("how long to wait is of the error that a connection ends with, and of no other one", () => {
    const world = new World();
    world.run(60);
    const error = { type: "error", code: "recording_refused", text: "", fatal: false, retry_after_ms: 60_000 };
    world.session.receive(JSON.stringify(error));
    expect(world.session.lost(1006)).toMatchObject({ then: "resume", pauseMs: 0, askedMs: 0 });
    world.session.opened();
    world.session.receive(JSON.stringify({ ...error, code: "capacity", fatal: true }));
    expect(world.session.lost(1013)).toMatchObject({ then: "resume", pauseMs: 60_000 });
  });

  test.each(["nonsense", "ws://", "http://other/", "ws://other/v1/stream#there"])("a server that goes away to %j is heard to its end", (url) => {
    const world = new World();
    world.run(60);
    world.session.receive(JSON.stringify({ type: "go_away", time_left_ms: 0, reason: "draining", reconnect_url: url }));
    expect(world.session.wantsToLeave).toBe(false);
    world.session.lost(1001);
    expect(world.session.url).toBe("ws://x");
  });

  test.each([408, 429, 502])("what is refused for now with %i is asked for again, with the handle where there is one", (status) => {
    expect(new Session("ws://x").refused(status, "not now").then).toBe("retry");
    const world = new World();
    world.run(60);
    world.session.lost(1006);
    expect(world.session.refused(status, "not now").then).toBe("resume");
    expect(world.session.begins).toBe(false);
  });

  test("an offer whose handle is good no more begins a new session, and another address is left", () => {
    const world = new World(0);
    world.run(60); // a handle has come
    world.session.lost(1006);
    expect(world.session.refused(404, "it is over")).toMatchObject({ then: "retry", code: 4404 });
    expect(world.session.begins).toBe(true);
    expect(world.session.refused(404, "no such address")).toMatchObject({ then: "stop", code: 404 });
  });

  test("a greeting that is refused ends its connection and says why; a session that was is begun anew", () => {
    const refusal = JSON.stringify({ type: "error", code: "bad_request", text: "no room for that", fatal: false });
    const session = new Session("ws://x");
    session.opened();
    session.take();
    session.receive(refusal);
    expect(session.wantsToLeave).toBe(true);
    expect(session.lost(4000)).toMatchObject({ then: "stop", code: 4400, why: "bad_request: no room for that" });
    const world = new World();
    world.run(60);
    world.session.receive(refusal);
    expect(world.session.wantsToLeave).toBe(false);
    world.session.lost(1006);
    world.session.opened();
    world.session.take();
    world.session.receive(refusal);
    expect(world.session.wantsToLeave).toBe(true);
    expect(world.session.lost(4000).then).toBe("retry");
    expect(world.session.begins).toBe(true);
  });

  test("a server that says nothing for ten seconds is gone", () => {
    const world = new World();
    world.run(60);
    expect(world.session.isSilent).toBe(false);
    world.now += 10_001;
    expect(world.session.isSilent).toBe(true);
  });

  test("a server that goes away is left before its time is over, for the place that it names", () => {
    const world = new World();
    world.run(60);
    const away = { type: "go_away", time_left_ms: 2000, reason: "draining", reconnect_url: "ws://other/v1/stream" } as const;
    world.session.receive(JSON.stringify(away));
    expect(world.session.wantsToLeave).toBe(false);
    world.now += 1001;
    expect(world.session.wantsToLeave).toBe(true);
    expect(world.session.lost(4000)).toMatchObject({ then: "resume", pauseMs: 0 });
    expect(world.session.url).toBe("ws://other/v1/stream");
  });

  test("where nobody answers there, the place before is tried, too, in turn until one of them does", () => {
    const world = new World();
    world.run(60);
    const away = { type: "go_away", time_left_ms: 0, reason: "draining", reconnect_url: "ws://other/v1/stream" } as const;
    world.session.receive(JSON.stringify(away));
    const tried: string[] = [];
    for (let i = 0; i < 6; i++) {
      expect(world.session.lost(1006).then).toBe("resume");
      tried.push(world.session.url);
    }
    const other = "ws://other/v1/stream";
    expect(tried).toEqual([other, other, other, "ws://x", other, "ws://x"]);
    world.connect(); // and it stands there: that is its place
    world.run(60);
    for (let i = 0; i < 4; i++) world.session.lost(1006);
    expect(world.session.url).toBe("ws://x");
  });

  test("where nobody answers for long, the place of the beginning is tried, too; who answers is asked again", () => {
    const [second, third] = ["ws://second/v1/stream", "ws://third/v1/stream"];
    const away = (world: World, to: string) => {
      world.run(60);
      world.session.receive(JSON.stringify({ type: "go_away", time_left_ms: 0, reason: "draining", reconnect_url: to }));
      world.session.lost(1006);
    };
    const tried = (world: World, times: number) => Array.from({ length: times }, () => (world.session.lost(1006), world.session.url));
    let world = new World();
    away(world, second);
    for (let i = 0; i < 6; i++) world.session.refused(503, "full");
    expect(world.session.url).toBe(second);
    world.connect();
    world.run(60);
    expect(tried(world, 12)).toEqual([...Array<string>(9).fill(second), "ws://x", second, "ws://x"]);
    world = new World();
    away(world, second);
    world.connect();
    away(world, third);
    expect(tried(world, 6)).toEqual([third, third, second, "ws://x", third, second]);
  });

  test("one that names no other is heard to its end", () => {
    const world = new World();
    world.run(60);
    for (const reason of ["draining", "restarting"]) {
      world.session.receive(JSON.stringify({ type: "go_away", time_left_ms: 2000, reason }));
      world.now += 2000;
      expect(world.session.wantsToLeave).toBe(false);
    }
    expect(world.session.lost(1001)).toMatchObject({ then: "resume", pauseMs: 0 });
  });
});

describe("a reload of the page", () => {
  test("goes on with the same session, from what was heard, on the same clock", () => {
    const world = new World();
    world.session.send(play);
    world.run(200);
    const ticket = JSON.parse(JSON.stringify(world.session.ticket));
    const heard = world.session.playedThrough;
    const before = world.session.nowUs;
    world.chunks = [];
    world.reload(ticket);
    expect(world.session.nowUs).toBe(before);
    world.run(100);
    expect(world.takes.size).toBe(1);
    expect(world.chunks[0]!.first).toBe(heard);
    expect(world.session.resumed).toBe(1);
  });

  test("of a session that is gone begins another one, and plays if it played", () => {
    const world = new World();
    world.session.send(play);
    world.run(200);
    world.take.ended = true;
    world.reload(world.session.ticket);
    world.run(200);
    expect(world.takes.size).toBe(2);
    expect(world.take.playing).toBe(true);
  });

  test("there is no ticket before a handle came, and none after the end", () => {
    const world = new World();
    world.run(8);
    expect(world.session.ticket).toBeNull();
    world.run(60);
    expect(world.session.ticket).toMatchObject({ handle: "s0", played: 0, plays: false });
    world.session.close();
    expect(world.session.ticket).toBeNull();
  });
});

describe("bounds", () => {
  test("the newest picture replaces one that waits", () => {
    const world = new World();
    world.run(10);
    for (const atUs of [1, 2, 3]) world.session.push({ kind: KIND.JPEG, payload: new Uint8Array([atUs]), atUs });
    world.run(10);
    expect(world.take.pictures.map(({ ts }) => ts)).toEqual([3]);
    expect(world.session.replacedPictures).toBe(2);
    const huge = { kind: KIND.JPEG, payload: new Uint8Array(1 << 20), atUs: 4 };
    expect(() => world.session.push(huge)).toThrow("the server takes 1048576");
  });

  test("no burst is faster than the server takes messages, and reports pass it", () => {
    const world = new World(1, Infinity, 0);
    world.run(3);
    for (let seed = 0; seed < 200; seed++) world.session.send({ type: "session.update", config: { seed } });
    const seeds: unknown[] = [];
    const reports: number[] = [];
    let level = 50; // the server's bucket: 50 messages, and 50 a second
    for (let step = 0; step < 400; step++) {
      world.now += 20;
      level = Math.min(50, level + 1);
      world.session.report({ session: 1, playedThrough: 0, bufferMs: step, underruns: 0, clockPpm: 0 });
      world.session.tick();
      for (let raw = world.session.take(); raw !== null; raw = world.session.take()) {
        expect(--level).toBeGreaterThanOrEqual(0);
        const message = JSON.parse(raw as string) as ClientMessage;
        if (message.type === "session.update") seeds.push(message.config.seed);
        if (message.type === "playout.report") reports.push(world.now);
      }
    }
    expect(seeds).toEqual(Array.from({ length: 200 }, (_, seed) => seed));
    expect(Math.max(...reports.slice(1).map((at, i) => at - reports[i]!))).toBeLessThan(200);
  });

  test("what waits and what passes take turns", () => {
    const outbox = new Outbox();
    const change = (at_us: number) => ({ type: "scene.change", at_us }) as const;
    const ping = (t_us: number) => ({ type: "ping", t_us }) as const;
    for (const message of [change(1), change(2), ping(1), ping(2)]) outbox.add(message);
    expect(Array.from({ length: 4 }, () => outbox.take())).toEqual([ping(2), change(1), change(2), null]);
  });

  test("pictures wait while the line is full; messages do not", () => {
    const world = new World();
    world.run(10);
    world.session.push({ kind: KIND.JPEG, payload: new Uint8Array([1]), atUs: 1 });
    world.session.send(play);
    expect(world.session.take(false)).toContain("playback");
    expect(world.session.take(false)).toBeNull();
    expect(world.session.take(true)).toBeInstanceOf(Uint8Array);
  });

  test("control messages that nobody takes are bounded", () => {
    const outbox = new Outbox();
    for (let i = 0; i < KEPT_MESSAGES; i++) outbox.add(play);
    outbox.add({ type: "ping", t_us: 1 });
    expect(outbox.waiting).toHaveLength(KEPT_MESSAGES);
    expect(() => outbox.add(play)).toThrow("wait for the connection");
    outbox.take();
    outbox.add(play);
    expect(outbox.waiting).toHaveLength(KEPT_MESSAGES);
  });

  test("what breaks the protocol is counted and left alone", () => {
    const world = new World();
    world.run(10);
    expect(world.session.receive("{")).toBeNull();
    expect(world.session.receive('{"type":"later.message"}')).toBeNull();
    expect(world.session.receive(new ArrayBuffer(3))).toBeNull();
    expect(world.session.ignored).toEqual({ refused_invalid_json: 1, unknown_type: 1, refused_invalid_media: 1 });
  });
});
