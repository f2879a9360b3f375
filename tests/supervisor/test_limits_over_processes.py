"""Limits hold for all processes together, and mean what they mean with one."""

from __future__ import annotations

import socket

import pytest

from supervisor.kit import Crew, needs_epoll, swap, wait_until

pytestmark = needs_epoll
MODES = ["threads", "workers"]


def is_served(peer: socket.socket) -> bool:
    try:
        return swap(peer, b"?") == b"?"
    except (ConnectionError, AssertionError):
        return False


@pytest.mark.parametrize("mode", MODES)
def test_peers_beyond_the_limit_wait_until_any_process_has_a_place(mode):
    with Crew("--max-connections", 5, "--mode", mode, processes=3) as crew:
        inside = [crew.connect() for _ in range(5)]
        for peer in inside:
            assert swap(peer, b"in") == b"in"
        waiting = [crew.connect() for _ in range(5)]
        for peer in waiting:
            peer.sendall(b"waits")
        wait_until(lambda: crew.stats()["held"] >= 1)
        assert crew.stats()["active"] == 5
        for served, peer in zip(inside, waiting, strict=True):
            served.close()
            assert peer.recv(5) == b"waits"
        assert crew.stats()["accepted"] == 10
        for peer in waiting:
            peer.close()


@pytest.mark.parametrize("mode", MODES)
def test_peers_beyond_the_limit_are_rejected_only_if_no_process_has_a_place(mode):
    with Crew("--max-connections", 5, "--at-limit", "reject", "--mode", mode, processes=3) as crew:
        peers = [crew.connect() for _ in range(12)]
        served = [peer for peer in peers if is_served(peer)]
        assert len(served) == 5
        assert crew.stats()["rejected"] == 7
        for peer in peers:
            peer.close()
        wait_until(lambda: crew.stats()["active"] == 0)
        with crew.connect() as peer:
            assert is_served(peer)


@pytest.mark.parametrize("mode", MODES)
def test_the_limit_of_a_host_is_counted_over_all_processes(mode):
    with Crew("--max-connections-per-host", 5, "--mode", mode, processes=3) as crew:
        peers = [crew.connect() for _ in range(12)]
        served = [peer for peer in peers if is_served(peer)]
        assert len(served) == 5
        other = socket.create_connection(crew.address, 10, source_address=("127.0.0.2", 0))
        assert is_served(other)
        other.close()
        for peer in peers:
            peer.close()
        wait_until(lambda: crew.stats()["active"] == 0)
        with crew.connect() as peer:
            assert is_served(peer)


@pytest.mark.parametrize("mode", MODES)
def test_behind_a_proxy_the_host_is_that_of_the_header_in_all_processes(mode):
    options = ("--listen", "tcp://127.0.0.1:0?proxy=require", "--proxy-trusted", "127.0.0.1")
    with Crew(*options, "--max-connections-per-host", 3, "--mode", mode, processes=3) as crew:
        peers = [crew.connect() for _ in range(9)]
        for number, peer in enumerate(peers):
            host = "192.0.2.1" if number < 6 else f"2001:db8::{number}"
            family, local = ("TCP4", "192.0.2.9") if number < 6 else ("TCP6", "2001:db8::9")
            peer.sendall(f"PROXY {family} {host} {local} {4000 + number} 9000\r\n".encode())
        assert [is_served(peer) for peer in peers].count(True) == 6, "three of one host, and three of three others"
        assert crew.stats()["rejected"] == 3
        for peer in peers:
            peer.close()
