"""`python -m flows.cli`: the `aria-data` command."""

from flows.cli import main

if __name__ == "__main__":
    main()
