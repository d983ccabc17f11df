"""The composition root: settings, URLs, the Celery app and the commands. It owns no table.

Nothing is imported here, because `campusg.launch.bootstrap` must be importable before anything is installed.
"""
