// What browsers do differently: what one lacks is said in words, and Safari's sound comes back after a call.

import { afterEach, describe, expect, test, vi } from "vitest";
import { Unsupported } from "../src/errors.js";
import { MusicPlayer } from "../src/player.js";
import { RtcTransport } from "../src/rtctransport.js";
import { camera, screen } from "../src/sources.js";
import type { Receiver } from "../src/transport.js";
import { WhepPlayer } from "../src/whep.js";
import { WsTransport } from "../src/wstransport.js";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const moment = () => new Promise((done) => setTimeout(done));

describe("what a browser lacks is said, and what works without it", () => {
  test("a screen, as on phones and tablets", () => {
    vi.stubGlobal("navigator", { mediaDevices: { getUserMedia: async () => null } });
    expect(() => screen()).toThrow(Unsupported);
    expect(() => screen()).toThrow("Take the camera or a file");
  });

  test("a camera, where pages are given none, and where the page is not secure", () => {
    vi.stubGlobal("navigator", {});
    vi.stubGlobal("isSecureContext", true);
    expect(() => camera()).toThrow("Take a file");
    vi.stubGlobal("isSecureContext", false);
    expect(() => camera()).toThrow("use https or localhost");
  });

  test("a line to a server on http, from a page on https", () => {
    class Refusing {
      constructor() {
        throw new DOMException("The operation is insecure.", "SecurityError");
      }
    }
    vi.stubGlobal("WebSocket", Refusing);
    vi.stubGlobal("location", new URL("https://game.example/"));
    const where = { url: "ws://music.example/v1/stream", offer: null, token: null, handle: null };
    expect(() => new WsTransport().open(where, {} as Receiver)).toThrow("servers on https only (mixed content)");
  });

  test("WebRTC, as in WebKitGTK", async () => {
    expect(() => new RtcTransport({ onMusic: () => {} })).toThrow("this browser has no WebRTC");
    await expect(WhepPlayer.open("http://x/v1/whep/show")).rejects.toThrow(Unsupported);
  });
});

test("a listener whose answer has no music is told so, and leaves no timer", async () => {
  let closed = false;
  class Peer {
    connectionState = "connected";
    addTransceiver() {}
    createOffer = async () => ({ sdp: "" });
    setLocalDescription = async () => {};
    setRemoteDescription = async () => {};
    close() {
      closed = true;
    }
  }
  vi.stubGlobal("RTCPeerConnection", Peer);
  vi.stubGlobal("fetch", async () => new Response("v=0", { status: 201, headers: { location: "/v1/peers/p" } }));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  await expect(WhepPlayer.open("http://x/v1/whep/show")).rejects.toThrow("the answer has no music");
  expect([closed, vi.getTimerCount()]).toEqual([true, 0]);
  const error = await WhepPlayer.open("http://?token=secret").catch((error: Error) => error);
  expect(error).toMatchObject({ name: "ClientError", message: 'an address such as urls.whep was expected, found "http://?…"' });
});

test("a line that is closed while it gathers its candidates asks the server for nothing", async () => {
  class Peer {
    iceGatheringState = "gathering";
    localDescription = { sdp: "" };
    createDataChannel = () => ({});
    addTransceiver = () => ({});
    createOffer = async () => ({ sdp: "" });
    setLocalDescription = async () => {};
    setRemoteDescription = async () => {};
    close() {}
  }
  const asked: unknown[] = [], ends: unknown[] = []; // prettier-ignore
  vi.stubGlobal("RTCPeerConnection", Peer);
  vi.stubGlobal("fetch", async (url: string) => (asked.push(url), new Response("{}")));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const where = { url: "ws://x/v1/stream", offer: "http://x/v1/offer", token: "t", handle: null };
  const receiver = { closed: (end: unknown) => ends.push(end) } as unknown as Receiver;
  new RtcTransport({ onMusic: () => {} }).open(where, receiver).close(1000);
  await vi.advanceTimersByTimeAsync(20_000);
  expect([asked, ends.length, vi.getTimerCount()]).toEqual([[], 1, 0]);
});

test("a server without WebRTC is not asked for it", () => {
  vi.stubGlobal("RTCPeerConnection", class {});
  const where = { url: "ws://x/v1/stream", offer: null, token: null, handle: null };
  expect(() => new RtcTransport({ onMusic: () => {} }).open(where, {} as Receiver)).toThrow(Unsupported);
});

/** A context that sounds when it is resumed where the user lets it, and the page around it. */
class Context extends EventTarget {
  readonly audioWorklet = { addModule: async () => {} };
  state: AudioContextState = "running";
  allowed = true;
  resumed = 0;

  async resume(): Promise<void> {
    this.resumed += 1;
    if (!this.allowed) throw new Error("not allowed");
    this.become("running");
  }

  become(state: AudioContextState): void {
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

describe("a player", () => {
  async function open(): Promise<{ context: Context; page: EventTarget; player: MusicPlayer }> {
    const context = new Context(), page = new EventTarget(); // prettier-ignore
    vi.stubGlobal("WORKLET", "");
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    vi.stubGlobal("AudioWorkletNode", class { readonly port = {}; connect(): void {} }); // prettier-ignore
    return { context, page, player: await MusicPlayer.open({ context: context as unknown as AudioContext }) };
  }

  test.each(["pointerdown", "touchend", "keydown"])("may sound after %s", async (gesture) => {
    const { context, page, player } = await open();
    Object.assign(context, { state: "suspended", allowed: false });
    const unlocked = player.unlocked();
    await moment();
    expect(context.state).toBe("suspended");
    context.allowed = true;
    page.dispatchEvent(new Event(gesture));
    await unlocked;
    expect(context.state).toBe("running");
  });

  test("goes on after a call, and asks for nothing while it lasts", async () => {
    const { context } = await open();
    context.become("interrupted");
    await moment();
    expect(context).toMatchObject({ state: "interrupted", resumed: 0 });
    context.become("suspended");
    await moment();
    expect(context).toMatchObject({ state: "running", resumed: 1 });
  });

  test("goes on with the next touch where the browser leaves the context interrupted", async () => {
    const { context, page } = await open();
    context.become("interrupted");
    await moment();
    page.dispatchEvent(new Event("touchend"));
    await moment();
    expect(context).toMatchObject({ state: "running", resumed: 1 });
    page.dispatchEvent(new Event("touchend"));
    expect(context.resumed).toBe(1);
  });

  test("leaves a context alone that its page suspended", async () => {
    const { context } = await open();
    context.become("suspended");
    await moment();
    expect(context).toMatchObject({ state: "suspended", resumed: 0 });
  });

  test("is not unlocked while a call lasts", async () => {
    const { context, player } = await open();
    context.state = "interrupted";
    let unlocked = false;
    void player.unlocked().then(() => (unlocked = true));
    await moment();
    expect(unlocked).toBe(false);
    context.become("closed");
    await moment();
    expect(unlocked).toBe(true);
  });
});
