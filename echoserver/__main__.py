"""`python -m echoserver` is the command `echoserver`."""

from echoserver.cli import main

if __name__ == "__main__":
    main()
