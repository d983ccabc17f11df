"""The composition root: settings, URLs, the Celery app and the commands. It owns no table.

Nothing is imported here, because `campusg.bootstrap` must be importable before anything is installed.
"""
