// What the server answers, in JSON, for who waits so long for it.

export const OK = 200, NO_ANSWER = 0; // statuses; the latter is no server's

/** {status, told: the answer's JSON}. request: as for `fetch`. */
export async function answered(path, patienceMs, request = {}) {
  const patience = new AbortController(), late = setTimeout(() => patience.abort(), patienceMs);
  try {
    const answer = await fetch(path, { ...request, signal: patience.signal });
    return { status: answer.status, told: await answer.json() };
  } catch {
    return { status: NO_ANSWER }; // nobody's, or in a server's place a proxy's, in words of its own
  } finally {
    clearTimeout(late);
  }
}
