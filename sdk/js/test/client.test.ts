// The client on a transport that exists in this test only, with a server behind it and time that is turned by hand.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Client, type ClientOptions, type LineState } from "../src/client.js";
import { ClientError, Closed, Refused, Unreachable, Unsupported } from "../src/errors.js";
import type { Chunk } from "../src/music.js";
import { MusicPlayer } from "../src/player.js";
import { KIND, type ServerMessage } from "../src/protocol.js";
import { createSession, type Invitation } from "../src/rest.js";
import type { Line as ClientLine, Receiver, Transport, Where } from "../src/transport.js";
import type { Session } from "../src/session.js";
import { Line, RATE, Take } from "./fakeserver.js";

class FakeTransport implements Transport {
  readonly carriesMedia = true;
  readonly takes = new Map<string, Take>();
  readonly wheres: Where[] = [];
  bufferedBytes = 0;
  /** Nobody is there. */
  down = false;
  /** All that the server has to say. */
  refusal: ServerMessage | null = null;
  private server: Line | null = null;
  private receiver: Receiver | null = null;

  open(where: Where, receiver: Receiver): ClientLine {
    this.wheres.push(where);
    let stood = false;
    const end = (code: number) => {
      if (this.receiver !== receiver) return;
      this.server = this.receiver = null;
      receiver.closed({ code, reason: "", stood });
    };
    this.receiver = receiver;
    const server = (this.server = new Line(this.takes));
    setTimeout(() => {
      if (this.receiver !== receiver) return; // it was closed
      if (this.down) return end(1006);
      stood = true;
      receiver.opened();
    });
    const transport = this;
    return {
      send: (data) => server.feed(data),
      close: end,
      get bufferedBytes() {
        return transport.bufferedBytes;
      },
    };
  }

  /** 20 ms pass at the server. */
  step(): void {
    for (const take of this.takes.values()) take.advance();
    const { server, receiver, refusal } = this;
    if (refusal) return receiver?.received(JSON.stringify(refusal));
    for (const raw of server?.due() ?? []) receiver?.received(raw);
    if (server && server.close !== null) this.cut(server.close);
  }

  cut(code = 1006): void {
    const { receiver } = this;
    this.server = this.receiver = null;
    receiver?.closed({ code, reason: "", stood: true });
  }
}

function invitation(number: number): Invitation {
  return {
    session_id: `s${number}`,
    client_secret: { value: `secret-${number}`, expires_s: 60 },
    urls: { ws: "ws://here/v1/stream", audio: {} },
    resume_window_s: 30,
    model: "ramp",
    label: "",
  };
}

