"""The offer of OBS 30.2.3 with libdatachannel 0.21, as it came: without candidates, one sound and one video, sendonly."""

OBS = """\
v=0
o=rtc 2055509036 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=setup:actpass
a=ice-ufrag:/YKg
a=ice-pwd:68VxeP3dhigRFPuLpuX/PU
a=ice-options:ice2,trickle
a=fingerprint:sha-256 \
89:7C:CD:27:CB:EF:6B:13:6D:1C:82:9D:EE:85:B6:6F:5B:59:15:DB:CD:4D:19:71:2F:95:3A:EE:92:A6:FC:71
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=ssrc:229786207 cname:F2r2bz9VGTe3VK5T
a=ssrc:229786207 msid:XXaREedfjvAsdPvc XXaREedfjvAsdPvc-audio
a=msid:XXaREedfjvAsdPvc XXaREedfjvAsdPvc-audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=sendonly
a=ssrc:229786208 cname:F2r2bz9VGTe3VK5T
a=ssrc:229786208 msid:XXaREedfjvAsdPvc XXaREedfjvAsdPvc-video
a=msid:XXaREedfjvAsdPvc XXaREedfjvAsdPvc-video
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 goog-remb
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
""".replace("\n", "\r\n")

H264 = "a=rtpmap:96 H264/90000"
FMTP = "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
HEVC = OBS.replace(H264, "a=rtpmap:96 H265/90000").replace(FMTP, "")
AV1 = OBS.replace(H264, "a=rtpmap:96 AV1/90000").replace(FMTP, "")
