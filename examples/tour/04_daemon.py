"""Chapter 4: daemon threads. What ends when?

Five small programs, each with a thread that has four lines to write, or that is stuck forever. The interpreter waits
for an ordinary thread without limit, and for a daemon thread not at all. What a server needs lies between the two:
daemon threads, joined against a deadline.
"""

import subprocess
import sys
import threading

from timeline import Timeline, main

PROGRAM = r"""
import os, sys, threading, time

def write():
    for number in range(1, 5):
        time.sleep(0.1)
        os.write(1, b"line %d\n" % number)

def stuck():
    threading.Event().wait()

work, daemon, limit = sys.argv[1:]
thread = threading.Thread(target={"write": write, "stuck": stuck}[work], daemon=daemon == "daemon")
thread.start()
os.write(1, b"started\n")
if limit:
    thread.join(timeout=float(limit))
    if thread.is_alive():
        os.write(1, b"gave up on the thread\n")
"""
PATIENCE = 2.5  # how long a program may take to end after its start; then it is killed


def watch(line: Timeline, *arguments: str) -> None:
    """Run the program, and say what its thread wrote and how it ended."""
    command = [sys.executable, "-S", "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with line.doing("alive"):
            killer = threading.Timer(PATIENCE, process.kill)
            killer.start()
            wrote = [text.strip() for text in process.stdout]
            code = process.wait()
            killer.cancel()
            killer.join()
    end = "had to be killed" if code < 0 else "ended by itself"
    line.say(f"wrote {', '.join(wrote) or 'nothing'}; {end}")


def run() -> None:
    line = Timeline()
    programs = {
        "thread": ("write", "ordinary", ""),
        "daemon": ("write", "daemon", ""),
        "daemon joined": ("write", "daemon", "20"),
        "stuck thread": ("stuck", "ordinary", ""),
        "stuck, joined": ("stuck", "daemon", "0.5"),
    }
    threads = [threading.Thread(target=watch, args=(line, *words), name=name) for name, words in programs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    line.show("How long each program lived")


if __name__ == "__main__":
    main(run)
