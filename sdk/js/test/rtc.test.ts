// What can be said of the WebRTC transport without a browser.

import { describe, expect, test } from "vitest";
import { withStereo } from "../src/rtctransport.js";
import { World } from "./world.js";

const OFFER = [
  "v=0",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9",
  "a=rtpmap:111 opus/48000/2",
  "a=fmtp:111 minptime=10;useinbandfec=1",
  "a=rtpmap:63 red/48000/2",
  "a=fmtp:63 111/111",
  "a=rtpmap:9 G722/8000",
  "",
].join("\r\n");

describe("an offer asks for stereo", () => {
  test("on the line of Opus, and there only", () => {
    const asked = withStereo(OFFER);
    expect(asked).toContain("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n");
    expect(asked.match(/stereo/g)).toHaveLength(1);
    expect(withStereo(asked)).toBe(asked);
  });

  test("where Opus has no line of parameters", () => {
    const bare = OFFER.replace("a=fmtp:111 minptime=10;useinbandfec=1\r\n", "");
    expect(withStereo(bare)).toContain("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 stereo=1\r\n");
  });
});

describe("a line without close codes", () => {
  test.each([
    ["session_superseded", "stop", 4409],
    ["capacity", "retry", 1013],
    ["restarting", "resume", 1012],
  ])("after %s it does what a websocket's close would have said", (code, then, close) => {
    const world = new World();
    world.run(60);
    world.session.receive(JSON.stringify({ type: "error", code, text: "so it is", fatal: true }));
    expect(world.session.lost()).toMatchObject({ then, code: close });
  });
});
