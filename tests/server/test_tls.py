"""https and wss with a certificate of our own making; files that are no good say why; SIGHUP reads them again."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from process import certified, plays_at, run, serve_tiny
from served import Serve, Served
from shell_client import keep_sending, last_code, raw

from cuestream_client.client import Client
from cuestream_client.closes import Patience
from cuestream_client.errors import Refused, Unreachable
from server.http.connections import DoorLimits
from server.http.tls import Certificate, TlsError


class Authority:
    """Issues certificates for this machine into the same two files."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.files = Certificate(folder / "cert.pem", folder / "key.pem")
        self.issue()

    def issue(self) -> None:
        made = self._ca.issue_cert("localhost", "127.0.0.1")
        assert self.files.key is not None
        self.files.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        self.files.key.write_bytes(made.private_key_pem.bytes())

    @property
    def trusted(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def shown_by(self, served: Served) -> bytes | None:
        return self.shown_at(served.port)

    def shown_at(self, port: int) -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as line,
            self.trusted.wrap_socket(line, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert(binary_form=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_who_trusts_the_certificate_plays_and_nobody_else(serve: Serve, authority: Authority) -> None:
    with serve(certificate=authority.files) as served:
        address = f"https://127.0.0.1:{served.port}"
        with Client(address, tls=authority.trusted) as client:
            client.play()
            client.push(b"\xff\xd8\xff")
            assert client.session.url.startswith("wss:")
        once = Patience(first_attempts=0)
        for tried, error in ((address, Unreachable), (served.ws, Refused)):
            client = Client(tried, patience=once)
            with pytest.raises(error):
                client.connect()
            client.close()


def test_another_certificate_is_shown_after_it_was_read_again(
    serve: Serve, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    with serve(certificate=authority.files) as served:
        first = authority.shown_by(served)
        authority.issue()
        assert authority.shown_by(served) == first
        served.on_loop(served._server.reload_certificate)
        second = authority.shown_by(served)
        assert second != first
        authority.files.cert.write_text("no certificate")
        served.on_loop(served._server.reload_certificate)
        assert authority.shown_by(served) == second
        said = capfd.readouterr().err
        assert "the certificate stays as it was: cert.pem and key.pem: expected a certificate" in said


def test_a_handshake_that_is_not_whole_in_time_is_let_go(serve: Serve, authority: Authority) -> None:
    with (
        serve(certificate=authority.files, door=DoorLimits(request_s=0.5)) as served,
        socket.create_connection(("127.0.0.1", served.port), 15) as line,
    ):
        line.sendall(b"\x16\x03\x01")
        assert line.recv(100) == b""


def test_what_is_still_on_its_way_does_not_drown_the_close(serve: Serve, authority: Authority) -> None:
    with serve(certificate=authority.files) as served, raw(served.port, authority.trusted) as line:
        received = line.recv(4096)
        line.sendall(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4))
        keep_sending(line)
        assert last_code(received, line) == 1009


@pytest.mark.parametrize(("limit", "reason"), [("half_open", "half_open"), ("connections", "connections")])
def test_handshakes_that_are_not_done_keep_nobody_out(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str
) -> None:
    """Of too many the oldest goes; who shakes hands is let in meanwhile."""
    monkeypatch.setattr("server.http.connections.YOUNG_S", 0.1)
    door = replace(DoorLimits(request_s=60.0), **{limit: 4})
    with serve(certificate=authority.files, door=door) as served, ExitStack() as held:
        lines = [
            held.enter_context(socket.create_connection(("127.0.0.1", served.port), 15)) for _ in range(8)
        ]
        assert lines[0].recv(100) == b""
        assert authority.shown_by(served)
        with Client(f"https://127.0.0.1:{served.port}", tls=authority.trusted) as client:
            client.play()
        name = "cuestream_connections_dropped_total"
        assert (served.host.metrics.registry.get_sample_value(name, {"reason": reason}) or 0) >= 4


def test_files_that_are_no_good_say_why(authority: Authority, tmp_path: Path) -> None:
    files, other = authority.files, tmp_path / "other.pem"
    assert files.key is not None
    with pytest.raises(TlsError, match=r"other\.pem: no such file"):
        Certificate(files.cert, other).check()
    other.write_text("nothing")
    with pytest.raises(TlsError, match="expected a certificate and its key in PEM"):
        Certificate(other, files.key).check()
    old = files.key.read_bytes()
    authority.issue()
    other.write_bytes(old)
    with pytest.raises(TlsError, match="the key is another certificate's"):
        Certificate(files.cert, other).check()
    both = tmp_path / "both.pem"
    both.write_bytes(files.cert.read_bytes() + files.key.read_bytes())
    Certificate(both).check()


def test_sighup_reads_them_again(authority: Authority, tmp_path: Path) -> None:
    with serve_tiny("--port", "0", *certified(tmp_path)) as process:
        port = plays_at(process)
        first = authority.shown_at(port)
        authority.issue()
        process.send_signal(signal.SIGHUP)
        end_s = time.monotonic() + 10
        while authority.shown_at(port) == first:
            assert time.monotonic() < end_s
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    with run("serve", "--tls-cert", str(tmp_path / "none.pem")) as process:
        assert process.stderr is not None
        assert "none.pem: no such file" in " ".join(process.stderr.read().split())
        assert process.wait(15) == 2
