"""The tutorial, carried out from its own text: `python -m tests.tutorial`."""
