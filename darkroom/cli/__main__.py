"""`python -m darkroom.cli` is `darkroom`."""

from darkroom.cli import app

if __name__ == "__main__":
    app(prog_name="darkroom")
