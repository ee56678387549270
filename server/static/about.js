// What the server is (GET v1/version), once it says so: a page outlives a server that begins again, and may be open before it.

const AGAIN_MS = 2000;

/** say: hears what is wrong in words, and "" when nothing is. */
export async function aboutServer(say) {
  for (;;) {
    try {
      const answer = await fetch("v1/version");
      if (answer.ok) {
        const about = await answer.json();
        say("");
        return about;
      }
    } catch {} // nobody answered, or somebody in the server's place
    say("The server does not answer; trying again.");
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  }
}
