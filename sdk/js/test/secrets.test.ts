// A secret is planted wherever one comes in, and looked for in all that comes out.

import { afterEach, describe, expect, test, vi } from "vitest";
import { Client } from "../src/client.js";
import { ClientError, ProtocolError, Refused, Unreachable } from "../src/errors.js";
import { ask, bearing, createSession } from "../src/rest.js";
import { withoutSecrets } from "../src/secrets.js";
import { Session } from "../src/session.js";
import type { Receiver, Where } from "../src/transport.js";
import { WsTransport } from "../src/wstransport.js";

const SECRET = "cs_Planted-0.9~x";

afterEach(() => vi.unstubAllGlobals());

test.each([
  [`http://here/v1/whep/show?token=${SECRET}: no answer`, "http://here/v1/whep/show?…: no answer"],
  [`https://me:${SECRET}@here:8443/live leads away`, "https://…@here:8443/live leads away"],
  [`wss://${SECRET}@here`, "wss://…@here"],
  [`see "http://here/obs?session=show#token=${SECRET}".`, 'see "http://here/obs?…".'],
  [`no route for /v1/whep/show?a=1&token=${SECRET}`, "no route for /v1/whep/show?a=…&token=…"],
  [`srt://here:9000?passphrase=${SECRET}, refused`, "srt://here:9000?…, refused"],
  [`Authorization: Bearer ${SECRET}`, "Authorization: Bearer …"],
  [`The subprotocol 'cuestream.token.${SECRET}' is invalid.`, "The subprotocol 'cuestream.token.…' is invalid."],
  ["is it http://here:8765/v1/sessions? yes: a@b, 1/2 = 0.5", "is it http://here:8765/v1/sessions? yes: a@b, 1/2 = 0.5"],
])("of %j the secret is left out", (text, shown) => {
  expect(withoutSecrets(text)).toBe(shown);
  expect(withoutSecrets(shown)).toBe(shown);
  expect(withoutSecrets(shown)).not.toContain("Planted");
});

describe("no secret is in", () => {
  const signed = `http://me:${SECRET}@here/v1/whep/show?token=${SECRET}`;
  const text = async (failing: Promise<unknown>) => {
    const error = await failing.then(() => null, (error: Error) => error);
    return `${error?.name} ${error?.message} ${error?.stack} ${JSON.stringify(error)}`;
  };

  test("an error of any kind", () => {
    const all = [new ClientError(signed), new Refused(503, signed), new Unreachable(signed), new ProtocolError("bad_request", signed)];
    for (const error of all) expect(`${error.stack} ${error} ${JSON.stringify(error)}`).not.toContain(SECRET);
  });

  test("what is said of a request, of its answer, and of an address that is none", async () => {
    vi.stubGlobal("fetch", async (url: string) => Promise.reject(new TypeError(`cannot fetch ${url}`)));
    expect(await text(ask(signed, {}))).not.toContain(SECRET);
    for (const body of ["", `no host for ${signed}`, JSON.stringify({ error: { code: "forbidden", text: signed } })]) {
      vi.stubGlobal("fetch", async () => new Response(body, { status: 403 }));
      expect(await text(ask(signed, {}))).not.toContain(SECRET);
    }
    expect(await text(createSession(`ftp://me:${SECRET}@here`))).not.toContain(SECRET);
  });

  test("what is said of a token that is none", async () => {
    for (const token of [`${SECRET}\n`, ` ${SECRET}`, `${SECRET}é`]) {
      expect(() => bearing(token)).toThrow("a token is ASCII");
      expect(await text(createSession("http://here", token))).not.toContain(SECRET);
    }
    expect(bearing("a key of words")).toEqual({ authorization: "Bearer a key of words" });
  });

  test("what a browser says of a line", async () => {
    class Refusing {
      constructor(url: string, protocols: string[]) {
        throw new DOMException(`The URL '${url}' or the subprotocol '${protocols[1]}' is invalid.`, "SyntaxError");
      }
    }
    vi.stubGlobal("WebSocket", Refusing);
    const urls = { ws: `ws://me:${SECRET}@here/v1/stream`, audio: {} };
    const made = { session_id: "s", client_secret: { value: SECRET, expires_s: 60 }, urls, resume_window_s: 30, model: "", label: "" };
    const client = new Client({ url: "http://here", invite: async () => made });
    const lines: unknown[] = [];
    client.on("line", (line) => lines.push(line));
    expect(await text(client.connect())).not.toContain(SECRET);
    expect(JSON.stringify(lines)).toContain("is invalid");
    expect(JSON.stringify(lines)).not.toContain(SECRET);
  });

  test("why a line was lost", () => {
    const session = new Session(signed);
    expect(JSON.stringify(session.refused(null, `${signed}: no answer`))).not.toContain(SECRET);
    session.opened();
    expect(JSON.stringify(session.lost())).not.toContain(SECRET);
    session.opened();
    session.receive(JSON.stringify({ type: "error", code: "forbidden", text: `not with Bearer ${SECRET}`, fatal: true }));
    expect(JSON.stringify(session.lost(4403))).not.toContain(SECRET);
  });
});

test("a websocket of another subprotocol is none of ours, and is not tried again", () => {
  class Other {
    readonly url = "ws://here/v1/stream";
    readonly protocol = "";
    onopen = () => {};
    close() {}
  }
  const opened: Other[] = [];
  vi.stubGlobal("WebSocket", function () {
    opened.push(new Other());
    return opened[0];
  });
  const said: unknown[] = [];
  const receiver = { opened: () => said.push("opened"), closed: (end: unknown) => said.push(end) } as unknown as Receiver;
  const where: Where = { url: "ws://here/v1/stream", offer: null, token: null, handle: null };
  new WsTransport().open(where, receiver);
  opened[0]!.onopen();
  const reason = "ws://here/v1/stream: not a server of cuestream.v1";
  expect(said).toEqual([{ code: 1006, reason, stood: false, status: 400 }]);
});
