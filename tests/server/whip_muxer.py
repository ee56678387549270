"""FFmpeg's own WHIP publisher, as a process: python whip_muxer.py URL KEY FOLDER SECONDS. The folder gets its certificate.

It shows a picture that is dark for a second, then bright, with a tone, and sends DELETE at its end. FFmpeg's default certificate
is none that aiortc's DTLS takes; one with a P-256 key is.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

FPS, RATE, FRAME = 20, 48_000, 960


def certify(folder: Path) -> dict[str, str]:
    from aiortc import RTCCertificate

    made = RTCCertificate.generateCertificate()
    key = made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "cert.pem").write_bytes(made._cert.public_bytes(Encoding.PEM))
    return {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}


def publish(url: str, key: str, folder: Path, seconds: float) -> None:
    options = certify(folder) | {"authorization": key}
    with av.open(url, "w", format="whip", options=options) as whip:
        video = whip.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": str(FPS)}
        video.codec_context.time_base = Fraction(1, FPS)
        sound = whip.add_stream("libopus", rate=RATE, layout="stereo", format="s16")
        began_s = time.monotonic()
        for n in range(int(seconds * FPS)):
            level = 40 if n < FPS else 230
            picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), level, np.uint8), format="rgb24")
            picture.pts, picture.time_base = n, Fraction(1, FPS)
            whip.mux(video.encode(picture))
            at = np.arange(RATE // FPS) + n * RATE // FPS
            tone = (3000 * np.sin(2 * np.pi * 440 * at / RATE)).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(
                np.repeat(tone, 2).reshape(1, -1), format="s16", layout="stereo"
            )
            heard.sample_rate, heard.pts, heard.time_base = RATE, int(at[0]), Fraction(1, RATE)
            whip.mux(sound.encode(heard))
            time.sleep(max(0.0, began_s + (n + 1) / FPS - time.monotonic()))


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
