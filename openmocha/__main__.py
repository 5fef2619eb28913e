"""`python -m openmocha` is the `openmocha` command."""

from openmocha.cli import main

if __name__ == "__main__":
    main()
