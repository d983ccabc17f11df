"""The same eight steps without an engine: a plain Celery chain with `link_error`, as one would write it at first.

Same participants, same tables, same provider; every step guards against being run again and retries what may pass.
What it lacks is what the soak is about: nobody remembers a chain whose message or worker is gone.
"""
