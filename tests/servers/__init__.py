"""PostgreSQL, RabbitMQ and Redis on private ports and in temporary folders, for tests, benchmarks and fault injection.

Never for data. Nothing outside the temporary folder is written, no server that already runs is touched, and what is
started here ends even when this process is killed:

    with PrivateServers() as servers:
        servers.urls["postgres"], servers.urls["rabbitmq"], servers.urls["redis"]
        servers.missing  # {"redis": "redis-server is not installed"}
"""

from tests.servers.postgres import PrivatePostgres
from tests.servers.private import PrivateServers
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.servers.redis import PrivateRedis
from tests.servers.server import PrivateServer, Unavailable, children_of, free_port

__all__ = [
    "PrivatePostgres",
    "PrivateRabbitMQ",
    "PrivateRedis",
    "PrivateServer",
    "PrivateServers",
    "Unavailable",
    "children_of",
    "free_port",
]
