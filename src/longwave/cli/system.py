"""Commands that look after an installation: web, migrate, doctor, manage, the fake, version."""

import typer


def version() -> None:
    """Print the version."""
    from longwave import __version__

    typer.echo(f"longwave {__version__}")
