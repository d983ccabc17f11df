"""The soak: orders are placed, delivered and refunded while processes and servers are killed, stalled and replaced.

    python -m benchmarks.soak --orders 10000 --seed 1
    python -m benchmarks.soak --orders 10000 --seed 1 --plain

Starts a PostgreSQL, a RabbitMQ, a Redis and a payment provider of its own behind proxies, and two workers, two beats
and two webs. Every few seconds there is a fault, chosen by the seed. In the middle of the run all processes are
replaced, one by one, by a release with another version of the create-order saga. At the end an oracle reads the rows,
the provider's ledger and the events a subscriber received. Prints one table. Exits 1 on any breach, and when a kind of
fault was too rare.

`--plain` does the same with a plain Celery chain with link_error, and counts the orders that are lost, done twice or
left half done.
"""
