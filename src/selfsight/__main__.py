"""`python -m selfsight` is the command line."""

from selfsight.cli import main

main()
