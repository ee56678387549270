// What the music watches: camera, screen or file, drawn small a few times a second and sent as JPEG.

const QUALITY = 0.8;

/** Shows the source in `video`. Throws Error with words for people. file: a File, for "file". */
export async function open(video, source, file) {
  if (source === "file") {
    video.srcObject = null;
    video.src = URL.createObjectURL(file);
    video.loop = true;
  } else {
    if (!navigator.mediaDevices) throw new Error("The browser gives camera and screen to secure pages only: use https or localhost.");
    const want = { video: { width: { ideal: 640 }, height: { ideal: 360 } }, audio: false };
    video.srcObject = await (source === "camera" ? navigator.mediaDevices.getUserMedia(want) : navigator.mediaDevices.getDisplayMedia(want));
  }
  await video.play();
}

export function close(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.pause();
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}

/** Takes pictures of a video. A worker keeps the time, since a page's own timers sleep when it is hidden. */
export class Shutter {
  constructor(video, { fps, max_edge }, onPicture) {
    this.video = video;
    this.edge = max_edge;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.onPicture = onPicture;
    this.busy = false;
    this.worker = new Worker("static/ticker.js");
    this.worker.onmessage = () => this.take();
    this.worker.postMessage(1000 / fps);
  }

  take() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (this.busy || !width) return;
    const scale = Math.min(1, this.edge / Math.max(width, height));
    const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    const atUs = performance.now() * 1000;
    this.context.drawImage(this.video, 0, 0, w, h);
    this.busy = true;
    this.canvas.toBlob(async (blob) => {
      this.busy = false;
      if (blob) this.onPicture(await blob.arrayBuffer(), atUs, this.canvas);
    }, "image/jpeg", QUALITY);
  }

  close() {
    this.worker.terminate();
  }
}
