"""All settings, from the environment only. docs/reference/configuration.md lists each variable.

With nothing set this is the embedded product: SQLite, an in-process broker, the sandbox payment provider, loopback.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ

from campusg import logs, topology
from campusg.launch import secret_key
from sagas import Retry, Status

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(os.environ.get("CAMPUSG_ENV_FILE", BASE_DIR / ".env"))

# -- Where state lives ----------------------------------------------------------------------------------------------
VAR_DIR = Path(env.str("CAMPUSG_VAR_DIR", default=str(BASE_DIR / "var")))
VAR_DIR.mkdir(parents=True, exist_ok=True)

DATABASE_URL = env.str("DATABASE_URL", default="")
BROKER_URL = env.str("BROKER_URL", default="")
REDIS_URL = env.str("REDIS_URL", default="")
#: Without a broker everything runs in one process.
EMBEDDED = not BROKER_URL
#: All processes are on this host and may share files in VAR_DIR; `manage.py up` says so.
IS_SINGLE_HOST = EMBEDDED or env.bool("CAMPUSG_SINGLE_HOST", default=False)
#: With a key Stripe takes the payments; without one the sandbox does, and only then is it installed.
STRIPE_API_KEY = env.str("STRIPE_API_KEY", default="")

# -- Django ---------------------------------------------------------------------------------------------------------
DEBUG = env.bool("CAMPUSG_DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or secret_key.find(VAR_DIR / "secret_key", may_create=IS_SINGLE_HOST)
SECRET_KEY_FALLBACKS = env.list("CAMPUSG_SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("CAMPUSG_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CAMPUSG_CSRF_TRUSTED_ORIGINS", default=[])
ROOT_URLCONF = "campusg.urls"
WSGI_APPLICATION = "campusg.wsgi.application"
ASGI_APPLICATION = "campusg.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "django_celery_beat",
    "sagas",
    "payments",
    *([] if STRIPE_API_KEY else ["payments.sandbox"]),
    "timers",
    "orders",
    "campusg",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "payments.middleware.CardNumberMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "campusg.middleware.RequestIdMiddleware",
    "campusg.middleware.ProblemMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "campusg.middleware.ContentSecurityPolicyMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# -- Web ------------------------------------------------------------------------------------------------------------
#: Threads that answer requests; each keeps one database connection.
WEB_THREADS = env.int("CAMPUSG_WEB_THREADS", default=8)
#: Served over HTTPS (behind a proxy that sets X-Forwarded-Proto): redirects, HSTS and secure cookies.
IS_HTTPS = env.bool("CAMPUSG_HTTPS", default=False)
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS
SECURE_HSTS_PRELOAD = IS_HTTPS
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_SECURE = IS_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CORS_ALLOWED_ORIGINS = env.list("CAMPUSG_CORS_ALLOWED_ORIGINS", default=[])
#: The largest body the API reads, in bytes.
API_MAX_BODY_BYTES = 64 * 1024

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("CAMPUSG_STATIC_ROOT", default=str(VAR_DIR / "static")))
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# -- Databases ------------------------------------------------------------------------------------------------------
SQLITE_OPTIONS = {
    # IMMEDIATE takes the write lock at BEGIN, so a transaction never fails later with "database is locked".
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}
DATABASE_STATEMENT_TIMEOUT = timedelta(seconds=env.int("CAMPUSG_DATABASE_STATEMENT_TIMEOUT_SECONDS", default=30))
DATABASE_LOCK_TIMEOUT = timedelta(seconds=env.int("CAMPUSG_DATABASE_LOCK_TIMEOUT_SECONDS", default=10))


def _database() -> dict[str, Any]:
    config: dict[str, Any] = environ.Env.db_url_config(DATABASE_URL or f"sqlite:///{VAR_DIR / 'campusg.sqlite3'}")
    config.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True, ATOMIC_REQUESTS=False)
    if config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = SQLITE_OPTIONS
        # Each test run has its own name, so that two can run at the same time.
        config["TEST"] = {"NAME": str(VAR_DIR / f"test-{os.getpid()}.sqlite3")}
        return config
    limits = {
        "statement_timeout": DATABASE_STATEMENT_TIMEOUT,
        "lock_timeout": DATABASE_LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": 2 * DATABASE_STATEMENT_TIMEOUT,
    }
    server_options = " ".join(f"-c {name}={int(limit.total_seconds() * 1000)}" for name, limit in limits.items())
    given = config.get("OPTIONS", {})
    config["OPTIONS"] = {"connect_timeout": 3, "options": server_options, "application_name": "campusg"} | given
    return config


DATABASES = {"default": _database()}
IS_SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")

CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "campusg",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}

# -- API ------------------------------------------------------------------------------------------------------------
#: How an error's `type` begins; its code follows.
API_PROBLEM_TYPES = "https://campusg.example/problems/"
# How requests are read and answered, lists are filtered and come in pages is set in `sagas.rest.endpoint`.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "knox.auth.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["sagas.rest.throttling.Throttle"],
    "DEFAULT_THROTTLE_RATES": {
        "read": env.str("CAMPUSG_RATE_READ", default="6000/min") or None,
        "write": env.str("CAMPUSG_RATE_WRITE", default="3000/min") or None,
        "anonymous": env.str("CAMPUSG_RATE_ANONYMOUS", default="300/min") or None,
    },
    "NUM_PROXIES": env.int("CAMPUSG_NUM_PROXIES", default=0),
    "EXCEPTION_HANDLER": "sagas.rest.problems.handler",
    "DEFAULT_SCHEMA_CLASS": "sagas.rest.openapi.ProblemAutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
REST_KNOX = {
    "TOKEN_TTL": timedelta(hours=hours) if (hours := env.int("CAMPUSG_TOKEN_TTL_HOURS", default=0)) else None,
    "AUTH_HEADER_PREFIX": "Token",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "CampusG",
    "DESCRIPTION": "Food orders as sagas: every step is done, or everything done is undone.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENFORCE_NON_BLANK_FIELDS": True,
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/",
    # Several models have a field called `status`; each gets its own name in the schema.
    "ENUM_NAME_OVERRIDES": {
        "SagaStatus": Status.choices,
        "OrderStatus": "orders.models.OrderStatus",
        "PaymentStatus": "payments.models.PaymentStatus",
        "TimerStatus": "timers.models.EventStatus",
    },
}

# -- Celery ---------------------------------------------------------------------------------------------------------
SAGA_SWEEP_SECONDS = env.float("CAMPUSG_SAGA_SWEEP_SECONDS", default=2.0)
TIMER_SWEEP_SECONDS = env.float("CAMPUSG_TIMER_SWEEP_SECONDS", default=10.0)
ORDER_SWEEP_SECONDS = env.float("CAMPUSG_ORDER_SWEEP_SECONDS", default=30.0)
RECONCILE_SECONDS = env.float("CAMPUSG_RECONCILE_SECONDS", default=300.0)
OUTBOX_RELAY_SECONDS = 1.0

CELERY_BROKER_URL = BROKER_URL or "memory://localhost/"
CELERY_RESULT_BACKEND = None
CELERY_TASK_QUEUES = topology.command_queues(CELERY_BROKER_URL)
CELERY_TASK_ROUTES = (topology.TASK_ROUTES,)
CELERY_TASK_DEFAULT_QUEUE = topology.DEFAULT_QUEUE
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_WORKER_PREFETCH_MULTIPLIER = env.int("CAMPUSG_WORKER_PREFETCH", default=1)
CELERY_WORKER_LOST_WAIT = 2
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 300_000  # kilobytes
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONCURRENCY = env.int("CAMPUSG_WORKER_CONCURRENCY", default=2)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_HEARTBEAT = 30
# The sweep sends a lost message again, so a web request must not wait long for a broker that is down.
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    # A broker that blocks publishers would let a confirm wait forever; only socket timeouts end that.
    {"confirm_publish": True, "read_timeout": 5, "write_timeout": 5, "max_retries": 1, "interval_start": 0}
    if topology.is_rabbitmq(CELERY_BROKER_URL)
    else {"polling_interval": 0.01}
)
# Keep the connection between tasks; `campusg.celery` drops dead ones.
CELERY_DB_REUSE_MAX = 10**9
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "campusg.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "sagas.sweep": {"task": "sagas.sweep", "schedule": SAGA_SWEEP_SECONDS, "options": {"expires": SAGA_SWEEP_SECONDS}},
    "sagas.relay": {
        "task": "sagas.relay",
        "schedule": OUTBOX_RELAY_SECONDS,
        "options": {"expires": OUTBOX_RELAY_SECONDS},
    },
    "timers.sweep": {
        "task": "timers.sweep",
        "schedule": TIMER_SWEEP_SECONDS,
        "options": {"expires": TIMER_SWEEP_SECONDS},
    },
    "orders.sweep": {
        "task": "orders.sweep",
        "schedule": ORDER_SWEEP_SECONDS,
        "options": {"expires": ORDER_SWEEP_SECONDS},
    },
    "payments.reconcile": {
        "task": "payments.reconcile",
        "schedule": RECONCILE_SECONDS,
        "options": {"expires": RECONCILE_SECONDS},
    },
}

# -- Sagas, orders, payments ----------------------------------------------------------------------------------------
SAGA_DEADLINE = timedelta(seconds=env.int("CAMPUSG_SAGA_DEADLINE_SECONDS", default=300))
STEP_RETRIES = env.int("CAMPUSG_STEP_RETRIES", default=3)
STEP_RETRY_DELAY = timedelta(seconds=env.float("CAMPUSG_STEP_RETRY_DELAY_SECONDS", default=5.0))
SAGAS: dict[str, Any] = {
    "RETRY": Retry(retries=STEP_RETRIES, first=STEP_RETRY_DELAY),
    "RUN_INLINE": env.bool("CAMPUSG_RUN_INLINE", default=True),
    "AUTO_RETRY_DELAYS": tuple(
        timedelta(minutes=m)
        for m in env.list("CAMPUSG_AUTO_RETRY_MINUTES", cast=float, default=[5, 30, 120, 480, 1440])
    ),
    "BREAKER_FAILURES": env.int("CAMPUSG_BREAKER_FAILURES", default=10),
    "BREAKER_WINDOW": timedelta(seconds=env.float("CAMPUSG_BREAKER_WINDOW_SECONDS", default=60.0)),
    "BREAKER_PROBE": timedelta(seconds=env.float("CAMPUSG_BREAKER_PROBE_SECONDS", default=30.0)),
    "RELEASE_PER_SECOND": env.float("CAMPUSG_RELEASE_PER_SECOND", default=20.0),
    "EVENT_EXCHANGE": topology.EVENTS_EXCHANGE,
    "SUBJECT_PARAMETER": "order_id",
    "SHOWN_INPUT": ("order_id", "payment_id"),
}
ORDER_ACCEPTANCE_WINDOW = timedelta(seconds=env.int("CAMPUSG_ACCEPTANCE_WINDOW_SECONDS", default=1800))
ORDER_ACCEPTANCE_EVENT = "order.acceptance_timeout"
DELIVERY_FEE = env.str("CAMPUSG_DELIVERY_FEE", default="0.00")
CURRENCY = env.str("CAMPUSG_CURRENCY", default="USD")
#: Another address of the provider's API, such as that of `manage.py sandbox_provider`.
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="")
STRIPE_WEBHOOK_SECRETS = env.list("STRIPE_WEBHOOK_SECRETS", default=[])
#: The platform's share of the food's price, in hundredths of a percent.
PLATFORM_FEE_BASIS_POINTS = env.int("PLATFORM_FEE_BASIS_POINTS", default=0)
SANDBOX_SLOW_SECONDS = env.float("CAMPUSG_SANDBOX_SLOW_SECONDS", default=2.0)
#: On several hosts and without a Stripe key the sandbox must be allowed explicitly: it is never used by accident.
IS_SANDBOX_ALLOWED = env.bool("CAMPUSG_ALLOW_SANDBOX_PAYMENTS", default=IS_SINGLE_HOST)

# -- Admin and logs -------------------------------------------------------------------------------------------------
UNFOLD = {"SITE_TITLE": "CampusG", "SITE_HEADER": "CampusG", "SHOW_VIEW_ON_SITE": False, "SHOW_HISTORY": False}

LOG_LEVEL = env.str("CAMPUSG_LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("CAMPUSG_LOG_FORMAT", default="console" if IS_SINGLE_HOST else "json")
LOGGING = logs.config(level=LOG_LEVEL, style=LOG_FORMAT)
LOGGING_CONFIG = "logging.config.dictConfig"
