"""Chapter 11: producer and consumer. What happens when one of them is faster than the other?

A fast producer fills a queue without a bound, and waits if there is one. In a server, the peers then wait as well.
"""

import queue
import select
import threading
import time

from crew import run_all
from peer import peer
from timeline import Timeline, main

from echoserver import Server, ServerConfig


def production(title: str, *, bound: int, make: float, use: float) -> None:
    line, jobs, depths = Timeline(), queue.Queue(bound), []

    def produce() -> None:
        for number in range(12):
            with line.doing("make"):
                time.sleep(make)
            with line.waiting("for a place"):
                jobs.put(number)
            depths.append(jobs.qsize())
            line.depth("queue", depths[-1])

    def consume() -> None:
        for _ in range(12):
            with line.waiting("for a job"):
                jobs.get()
            line.depth("queue", jobs.qsize())
            with line.doing("use"):
                time.sleep(use)

    run_all(producer=produce, consumer=consume)
    line.say(f"at most {max(depths)} in the queue")
    line.show(title)


def back_pressure(line: Timeline) -> None:
    def handle(data: bytes) -> bytes:
        with line.doing("handle"):
            go_on.wait(4)
            time.sleep(0.05)
        line.depth("queue", server.stats().workers.queue_depth)
        return data

    go_on = threading.Event()
    with Server(ServerConfig(port=0, mode="workers", workers=2, queue_size=3, handler=handle)) as server:
        peers = [peer(server.address[1], b"hello") for _ in range(8)]
        while not ((now := server.stats().workers).queue_full and now.busy == 2 and now.queue_depth == 3):
            time.sleep(0.05)
        line.depth("queue", now.queue_depth)
        line.say(f"{now.busy} served, {now.queue_depth} queued, and the poller waits for a place")
        with peers.pop() as greedy:
            while select.select([], [greedy.socket], [], 0)[1]:  # as long as the kernel accepts more
                greedy.send_some(bytes(4096))
            line.say(f"the kernel took {greedy.bytes_out} bytes more, and now that peer waits")
        go_on.set()
        for session in peers:
            session.receive()
            session.close()
    line.show("A server with two workers, a queue of three, and eight peers")


def run() -> None:
    production("A fast producer, and no bound", bound=0, make=0.002, use=0.03)
    production("A fast producer, and a bound of three", bound=3, make=0.002, use=0.03)
    production("A fast consumer", bound=3, make=0.03, use=0.002)
    back_pressure(Timeline()) if hasattr(select, "epoll") else print("no epoll here, and no workers mode without it")


if __name__ == "__main__":
    main(run)
