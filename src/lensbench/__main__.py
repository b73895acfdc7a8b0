"""`python -m lensbench` is the command `lensbench`."""

from lensbench.cli import main

if __name__ == "__main__":
    main()
