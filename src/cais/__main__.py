"""`python -m cais` is `cais`."""

from cais.cli.main import main

raise SystemExit(main())
