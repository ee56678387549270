// Run in a page of the server: the camera goes up by websocket or by WebRTC as any program of the SDK would send it, the music comes
// down, and notes are kept of when the picture turned from dark to bright or back, when that was told, and when it was heard.
(async () => {
  const { Client, MusicPlayer, RtcTransport, Shutter, camera, keepTicket, savedTicket } = await import("/static/cuestream.js");
  const CLICK = 0.35; // of full scale; test tones are at most 0.2
  const APART_MS = 100; // a click rings: what follows so soon is the same one
  const EAR = `registerProcessor("ear", class extends AudioWorkletProcessor {
    process([[left]]) {
      if (left?.some((sample) => Math.abs(sample) > ${CLICK})) this.port.postMessage(Date.now());
      return true;
    }
  });`;

  /** The turns of a picture: when the camera took it, and when the page had it, on the page's clock. */
  const watch = (stream, turned) => {
    const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true });
    const pen = new OffscreenCanvas(8, 8).getContext("2d", { willReadFrequently: true });
    let bright = null, presented = 0;
    const look = (now, { captureTime, presentedFrames }) => {
      pen.drawImage(video, 0, 0, 8, 8);
      const luma = pen.getImageData(0, 0, 8, 8).data.reduce((sum, value, i) => sum + (i % 4 === 1 ? value : 0), 0) / 64;
      const followed = presentedFrames === presented + 1; // or the one that turned was not shown here
      if (bright !== null && luma > 128 !== bright && followed) turned({ captured: captureTime ?? now, shown: performance.now() });
      bright = luma > 128;
      presented = presentedFrames;
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
    return video.play();
  };

  /** Both channels of what sounds, and the moments at which it clicks. */
  const listen = async (context, node, clicked) => {
    const url = URL.createObjectURL(new Blob([EAR], { type: "text/javascript" }));
    await context.audioWorklet.addModule(url);
    const ear = new AudioWorkletNode(context, "ear");
    const silent = new GainNode(context, { gain: 0 });
    node.connect(ear).connect(silent).connect(context.destination);
    ear.port.onmessage = ({ data }) => clicked(performance.now() - (Date.now() - data));
    const both = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    const meters = [0, 1].map(() => new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 }));
    meters.forEach((meter, i) => both.connect(meter, i));
    node.connect(both);
    return {
      /** The largest sample of the last 0.17 s, of each channel. */
      peaks: () => meters.map((meter) => {
        const samples = new Float32Array(meter.fftSize);
        meter.getFloatTimeDomainData(samples);
        return Math.max(...samples);
      }),
      /** Decibels at each of these tones, for each channel. */
      levels: (...tones) => meters.map((meter) => {
        const spectrum = new Float32Array(meter.frequencyBinCount);
        meter.getFloatFrequencyData(spectrum);
        const bin = (hz) => Math.round((hz * meter.fftSize) / context.sampleRate);
        return tones.map((hz) => Math.max(...spectrum.subarray(bin(hz) - 2, bin(hz) + 3)));
      }),
    };
  };

  /** How the two ways differ. heard: the node that sounds; figures: what can be said of the way, milliseconds and counts. */
  const WAYS = {
    async websocket(stream, { comfort = {}, ...options }, notes) {
      const player = await MusicPlayer.open({ comfort });
      await player.unlocked();
      const client = new Client({ url: "/", ...options });
      player.connect(client);
      const shutter = new Shutter(client, stream.getVideoTracks()[0], { onError: ({ message }) => notes.errors.push(message) });
      const figures = async () => ({
        level_ms: 1000 * (player.played?.levelS ?? 0),
        target_ms: 1000 * (player.played?.targetS ?? 0),
        underruns: player.played?.underruns ?? 0,
      });
      return { client, player, shutter, context: player.context, heard: player.node, figures };
    },
    async webrtc(stream, { bufferMs, ...options }) {
      const context = new AudioContext({ latencyHint: "interactive" });
      const heard = new GainNode(context);
      const audio = Object.assign(new Audio(), { autoplay: true }); // what a listener hears; without it browsers decode nothing
      const onMusic = (music) => {
        audio.srcObject = music;
        context.createMediaStreamSource(music).connect(heard);
      };
      const transport = new RtcTransport({ video: stream.getVideoTracks()[0], onMusic, bufferMs });
      const client = new Client({ url: "/", ...options, transport });
      return { client, transport, audio, context, heard, figures: async () => counted(await transport.stats()) };
    },
  };

  /** Sums, of which two moments give a mean. */
  const counted = (report) => {
    const found = {};
    const add = (one, names) => names.forEach((name) => (found[name] = one[name] ?? 0));
    for (const one of report?.values() ?? []) {
      if (one.type === "inbound-rtp" && one.kind === "audio") {
        add(one, ["jitterBufferDelay", "jitterBufferTargetDelay", "jitterBufferMinimumDelay", "jitterBufferEmittedCount"]);
        add(one, ["concealedSamples", "silentConcealedSamples", "totalSamplesReceived", "packetsLost"]);
      }
      if (one.type === "outbound-rtp" && one.kind === "video") {
        add(one, ["framesEncoded", "totalEncodeTime", "packetsSent", "totalPacketSendDelay", "frameWidth", "frameHeight"]);
      }
      if (one.type === "codec" && one.mimeType === "audio/opus") found.opus = one.sdpFmtpLine;
    }
    return found;
  };

  /** Ask for a session, or with `again` for the one that this tab had, and play. */
  const begin = async (over, { again = false, ...options } = {}) => {
    const notes = { turns: [], told: [], hands: [], clicks: [], chunks: [], lines: [], messages: [], errors: [] };
    const stream = await camera();
    await watch(stream, (turn) => notes.turns.push(turn));
    const way = await WAYS[over](stream, { ...options, ticket: again ? savedTicket() : null }, notes);
    const { client, context } = way;
    const note = (list, at) => (at - (list.at(-1) ?? -Infinity) > APART_MS ? list.push(at) : undefined);
    const meters = await listen(context, way.heard, (at) => note(notes.clicks, at));
    client.on("line", ({ state, next }) => notes.lines.push(next ? `${state} ${next.code}` : state));
    client.on("message", ({ type }) => notes.messages.push(type));
    client.on("scene.cut", () => notes.told.push(performance.now()));
    client.on("music", ({ session, first, end, samples }) => {
      notes.chunks.push([session, first, end]);
      if (samples.some((sample) => Math.abs(sample) > CLICK)) note(notes.hands, performance.now());
    });
    keepTicket(client);
    if (!again) client.play();
    await client.connect();
    const outputMs = () => 1000 * (context.baseLatency + (context.outputLatency || 0));
    window.reaction = { ...way, ...meters, over, notes, outputMs, stream };
  };

  window.begin = begin;
})();
