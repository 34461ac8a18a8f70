"""`python -m simulacra`, which torchrun can start: the command line."""

from simulacra.cli.app import main

if __name__ == "__main__":
    main()
