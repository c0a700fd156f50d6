"""``python -m edgead``."""

from edgead.cli import main

if __name__ == "__main__":
    main()
