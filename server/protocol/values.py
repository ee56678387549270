"""The numbers and words of the protocol: each kind of value once, with its range and its unit.

JavaScript holds integers exactly up to 2**53 - 1. No integer on the wire is larger, so no client needs big integers: seeds,
sample indices and microseconds (285 years of them) all fit.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

SAFE_INTEGER = 2**53 - 1
U32 = 2**32 - 1

EventId = Annotated[
    str,
    Meta(
        min_length=1, max_length=64, description="Chosen by the client; what answers the message has it too"
    ),
]
Name = Annotated[str, Meta(max_length=128)]
Text = Annotated[str, Meta(max_length=1024)]
Handle = Annotated[
    str, Meta(min_length=1, max_length=1024, description="Opaque; good for one session until it expires")
]
Url = Annotated[str, Meta(max_length=2048)]

Minor = Annotated[int, Meta(ge=0, le=65535, description="Highest minor version that the sender knows")]
Micros = Annotated[
    int, Meta(ge=0, le=SAFE_INTEGER, description="Microseconds on the client's monotonic clock")
]
ServerMicros = Annotated[
    int, Meta(ge=0, le=SAFE_INTEGER, description="Microseconds on the server's monotonic clock")
]
Sample = Annotated[int, Meta(ge=0, le=SAFE_INTEGER, description="Index of a sample of the music, from 0")]
Count = Annotated[int, Meta(ge=0, le=SAFE_INTEGER)]
Revision = Annotated[int, Meta(ge=0, le=U32, description="Counts the changes of the configuration, from 0")]
DAY_MS = 86_400_000
"""The most milliseconds that a message says."""
Millis = Annotated[int, Meta(ge=0, le=DAY_MS, description="Milliseconds")]
Measured = Annotated[float, Meta(ge=0, le=DAY_MS, description="Milliseconds, measured")]
Ratio = Annotated[float, Meta(ge=0, le=1000)]
Ppm = Annotated[
    float, Meta(ge=-10_000, le=10_000, description="Parts in a million that the client's sound card is fast")
]
CreditMs = Annotated[
    int, Meta(ge=60, le=10_000, description="Milliseconds of audio that may be sent and not yet played")
]

GainDb = Annotated[float, Meta(ge=-60, le=12, description="dB; -60 is silence")]
FadeMs = Annotated[
    int, Meta(ge=0, le=10_000, description="Milliseconds; every change takes at least 10 so that none clicks")
]
ThresholdDb = Annotated[float, Meta(ge=-80, le=0, description="dB of full scale")]
DepthDb = Annotated[float, Meta(ge=0, le=60, description="dB by which the music is lowered")]
AttackMs = Annotated[int, Meta(ge=1, le=1_000, description="Milliseconds")]
ReleaseMs = Annotated[int, Meta(ge=1, le=10_000, description="Milliseconds")]
Guidance = Annotated[float, Meta(ge=0, le=20, description="Guidance scale; 1 is none")]
Temperature = Annotated[float, Meta(ge=0, le=10, description="0 is greedy")]
TopK = Annotated[int, Meta(ge=0, le=65_536, description="0 is off")]
TopP = Annotated[float, Meta(ge=0, le=1, description="0 is off; otherwise it replaces top_k")]
Seed = Annotated[int, Meta(ge=0, le=SAFE_INTEGER, description="0 to 2**53 - 1")]
ShortTermS = Annotated[
    float, Meta(ge=0.5, le=3600, description="Seconds; how long an old scene keeps sounding")
]
Energy = Annotated[
    float,
    Meta(
        ge=-1,
        le=1,
        description="How lively beside what moves in the picture: -1 as if nothing did, 1 as if all did",
    ),
]
EndReason: TypeAlias = Literal["asked", "session_ended", "length", "quota", "disk", "failed"]
"""Why a recording or an output ended."""
Key: TypeAlias = Literal["seed", "free", "C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"]
CutResponse: TypeAlias = Literal["ignore", "gentle", "follow"]

SampleRate = Annotated[int, Meta(ge=8_000, le=192_000, description="Hz")]
Channels = Annotated[int, Meta(ge=1, le=2)]
Fps = Annotated[float, Meta(gt=0, le=240)]
Edge = Annotated[int, Meta(ge=1, le=16_384, description="Pixels")]
AudioCodec: TypeAlias = Literal["pcm_s16", "pcm_f32", "opus", "flac"]
RecordedAudio: TypeAlias = Literal["flac", "wav", "opus"]
VideoCodec: TypeAlias = Literal["jpeg", "webp", "png", "h264", "vp8", "i420", "rgb24"]
