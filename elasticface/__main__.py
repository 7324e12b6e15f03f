"""``python -m elasticface`` is the command line."""

from elasticface.cli.main import main

main()
