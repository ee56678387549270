"""The offers of OBS as they came: without candidates, one sound and one video, sendonly.

`OBS`: 30.2.3 with libdatachannel 0.21, which says once for both what `OBS_32` says below each: 32.2.2 with 0.24.
"""

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

OBS_32 = """\
v=0
o=rtc 208919060 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=ice-options:ice2,trickle
a=fingerprint:sha-256 \
57:69:75:BB:4B:55:74:8F:D0:E8:B9:C6:3A:69:27:67:4D:D2:F4:8D:59:12:5E:51:08:2F:BE:B1:FB:A2:72:DE
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=ssrc:3666811591 cname:KrGxUEY3yqrJHVez
a=ssrc:3666811591 msid:lg4l1rYdXrhG5rGm lg4l1rYdXrhG5rGm-audio
a=msid:lg4l1rYdXrhG5rGm lg4l1rYdXrhG5rGm-audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
a=setup:actpass
a=ice-ufrag:0Ik1
a=ice-pwd:OsWCCQ97fpmNsz0jiZHLFx
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=sendonly
a=ssrc:3666811592 cname:KrGxUEY3yqrJHVez
a=ssrc:3666811592 msid:lg4l1rYdXrhG5rGm lg4l1rYdXrhG5rGm-video
a=msid:lg4l1rYdXrhG5rGm lg4l1rYdXrhG5rGm-video
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 goog-remb
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
a=setup:actpass
a=ice-ufrag:0Ik1
a=ice-pwd:OsWCCQ97fpmNsz0jiZHLFx
""".replace("\n", "\r\n")

H264 = "a=rtpmap:96 H264/90000"
FMTP = "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
HEVC = OBS.replace(H264, "a=rtpmap:96 H265/90000").replace(FMTP, "")
AV1 = OBS.replace(H264, "a=rtpmap:96 AV1/90000").replace(FMTP, "")
