"""The soak: people order, bring and take back food while everything underneath is killed, cut, stalled and replaced.

    python -m benchmarks.soak --orders 10000 --seed 1
    python -m benchmarks.soak --orders 10000 --seed 1 --plain

Starts a PostgreSQL, a RabbitMQ, a Redis and a payment provider of its own behind proxies, two workers, two beats and
two webs. Faults from the seed strike them every few seconds, and in the middle all processes are replaced one by one
by a release with another version of the create-order saga. An oracle outside then reads the rows, the provider's
ledger and what subscribers received. Prints one table; exits 1 on any breach and on any fault that came too rarely.

`--plain` plays the same on a plain Celery chain with link_error and counts what is lost, doubled and left behind.
"""
