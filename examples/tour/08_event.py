"""Chapter 8: Event. How does a thread wait until something has happened?

With a flag and a bell, a wake-up between the look at the flag and the sleep is lost. An Event is both in one and loses
none. Then two threads wait for a database, which is a real server that starts late, and Ctrl-C ends the program.
"""

import signal
import socket
import threading

from crew import crew, run_all
from peer import peer
from timeline import Timeline, main

from echoserver import Server, ServerConfig


def lost_wake_up(line: Timeline) -> None:
    flag, bell, event = [False], threading.Condition(), threading.Event()

    def come_up() -> None:
        flag[0] = True
        with bell:
            bell.notify_all()  # wakes whoever sleeps now, and is forgotten
        event.set()  # wakes whoever waits now, and stays set for whoever comes later
        line.say("up: I set the flag, rang the bell and set the event")

    if not flag[0]:
        run_all(database=come_up)  # forces the worst case: after the look at the flag and before the sleep
        with bell, line.waiting("for the bell"):
            woken = bell.wait(timeout=0.5)
        line.say(f"woken by the bell: {woken}; the flag is {flag[0]}")
    line.say(f"event.wait() returns {event.wait(timeout=0.5)} at once")
    line.show("A bell that nobody hears, and an event")


def late_database(line: Timeline) -> None:
    listener, up, stop = socket.socket(), threading.Event(), threading.Event()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has background programs ignore Ctrl-C

    def database() -> None:
        with line.doing("starting"):
            stop.wait(0.6)  # a sleep that ends early when the program does
        listener.listen()  # until here, the kernel has refused connections
        with Server(ServerConfig(handler="upper"), listeners=[listener]), line.doing("serving"):
            up.set()
            stop.wait(4)

    def use() -> None:
        with line.waiting("for the database"):
            while not up.wait(timeout=0.4):
                line.say("not up yet")
        with peer(port, b"hello") as session:
            line.say(f"it answers {session.receive().decode()}")

    with crew(database=database):
        run_all(shop=use, mail=use)
        try:
            threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
            with line.waiting("for Ctrl-C"):
                stop.wait(4)  # which the timer presses for us
        except KeyboardInterrupt:
            up.clear()
            line.say(f"Ctrl-C: after up.clear(), up.wait() returns {up.wait(timeout=0.2)}")
            stop.set()
    line.show("Two threads that wait for a database")


def run() -> None:
    lost_wake_up(Timeline())
    late_database(Timeline())


if __name__ == "__main__":
    main(run)
