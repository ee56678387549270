"""Whether a peer is the one that its offer names: by the fingerprint of its certificate, whatever else that says.

aiortc parses the certificate first, with a library that takes X.509 of version 1 and 3. libdatachannel wrote version 2 before its
0.23 where it is built with OpenSSL, as for OBS 30 and 31 on Linux: DTLS then ended in an exception, and OBS believed that it was
connected. Only the digest is needed (RFC 8122, 5). The method that is replaced is private.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from aiortc import RTCDtlsParameters, RTCPeerConnection
from aiortc.rtcdtlstransport import X509_DIGEST_ALGORITHMS, State
from OpenSSL.crypto import X509

from server.webrtc.reach import transports


def know_by_fingerprint(peer: RTCPeerConnection) -> None:
    """Of a peer that does not connect yet."""
    for transport in transports(peer):
        replaced: Any = transport
        replaced._validate_peer_identity = partial(_validate, replaced)


def _validate(transport: Any, offered: RTCDtlsParameters) -> None:
    """Fails the transport unless there is a fingerprint that we know how to make, and each of those is the certificate's."""
    certificate: X509 = transport._ssl.get_peer_certificate()
    made = [
        (
            offer.value.upper(),
            certificate.digest(X509_DIGEST_ALGORITHMS[offer.algorithm.lower()].name).decode(),
        )
        for offer in offered.fingerprints
        if offer.algorithm.lower() in X509_DIGEST_ALGORITHMS
    ]
    if not made or any(said != seen for said, seen in made):
        transport._set_state(State.FAILED)