describe("a client", () => {
  let transport: FakeTransport;
  let invited: number;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance"] });
    transport = new FakeTransport();
    invited = 0;
  });
  afterEach(() => void vi.useRealTimers());

  function make(options: ClientOptions = {}): Client {
    const invite = () => Promise.resolve(invitation(invited++));
    return new Client({ transport, invite, random: () => 0.5, ...options });
  }

  async function run(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 20) {
      await vi.advanceTimersByTimeAsync(20);
      transport.step();
    }
  }

  async function live(client: Client): Promise<void> {
    const standing = client.connect();
    await run(400);
    await standing;
  }

  test("says with its line what comes next, where something does", async () => {
    const client = make();
    const said: unknown[] = [];
    client.on("line", ({ state, next }) => said.push(state === "lost" ? next.why : next));
    await live(client);
    transport.cut();
    await run(20);
    expect(said.slice(0, 3)).toEqual([undefined, undefined, "closed with 1006"]);
  });

  test("is invited once for a session, and goes on with it by its handle", async () => {
    const client = make();
    const lines: string[] = [];
    client.on("line", ({ state }) => lines.push(state));
    await live(client);
    transport.cut();
    await run(1000);
    expect(invited).toBe(1);
    expect(transport.wheres).toMatchObject([
      { token: "secret-0", handle: null },
      { token: null, handle: "s0" },
    ]);
    expect(lines).toEqual(["connecting", "open", "lost", "connecting", "open"]);
    expect(client.stats).toMatchObject({ sessions: 1, resumed: 1, state: "open" });
  });

  test("is invited again when its session is gone", async () => {
    const client = make();
    await live(client);
    transport.takes.get("s0")!.ended = true;
    transport.cut();
    await run(2000);
    expect(invited).toBe(2);
    expect(transport.wheres.at(-1)).toMatchObject({ token: "secret-1", handle: null });
    expect(client.stats.sessions).toBe(2);
  });

  test("wants pictures as often as the server does, and none while the line is full", async () => {
    const client = make();
    expect(client.wants(0)).toBe(false);
    await live(client);
    const wanted = Array.from({ length: 100 }, (_, i) => client.wants(i * 20_000)).filter(Boolean);
    expect(wanted.length).toBe(9); // 2 s at 4 a second, and the first
    transport.bufferedBytes = 300_000;
    expect(client.wants(9e6)).toBe(false);
    client.push({ kind: KIND.JPEG, payload: new Uint8Array([1]), atUs: 1 });
    await run(100);
    expect(transport.takes.get("s0")!.pictures).toHaveLength(0);
    client.push({ kind: KIND.JPEG, payload: new Uint8Array([2]), atUs: 2 });
    transport.bufferedBytes = 0;
    await run(100);
    expect(transport.takes.get("s0")!.pictures.map(({ ts }) => ts)).toEqual([2]);
    expect(client.stats).toMatchObject({ sentPictures: 1, skippedPictures: 2 });
  });

  function hear(client: Client): Chunk[] {
    const chunks: Chunk[] = [];
    client.on("music", (chunk) => chunks.push(chunk));
    client.play();
    return chunks;
  }

  function playedBy(client: Client, playedThrough: number): Parameters<Session["report"]>[0] {
    return { session: client.session.sessions, playedThrough, bufferMs: 0, underruns: 0, clockPpm: 0 };
  }

  test("says that its listeners heard the music, ten times a second, and hears on", async () => {
    const client = make();
    const chunks = hear(client);
    await live(client);
    await run(4000);
    const { played, seen } = transport.takes.get("s0")!;
    expect(chunks.at(-1)!.end).toBeGreaterThan(3 * RATE);
    expect(played).toBeGreaterThan(3 * RATE);
    const reports = seen.filter(({ type }) => type === "playout.report").length;
    expect(reports).toBeGreaterThan(30);
    expect(reports).toBeLessThan(50);
  });

  test("goes on after a break with the sample after the last one that its listeners had", async () => {
    const client = make();
    const chunks = hear(client);
    await live(client);
    await run(1000);
    transport.cut();
    const had = chunks.at(-1)!.end;
    expect(client.session.playedThrough).toBe(had);
    await run(2000);
    expect(client.stats).toMatchObject({ resumed: 1, skippedSamples: 0, repeatedSamples: 0 });
    expect(chunks.map(({ first }) => first)).toEqual([0, ...chunks.slice(0, -1).map(({ end }) => end)]);
    expect(chunks.at(-1)!.end).toBeGreaterThan(had + RATE);
  });

  test("leaves it to its program to say what was heard, once that did", async () => {
    const client = make();
    const chunks = hear(client);
    client.report(playedBy(client, 0));
    await live(client);
    await run(2000);
    const take = transport.takes.get("s0")!;
    expect([take.played, chunks.at(-1)!.end]).toEqual([0, RATE / 2]);
    client.report(playedBy(client, 6400));
    await run(1000);
    expect([take.played, chunks.at(-1)!.end]).toEqual([6400, RATE / 2 + 6400]);
  });

  test("leaves it to a player, while one is connected", async () => {
    const port = { postMessage: () => {}, onmessage: (_: unknown) => {} };
    vi.stubGlobal("WORKLET", "");
    vi.stubGlobal("AudioWorkletNode", class { readonly port = port; connect(): void {} }); // prettier-ignore
    const context = Object.assign(new EventTarget(), { audioWorklet: { addModule: async () => {} } }) as unknown as AudioContext;
    const player = await MusicPlayer.open({ context });
    vi.unstubAllGlobals();
    const client = make();
    const disconnect = player.connect(client);
    hear(client);
    await live(client);
    await run(2000);
    const take = transport.takes.get("s0")!;
    expect(take.played).toBe(0);
    port.onmessage({ data: { session: 1, playedThrough: 6400, levelS: 0.4, underruns: 0, clockPpm: 0 } });
    await run(1000);
    expect(take.played).toBe(6400);
    disconnect();
    port.onmessage({ data: { session: 1, playedThrough: 9600, levelS: 0.4, underruns: 0, clockPpm: 0 } });
    await run(1000);
    expect(take.played).toBeGreaterThan(RATE);
  });

  test("ends as it was asked, without a failure", async () => {
    const client = make();
    await live(client);
    client.end();
    await run(100);
    expect(client.stats.state).toBe("over");
    expect(client.failure).toBeNull();
    expect(() => client.play()).toThrow("over");
  });

  test("says why it was refused", async () => {
    const client = make({ invite: () => Promise.reject(new Refused(401, "this server asks for its key", undefined, "unauthorized")) });
    const refused = expect(client.connect()).rejects.toThrow("this server asks for its key");
    await run(100);
    await refused;
    expect(client.failure).toBeInstanceOf(Refused);
    expect(client.failure).toMatchObject({ code: 401, word: "unauthorized" });
  });

  test("asks the server for a session of its name", async () => {
    const fetched = vi.fn(() => Promise.resolve(new Response(JSON.stringify(invitation(0)))));
    vi.stubGlobal("fetch", fetched);
    const client = new Client({ transport, url: "http://here", key: "ours", name: "show" });
    await live(client);
    const request = { method: "POST", headers: { authorization: "Bearer ours" }, body: '{"session_id":"show"}' };
    expect(fetched).toHaveBeenCalledWith(new URL("http://here/v1/sessions"), expect.objectContaining(request));
    vi.unstubAllGlobals();
  });

  test.each([undefined, null, "s0", {}, { error: { text: "who are you?" } }, { client_secret: {}, urls: {} }])(
    "says that %j is no invitation",
    async (answer) => {
      const client = make({ invite: () => (invited++, Promise.resolve(answer as unknown as Invitation)) });
      const said = expect(client.connect()).rejects.toThrow(/^invite\(\) must give the answer of POST \/v1\/sessions$/);
      await run(5000);
      await said;
      expect([client.failure!.name, invited, transport.wheres]).toEqual(["ClientError", 1, []]);
    },
  );

  test("is not invited again by a page for people; by what may pass it is", async () => {
    const asked = async (invite: () => Promise<Invitation>) => {
      invited = 0;
      const client = make({ invite: () => (invited++, invite()) });
      const said = client.connect().catch((error: Error) => `${error.name}: ${error.message}`);
      await run(5000);
      return [invited, await said];
    };
    const [times, said] = await asked(() => new Response("<!doctype html>").json());
    expect([times, said]).toEqual([1, expect.stringMatching(/^ClientError: invite\(\) must give the answer of .*: .*JSON/)]);
    const gaveUp = "Unreachable: gave up after 3 attempts; ";
    expect(await asked(() => Promise.reject(new TypeError("Failed to fetch")))).toEqual([3, `${gaveUp}Failed to fetch`]);
    expect(await asked(() => Promise.reject("no backend"))).toEqual([3, `${gaveUp}no backend`]);
  });

  test("says at once why the server refused to begin", async () => {
    transport.refusal = { type: "error", code: "bad_request", text: "no room for that", fatal: false };
    const client = make();
    const refused = expect(client.connect()).rejects.toThrow("bad_request: no room for that");
    await run(100);
    await refused;
    expect(client.failure).toMatchObject({ name: "Refused", code: 4400 });
  });

  test("gives up where its transport throws while it goes on", async () => {
    const broken: Transport = {
      carriesMedia: true,
      open: () => {
        throw new Error("no more connections");
      },
    };
    const held = { codec: "pcm_s16", sample_rate: RATE, channels: 1 } as const;
    const left = { handle: "s0", url: "ws://here/v1/stream", id: "s0", zeroMs: 0, untilMs: 1e15, played: 0, audio: held, plays: true };
    const client = make({ transport: broken, ticket: left });
    const given = expect(client.connect()).rejects.toThrow("gave up after 3 attempts; no more connections");
    await run(5000);
    await given;
    expect(client.failure).toBeInstanceOf(Unreachable);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("gives up where others talk and no session stands", async () => {
    transport.refusal = { type: "warning", code: "x", text: "still here" } as unknown as ServerMessage;
    const client = make();
    const given = expect(client.connect()).rejects.toThrow(
      "gave up after 3 attempts; ws://here/v1/stream opened a connection, and no session on it",
    );
    await run(35_000);
    await given;
  });

  test("that is left by who hears that its line is lost waits no more", async () => {
    const invite = () => Promise.reject(new Refused(503, "full", 1e5));
    const client = make({ invite });
    client.on("line", ({ state }) => void (state === "lost" && client.detach()));
    const ended = expect(client.connect()).rejects.toThrow("before it began");
    await run(100);
    await ended;
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that is to wait for longer than timers do does not come back at once", async () => {
    const invite = () => (invited++, Promise.reject(new Refused(503, "full", 2 ** 32)));
    const client = make({ invite, patience: { askedMs: Infinity } });
    const ended = expect(client.connect()).rejects.toThrow("before it began");
    await run(1000);
    expect(invited).toBe(1);
    await client.close();
    await ended;
  });

  test("gives up at once where it is asked to wait for longer than it does, and says for how long", async () => {
    const client = make({ invite: () => (invited++, Promise.reject(new Refused(503, "closed for today", 86_400_000))) });
    const refused = expect(client.connect()).rejects.toThrow("closed for today; it asks to come again in 86400 s");
    await run(100);
    await refused;
    expect(client.failure).toMatchObject({ name: "Refused", code: 503, retryAfterMs: 86_400_000 });
    expect([invited, vi.getTimerCount()]).toEqual([1, 0]);
  });

  test("gives up at once where its transport, its browser or an address can never do", async () => {
    for (const error of [new Unsupported("no WebRTC here"), new ClientError("wss://: no address")]) {
      const open = () => {
        throw error;
      };
      const client = make({ transport: { carriesMedia: true, open } });
      const lines: LineState[] = [];
      client.on("line", (line) => lines.push(line));
      const given = expect(client.connect()).rejects.toBe(error);
      await run(20);
      await given;
      expect(lines.map(({ state }) => state)).toEqual(["connecting", "closed"]);
      expect(lines[1]!.next).toMatchObject({ then: "stop", why: error.message });
      expect(vi.getTimerCount()).toBe(0);
    }
  });

  test("gives up where nobody ever answered", async () => {
    transport.down = true;
    const client = make();
    const given = expect(client.connect()).rejects.toThrow(
      "gave up after 3 attempts; ws://here/v1/stream: no answer; where a proxy is before the server, does it hand websockets on?",
    );
    await run(5000);
    await given;
    expect(client.failure).toBeInstanceOf(Unreachable);
  });

  test("leaves a server that says nothing any more, and comes back", async () => {
    const client = make();
    await live(client);
    await vi.advanceTimersByTimeAsync(10_200); // nothing comes
    await run(1000);
    expect(client.stats).toMatchObject({ resumed: 1, state: "open" });
  });

  test("that is closed while it is invited does not wait for that", async () => {
    const client = make({ invite: () => new Promise(() => {}) });
    const ended = expect(client.connect()).rejects.toThrow("before it began");
    await client.close();
    await ended;
  });

  test("asks again for an invitation that does not come, and gives up", async () => {
    const client = make({ invite: () => (invited++, new Promise(() => {})), inviteMs: 500 });
    const given = expect(client.connect()).rejects.toThrow("gave up after 3 attempts; no invitation came within 0.5 s");
    await run(5000);
    await given;
    expect(invited).toBe(3);
    expect(client.failure).toBeInstanceOf(Unreachable);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("waits for an invitation as long as it is to, and not for one of before", async () => {
    const answers: ((invitation: Invitation) => void)[] = [];
    const invite = () => new Promise<Invitation>((answer) => answers.push(answer));
    const patient = make({ invite, inviteMs: Infinity });
    const standing = patient.connect();
    await run(60_000);
    answers[0]!(invitation(0));
    await run(400);
    await standing;
    const other = make({ invite });
    void other.connect();
    await run(9_980);
    expect(answers.length).toBe(2);
    await run(1000);
    answers[1]!(invitation(1));
    await run(400);
    expect(transport.wheres.length).toBe(1);
    answers[2]!(invitation(2));
    await run(400);
    expect(transport.wheres.map(({ token }) => token)).toEqual(["secret-0", "secret-2"]);
  });

  test("that is closed before it is to be invited again asks for no session", async () => {
    const client = make({ invite: () => (invited++, Promise.reject(new Refused(503, "full"))) });
    const ended = expect(client.connect()).rejects.toThrow("before it began");
    await run(20);
    await client.close();
    await ended;
    expect(invited).toBe(1);
  });

  test("says at once where there is no WebSocket", () => {
    vi.stubGlobal("WebSocket", undefined);
    expect(() => new Client()).toThrow("Node 22");
    vi.unstubAllGlobals();
  });

  test.each(["nonsense", "ws://host:8765", "localhost:8765", "http://", ""])("says at once that %j is no address", async (url) => {
    expect(() => new Client({ transport, url })).toThrow(ClientError);
    expect(() => new Client({ transport, url })).toThrow(`an address such as http://host:8765 was expected, found "${url}"`);
    await expect(createSession(url)).rejects.toThrow(ClientError);
    make({ url }); // it is not asked
  });

  test("takes an address as it is seen from its page", () => {
    vi.stubGlobal("location", { href: "https://here/music/page" });
    for (const url of ["", ".", "/", "other", "http://host:8765"]) new Client({ transport, url });
    new Client({ transport });
    vi.unstubAllGlobals();
    expect(() => new Client({ transport })).toThrow(ClientError);
  });

  test("that is closed while it waits comes back no more", async () => {
    const client = make();
    await live(client);
    transport.down = true;
    transport.cut();
    await run(100);
    await client.close();
    transport.down = false;
    await run(5000);
    expect(client.stats.state).toBe("over");
    expect(transport.wheres.length).toBeLessThan(4);
  });

  test.each(["close", "detach"] as const)("that is left by %s at any moment has not failed, and leaves no timer", async (leave) => {
    for (const moment of ["invited", "connecting", "open", "lost", "waiting", "again"]) {
      transport = new FakeTransport();
      const client = make(moment === "invited" ? { invite: () => new Promise(() => {}) } : {});
      const settled = client.connect().catch((error: Error) => error);
      if (moment === "connecting") await vi.advanceTimersByTimeAsync(0);
      else if (moment !== "invited") await run(400);
      transport.down = moment === "waiting";
      if (!["invited", "connecting", "open"].includes(moment)) transport.cut();
      if (moment === "waiting") await run(100);
      if (moment === "again") await vi.advanceTimersByTimeAsync(0);
      const left = client[leave]();
      await run(100);
      await left;
      await settled;
      expect([moment, client.failure, client.stats.state, vi.getTimerCount()]).toEqual([moment, null, "over", 0]);
    }
  });

  test("that cannot say goodbye, as too much waits, is closed all the same", async () => {
    const client = make();
    await live(client);
    transport.step = () => {};
    client.session.take = () => null; // nothing is written any more
    for (let more = true; more; ) {
      try {
        client.resetContext();
      } catch {
        more = false;
      }
    }
    await client.close();
    expect(client.stats.state).toBe("over");
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that is over takes no picture, as it takes no verb, and says why", async () => {
    const picture = { kind: KIND.JPEG, payload: new Uint8Array(1), atUs: 0 };
    const closed = make();
    await live(closed);
    void closed.close();
    await run(100);
    const refused = make({ invite: () => Promise.reject(new Refused(401, "a key is needed")) });
    const given = expect(refused.connect()).rejects.toThrow("a key is needed");
    await run(100);
    await given;
    for (const [client, why] of [[closed, "the session is over"], [refused, "a key is needed"]] as const) {
      for (const verb of [() => client.play(), () => client.wants(client.nowUs), () => client.push(picture)]) expect(verb).toThrow(why);
    }
  });

  test("that is closed before it connects begins nothing", async () => {
    const client = make();
    await client.close();
    await expect(client.connect()).rejects.toThrow(Closed);
    expect([invited, client.stats.state, vi.getTimerCount()]).toEqual([0, "over", 0]);
  });

  test("that is closed while it connects again has not failed", async () => {
    const client = make();
    await live(client);
    transport.cut();
    await vi.advanceTimersByTimeAsync(0);
    expect(transport.wheres.length).toBe(2);
    await client.close();
    expect(client.failure).toBeNull();
  });
});
