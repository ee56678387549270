"""An offer as OBS 30.2 and later makes it: by libdatachannel, without candidates, one sound and one video, sendonly."""

OBS = """\
v=0
o=rtc 2951347061 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=ice-options:ice2,trickle
a=fingerprint:sha-256 \
4A:41:1C:0E:5B:3B:1E:C9:E2:92:9C:0D:A5:12:0B:65:6F:D9:44:1F:7A:90:14:8C:5B:E9:3E:3D:7E:6C:C2:40
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=ssrc:1815387329 cname:LZYPGFoYQgTqyTzl
a=ssrc:1815387329 msid:DmCoKEWNDAuDPWVh DmCoKEWNDAuDPWVh-audio
a=msid:DmCoKEWNDAuDPWVh DmCoKEWNDAuDPWVh-audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
a=setup:actpass
a=ice-ufrag:nKXR
a=ice-pwd:rKbTSnJtVDLbJGtaxnrrTg
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=sendonly
a=ssrc:1815387330 cname:LZYPGFoYQgTqyTzl
a=ssrc:1815387330 msid:DmCoKEWNDAuDPWVh DmCoKEWNDAuDPWVh-video
a=msid:DmCoKEWNDAuDPWVh DmCoKEWNDAuDPWVh-video
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 goog-remb
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
a=setup:actpass
a=ice-ufrag:nKXR
a=ice-pwd:rKbTSnJtVDLbJGtaxnrrTg
""".replace("\n", "\r\n")

H264 = "a=rtpmap:96 H264/90000"
FMTP = "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
HEVC = OBS.replace(H264, "a=rtpmap:96 H265/90000").replace(FMTP, "")
AV1 = OBS.replace(H264, "a=rtpmap:96 AV1/90000").replace(FMTP, "")
