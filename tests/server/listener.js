// Run in the page of a server: a program that uses the SDK as any other one would. It paints a canvas, listens, and keeps notes.
(async () => {
  const { Client, JitterBuffer, MusicPlayer, Shutter } = await import("/static/cuestream.js");
  const EAR = `registerProcessor("ear", class extends AudioWorkletProcessor {
    process([[left]]) {
      const at = left ? left.findIndex((x) => Math.abs(x) > 0.4) : -1; // a click; tones are at most 0.2
      if (at >= 0) this.port.postMessage(currentTime + at / sampleRate);
      return true;
    }
  });`;
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const pen = canvas.getContext("2d");
  const notes = { clicks: [], changes: [], chunks: [], lines: [], messages: [], errors: [] };

  const paint = (grey) => {
    pen.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    notes.changes.push(performance.now());
  };
  paint(20);
  const player = await MusicPlayer.open();
  await player.unlocked();
  await player.context.audioWorklet.addModule(URL.createObjectURL(new Blob([EAR], { type: "text/javascript" })));
  const ear = new AudioWorkletNode(player.context, "ear");
  player.node.connect(ear).connect(player.context.destination);
  ear.port.onmessage = ({ data }) => notes.clicks.push(performance.now() - 1000 * (player.context.currentTime - data));

  const client = new Client();
  client.on("music", ({ session, first, end }) => notes.chunks.push([session, first, end]));
  client.on("line", ({ state, next }) => notes.lines.push(next ? `${state} ${next.code}` : state));
  client.on("message", ({ type }) => notes.messages.push(type));
  player.connect(client);
  const shutter = new Shutter(client, canvas, { onError: ({ message }) => notes.errors.push(message) });
  client.play();
  await client.connect();

  /** Milliseconds from each change of the picture to the click that answers it, null where none came in time. */
  const answers = () =>
    notes.changes.slice(1).map((at) => notes.clicks.find((click) => click > at && click < at + 450) ?? NaN).map((click, i) => {
      const ms = click - notes.changes[i + 1];
      return Number.isNaN(ms) ? null : ms;
    });

  /** Change the picture so many times, at moments that keep no step with anything. */
  const flash = async (times) => {
    notes.changes.length = 0;
    paint(20);
    for (let i = 0; i < times; i++) {
      await new Promise((done) => setTimeout(done, 470 + 97 * Math.random()));
      paint(i % 2 ? 20 : 240);
    }
    await new Promise((done) => setTimeout(done, 450));
    return answers();
  };

  window.listener = { client, player, shutter, notes, flash };
})();
