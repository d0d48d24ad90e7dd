"""`python -m sealserve` is the command line."""

from sealserve.cli.main import main

if __name__ == "__main__":
    main()
