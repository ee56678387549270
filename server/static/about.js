// What the server is (GET v1/version), once it says so: a page outlives a server that begins again, and may be open before it.

import { OK, answered } from "./asking.js";

const AGAIN_MS = 1000, AGAIN_MOST_MS = 8000; // the pauses grow: many pages may wait for one server
const ANSWER_MS = 10000; // a machine that is asleep, or stopped, lets who asks wait

/** say: hears what is wrong in words, and "" when nothing is. */
export async function aboutServer(say) {
  for (let pause = AGAIN_MS; ; pause = Math.min(2 * pause, AGAIN_MOST_MS)) {
    const { status, told } = await answered("v1/version", ANSWER_MS);
    if (status === OK) {
      say("");
      return told;
    }
    say("The server does not answer; trying again.");
    await new Promise((done) => setTimeout(done, pause));
  }
}
