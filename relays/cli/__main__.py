"""`python -m relays.cli`: the same as `fabric`."""

from relays.cli import main

if __name__ == "__main__":
    main()
