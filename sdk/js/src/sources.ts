// Where pictures come from: camera, screen, a file, shown in a video element by whoever wants them seen.

import { Unsupported } from "./errors.js";

const SMALL: MediaTrackConstraints = { width: { ideal: 640 }, height: { ideal: 360 } };

/** The camera. Throws Unsupported, or what the browser says of a refusal (NotAllowedError). */
export function camera(video: MediaTrackConstraints = SMALL): Promise<MediaStream> {
  return devices().getUserMedia({ video, audio: false });
}

/** A screen, a window or a tab, as the user chooses; Safari asks only in a click or a key of the user's. Throws as `camera` does. */
export function screen(video: MediaTrackConstraints = SMALL): Promise<MediaStream> {
  const from = devices();
  if (!("getDisplayMedia" in from)) {
    throw new Unsupported("This browser shares no screen; those of phones and tablets do not. Take the camera or a file.");
  }
  return from.getDisplayMedia({ video, audio: false });
}

/** Show a stream, or a file over and over, in a muted element. Resolves when it plays. */
export async function show(element: HTMLVideoElement, what: MediaStream | Blob): Promise<void> {
  hide(element);
  element.muted = element.playsInline = true;
  if (what instanceof Blob) {
    element.src = URL.createObjectURL(what);
    element.loop = true;
  } else element.srcObject = what;
  await element.play();
}

/** End what `show` began, the camera too. */
export function hide(element: HTMLVideoElement): void {
  for (const track of (element.srcObject as MediaStream | null)?.getTracks() ?? []) track.stop();
  element.pause();
  element.srcObject = null;
  if (element.src.startsWith("blob:")) URL.revokeObjectURL(element.src);
  element.removeAttribute("src");
  element.load();
}

function devices(): MediaDevices {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  if (globalThis.isSecureContext) throw new Unsupported("This browser gives pages neither camera nor screen. Take a file.");
  throw new Unsupported("The browser gives camera and screen to secure pages only: use https or localhost.");
}
