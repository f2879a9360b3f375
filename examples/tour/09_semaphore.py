"""Chapter 9: Semaphore. How do only five of twenty threads get in at a time?

With twenty places, all are inside at once; with five places, five. A plain semaphore accepts one release too many; a
bounded one raises an error. Then three peers come to a real server that has two slots.
"""

import threading
import time

from crew import crew
from peer import peer
from timeline import Timeline, main

from echoserver import Server, ServerConfig


def twenty_guests(title: str, places: int) -> None:
    line, room, together = Timeline(), threading.Semaphore(places), threading.Barrier(places)
    lock, inside = threading.Lock(), [0]  # how many are inside, after each change; the lock guards the list

    def count(change: int) -> None:
        with lock:
            inside.append(inside[-1] + change)
            line.depth("inside", inside[-1])

    def visit() -> None:
        with line.waiting("for a place"):
            room.acquire()
        count(+1)
        with line.doing("inside"):
            together.wait()  # forces it: nobody leaves before the room is full
            time.sleep(0.1)
        count(-1)
        room.release()

    with crew(**{f"guest_{number}": visit for number in range(1, 21)}):
        line.say("twenty guests have come")
    line.say(f"at most {max(inside)} were inside at once")
    line.show(title)


def one_release_too_many(line: Timeline) -> None:
    for kind in (threading.Semaphore, threading.BoundedSemaphore):
        room = kind(5)
        try:
            room.release()  # a slip: nobody has acquired a place
        except ValueError as error:
            line.say(f"{kind.__name__}: {error}")
        line.say(f"{kind.__name__}(5) has {sum(room.acquire(blocking=False) for _ in range(9))} free places")


def server_slots(line: Timeline) -> None:
    def visit() -> None:
        with peer(server.address[1], b"hello") as session:
            with line.waiting("for a reply"):
                session.receive()
            with line.holding("a slot"):
                leave.wait(4)

    leave = threading.Event()
    with Server(ServerConfig(port=0, max_connections=2)) as server, crew(peer_1=visit, peer_2=visit, peer_3=visit):
        while not server.stats().held:  # until the server has met its limit
            time.sleep(0.2)
        line.say(f"{server.stats().active} are served, and the third waits in the kernel")
        leave.set()
    line.say(f"{server.stats().accepted} were served, and {server.stats().rejected} were sent away")
    line.show("A server with two slots and three peers")


def run() -> None:
    twenty_guests("Twenty places", places=20)
    twenty_guests("Five places", places=5)
    one_release_too_many(line := Timeline())
    server_slots(line)


if __name__ == "__main__":
    main(run)
