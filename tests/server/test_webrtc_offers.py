"""Offers and fragments of SDP: what is taken, what of it remains, and why the others are refused. No network."""

from __future__ import annotations

import contextlib

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st
from obs_offer import AV1, FMTP, H264, HEVC, OBS, OBS_32

from server.webrtc import fragments
from server.webrtc.limits import PeerLimits
from server.webrtc.offers import BROWSER, WHEP, WHIP, Offer, Purpose, Unfit, read
from server.webrtc.receiving import know_profiles

LIMITS = PeerLimits()
know_profiles()
HEAD, SOUND, VIDEO = (
    OBS[: OBS.index("m=audio")],
    OBS[OBS.index("m=audio") : OBS.index("m=video")],
    OBS[OBS.index("m=video") :],
)
ALONE = HEAD.replace("a=group:BUNDLE 0 1\r\n", "")
HEARS = SOUND.replace("sendonly", "recvonly")
CHANNEL = """\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:2
a=sctp-port:5000
a=max-message-size:262144
a=setup:actpass
a=ice-ufrag:/YKg
a=ice-pwd:68VxeP3dhigRFPuLpuX/PU
""".replace("\n", "\r\n")
CANDIDATE = "a=candidate:1 1 {protocol} 2122260223 {address} {port} typ host\r\n"


def lines(offer: Offer) -> list[str]:
    return offer.sdp.splitlines()


@pytest.mark.parametrize(("text", "ufrag"), [(OBS, "/YKg"), (OBS_32, "0Ik1")])
def test_what_obs_offers_is_taken(text: str, ufrag: str) -> None:
    offer = read(text, WHIP, LIMITS)
    assert (offer.candidates, offer.ufrag, offer.music_mid) == (0, ufrag, None)
    parsed = SessionDescription.parse(offer.sdp)
    assert [(m.kind, m.direction, m.rtp.muxId) for m in parsed.media] == [
        ("audio", "sendonly", "0"),
        ("video", "sendonly", "1"),
    ]
    assert [m.rtp.codecs[0].name for m in parsed.media] == ["opus", "H264"]


@pytest.mark.parametrize(
    ("offer", "purpose", "status", "said"),
    [
        ("", WHIP, 400, "media lines"),
        ("hello", WHIP, 400, "media lines"),
        ("m=video", WHIP, 400, "no SDP offer"),
        (OBS.replace("a=rtpmap:96", "a=rtpmap:x"), WHIP, 400, "no SDP offer"),
        (HEAD + SOUND * 9, WHIP, 400, "1 to 8 media lines"),
        (OBS.replace("a=ice-pwd:68VxeP3dhigRFPuLpuX/PU\r\n", ""), WHIP, 400, "ice-pwd"),
        (OBS.replace("a=setup:actpass\r\n", ""), WHIP, 400, "a=setup"),
        (OBS.replace("a=fingerprint", "a=fingertip"), WHIP, 400, "a=fingerprint"),
        (OBS.replace("c=IN IP4 0.0.0.0", "c=IN IP4 elsewhere.example"), WHIP, 400, "address"),
        (HEVC, WHIP, 422, "H.264 or VP8 here; offered: H265"),
        (AV1, WHIP, 422, "offered: AV1"),
        (OBS.replace("opus/48000/2", "PCMU/8000"), WHIP, 422, "Opus here; offered: PCMU"),
        (OBS.replace("a=rtcp-mux\r\n", ""), WHIP, 422, "a=rtcp-mux"),
        (OBS.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), WHIP, 422, "BUNDLE"),
        (OBS.replace("a=mid:1", "a=mid:0"), WHIP, 422, "BUNDLE"),
        (OBS.replace("m=video 9", "m=video 0"), WHIP, 422, "switched off"),
        (OBS + "a=simulcast:send hi;mid;lo\r\n", WHIP, 422, "simulcast"),
        (ALONE + SOUND, WHIP, 422, "video is needed"),
        (OBS.replace("a=sendonly", "a=recvonly"), WHIP, 422, "video is needed"),
        (
            HEAD.replace("0 1", "0 1 3") + SOUND + VIDEO + VIDEO.replace("mid:1", "mid:3"),
            WHIP,
            422,
            "several",
        ),
        (HEAD.replace("0 1", "0 1 2") + SOUND + VIDEO + CHANNEL, WHIP, 422, "no data channel"),
        (OBS.replace("m=video", "m=text"), WHIP, 422, "not text"),
        (OBS, WHEP, 422, "that receives"),
        (HEAD.replace("0 1", "0 1") + HEARS + VIDEO, BROWSER, 422, "a data channel is needed"),
    ],
)
def test_an_offer_that_cannot_be_met_is_refused_with_the_reason(
    offer: str, purpose: Purpose, status: int, said: str
) -> None:
    with pytest.raises(Unfit, match=said) as refused:
        read(offer, purpose, LIMITS)
    assert refused.value.status == status


@pytest.mark.parametrize("direction", ["sendonly", "sendrecv"])
def test_a_publisher_may_offer_both_directions(direction: str) -> None:
    assert read(OBS.replace("sendonly", direction), WHIP, LIMITS)


def test_lines_that_go_over_the_first_ones_transport_need_no_port() -> None:
    """So Firefox offers a bundle: RFC 9143, 7.2.1."""
    hears, channel = (
        part.replace(" 9 ", " 0 ", 1).replace("a=mid", "a=bundle-only\r\na=mid") for part in (HEARS, CHANNEL)
    )
    offer = read(HEAD.replace("0 1", "1 0 2") + VIDEO + hears + channel, BROWSER, LIMITS)
    assert offer.music_mid == "0"
    with pytest.raises(Unfit, match="switched off"):
        read(
            HEAD.replace("0 1", "1 0 2") + VIDEO + hears.replace("bundle-only", "x") + channel,
            BROWSER,
            LIMITS,
        )


