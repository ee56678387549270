// What the server is (GET v1/version), once it says so: a page outlives a server that begins again, and may be open before it.

const AGAIN_MS = 1000, AGAIN_MOST_MS = 8000; // the pauses grow: many pages may wait for one server
const ANSWER_MS = 10000; // a machine that is asleep, or stopped, lets who asks wait

/** say: hears what is wrong in words, and "" when nothing is. */
export async function aboutServer(say) {
  for (let pause = AGAIN_MS; ; pause = Math.min(2 * pause, AGAIN_MOST_MS)) {
    const patience = new AbortController(), late = setTimeout(() => patience.abort(), ANSWER_MS);
    try {
      const answer = await fetch("v1/version", { signal: patience.signal });
      if (answer.ok) {
        const about = await answer.json();
        say("");
        return about;
      }
    } catch {} finally { // nobody answered, or somebody in the server's place
      clearTimeout(late);
    }
    say("The server does not answer; trying again.");
    await new Promise((done) => setTimeout(done, pause));
  }
}
