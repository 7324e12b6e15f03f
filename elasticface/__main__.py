"""``python -m elasticface`` is the command line."""

from elasticface.cli import main

main()