def test_a_video_without_sound_needs_no_bundle() -> None:
    assert read(ALONE + VIDEO, WHIP, LIMITS)


@pytest.mark.parametrize("profile", ["42001f", "42e01f", "4d0028", "640028", "640c1f"])
def test_h264_is_taken_in_every_profile(profile: str) -> None:
    assert read(OBS.replace("42e01f", profile), WHIP, LIMITS)


def test_of_many_codecs_those_that_are_decoded_remain() -> None:
    many = OBS.replace("SAVPF 96", "SAVPF 45 96 97").replace(
        H264, f"a=rtpmap:45 AV1/90000\r\n{H264}\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96"
    )
    many = many.replace("SAVPF 111", "SAVPF 0 111").replace(
        "a=rtpmap:111", "a=rtpmap:0 PCMU/8000\r\na=rtpmap:111"
    )
    audio, video = SessionDescription.parse(read(many, WHIP, LIMITS).sdp).media
    assert [codec.name for codec in audio.rtp.codecs] == ["opus"]
    assert [codec.name for codec in video.rtp.codecs] == ["H264", "rtx"]


def test_a_player_is_sent_the_music_on_the_line_that_receives() -> None:
    talks = SOUND.replace("mid:0", "mid:7")
    offer = read(HEAD.replace("0 1", "7 0 2") + talks + HEARS + CHANNEL, BROWSER, LIMITS)
    assert offer.music_mid == "0"
    assert read(ALONE + HEARS, WHEP, LIMITS).music_mid == "0"


def test_candidates_that_are_addresses_remain_and_their_end_does_not() -> None:
    offered = [
        CANDIDATE.format(protocol="udp", address="192.0.2.1", port=5000),
        CANDIDATE.format(protocol="UDP", address="2001:db8::1", port=5000),
        CANDIDATE.format(protocol="tcp", address="192.0.2.2", port=9),
        CANDIDATE.format(protocol="udp", address="6a9e.local", port=5000),
        CANDIDATE.format(protocol="udp", address="224.0.0.251", port=5353),
        CANDIDATE.format(protocol="udp", address="0.0.0.0", port=5000),
        CANDIDATE.format(protocol="udp", address="192.0.2.3", port=0),
    ]
    offer = read(OBS + "".join(offered) + "a=end-of-candidates\r\n", WHIP, LIMITS)
    assert offer.candidates == 2
    for media in SessionDescription.parse(offer.sdp).media:
        assert [candidate.ip for candidate in media.ice_candidates] == ["192.0.2.1", "2001:db8::1"]
        assert not media.ice_candidates_complete


def test_no_more_candidates_are_kept_than_may_be() -> None:
    many = "".join(CANDIDATE.format(protocol="udp", address="192.0.2.1", port=n) for n in range(1, 200))
    assert read(OBS + many, WHIP, LIMITS).candidates == LIMITS.candidates


def test_feedback_for_all_formats_is_noted_once_for_each_and_only_what_we_give() -> None:
    """65 kB of both were noted 5 million times: 7 s of the event loop, 640 MiB, and an answer of 53 MB."""
    formats = "a=rtpmap:96 H264/90000\r\n" * 1000
    feedback = "".join(f"a=rtcp-fb:* {said}\r\n" for said in ("nack", "nack pli", *map(str, range(2000))))
    *_, video = SessionDescription.parse(read(OBS + formats + feedback, WHIP, LIMITS).sdp).media
    (codec,) = video.rtp.codecs
    assert len(codec.rtcpFeedback) < 10


@pytest.mark.parametrize(
    "line", ["a=rtpmap:{} VP8/90000", "a=ssrc:{} cname:x", "a=rtcp-fb:{} nack", "a=fmtp:{} x=1"]
)
def test_lines_below_a_media_line_are_bounded(line: str) -> None:
    many = "".join(line.format(n) + "\r\n" for n in range(LIMITS.attributes))
    with pytest.raises(Unfit, match="at most 400 lines") as refused:
        read(OBS + many, WHIP, LIMITS)
    assert refused.value.status == 400


@settings(max_examples=100)
@given(st.data())
def test_what_is_cut_and_mixed_is_taken_or_refused_and_nothing_else(data: st.DataObject) -> None:
    parts = OBS.splitlines(keepends=True)
    kept = data.draw(st.lists(st.sampled_from([*parts, "a=\r\n", "m=\r\n", "\x00", FMTP]), max_size=60))
    order = kept if data.draw(st.booleans()) else [part for part in parts if data.draw(st.integers(0, 9))]
    with contextlib.suppress(Unfit):  # any other exception fails
        assert read("".join(order), WHIP, LIMITS).sdp


def test_a_fragment_has_candidates_of_a_line() -> None:
    line = CANDIDATE.format(protocol="udp", address="192.0.2.1", port=5000)
    found = fragments.read(f"a=ice-ufrag:EsAw\r\na=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n{line}")
    assert found.ufrag == "EsAw"
    assert [(candidate.sdpMid, candidate.ip) for candidate in found.candidates] == [("0", "192.0.2.1")]


@pytest.mark.parametrize("text", ["hello", "a=candidate:1 1 udp\r\n", "m=audio 9 RTP/AVP 0\r\n" + CANDIDATE])
def test_a_fragment_that_is_none(text: str) -> None:
    with pytest.raises(Unfit) as refused:
        fragments.read(text)
    assert refused.value.status == 400
