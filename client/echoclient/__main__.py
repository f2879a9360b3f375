"""`python -m echoclient` is `echoclient`."""

from echoclient.cli import main

main()
