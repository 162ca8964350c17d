"""A small Django site as many are: a cache, sessions in a second cache, django-redis-sessions, each on a database of its own (2 to 6)."""

from __future__ import annotations

import django
from django.conf import settings

CACHES = {"default": 2, "sessions": 3, "views": 4}
SESSION_STORE_DB = 5
LOCKS_DB = 6


def configure(port: int) -> None:
    """Settings for the server on this port; once in a process."""
    options = {"CLIENT_CLASS": "django_redis.client.DefaultClient"}
    caches = {
        name: {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://127.0.0.1:{port}/{db}", "OPTIONS": dict(options), "KEY_PREFIX": "site" if name == "default" else ""}
        for name, db in CACHES.items()
    }
    caches["locks"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://127.0.0.1:{port}/{LOCKS_DB}", "OPTIONS": dict(options)}
    caches["compressed"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{port}/2",
        "OPTIONS": {**options, "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor", "SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
        "KEY_PREFIX": "z",
    }
    settings.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        CACHES=caches,
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        SESSION_CACHE_ALIAS="sessions",
        SESSION_REDIS_HOST="127.0.0.1",
        SESSION_REDIS_PORT=port,
        SESSION_REDIS_DB=SESSION_STORE_DB,
        SESSION_REDIS_PREFIX="session",
        SESSION_REDIS={"host": "127.0.0.1", "port": port, "db": SESSION_STORE_DB, "prefix": "session"},
        INSTALLED_APPS=["django.contrib.sessions", "django_select2"],
        SELECT2_CACHE_BACKEND="default",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    )
    django.setup()


def count(request):
    """Counts the visits of a session, and of everybody in the cache."""
    from django.core.cache import caches
    from django.http import JsonResponse

    request.session["visits"] = request.session.get("visits", 0) + 1
    shared = caches["default"]
    shared.add("everybody", 0)
    return JsonResponse({"own": request.session["visits"], "everybody": shared.incr("everybody")})


def leave(request):
    from django.http import HttpResponse

    request.session.flush()
    return HttpResponse("left")


def slow_page(request):
    from django.http import HttpResponse

    return HttpResponse(str(len(calls.append(1) or calls)))


calls: list = []


def urls():
    from django.urls import include, path
    from django.views.decorators.cache import cache_page

    return [path("count/", count), path("leave/", leave), path("page/", cache_page(60, cache="views")(slow_page)), path("select2/", include("django_select2.urls"))]


class LazyUrls(list):
    """The patterns are made when Django asks for them, after the settings."""

    def __iter__(self):
        return iter(urls())

    def __reversed__(self):
        return reversed(urls())


urlpatterns = LazyUrls()
