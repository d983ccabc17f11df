# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=campusg.settings \
    CAMPUSG_BOOTSTRAP=0 \
    CAMPUSG_VAR_DIR=/var/lib/campusg \
    CAMPUSG_STATIC_ROOT=/app/static
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py ./
COPY campusg ./campusg
COPY orders ./orders
COPY payments ./payments
COPY timers ./timers
COPY sagas ./sagas
RUN SECRET_KEY=only-for-collectstatic python manage.py collectstatic --noinput \
    && install -d -o 10001 -g 10001 /var/lib/campusg \
    && rm -f /var/lib/campusg/*
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/livez', timeout=3)"]
CMD ["uvicorn", "campusg.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "off", "--no-access-log", "--log-level", "warning"]
