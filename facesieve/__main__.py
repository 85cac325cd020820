"""`python -m facesieve`."""

from .cli import main

main()
