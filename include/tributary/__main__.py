"""`python -m tributary`: the same as the command `tributary`."""

from tributary.cli import main

main(prog_name="tributary")
