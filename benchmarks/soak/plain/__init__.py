"""The same eight steps without an engine: a plain Celery chain with `link_error`, as in a first version of a product.

Participants, tables and provider are the same. Every step can run twice and retries temporary errors. But when a
message or a worker is lost, nothing in the database says that the chain must continue.
"""
