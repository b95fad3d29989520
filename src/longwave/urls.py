"""Pages of the web process."""

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from longwave import config
from longwave.ops.scaling import page as scaling


def health(request: HttpRequest) -> HttpResponse:
    """200 while the database answers, otherwise 503: what a load balancer asks."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        return JsonResponse({"status": "down", "error": "The database does not answer."}, status=503)
    return JsonResponse({"status": "ok", "database": connection.vendor})


def metrics(request: HttpRequest) -> HttpResponse:
    """How everything stands, for Prometheus."""
    from longwave.ops.metrics import measuring, page  # brings what health questions do without

    events = measuring.shared_folder(config.current())
    content, content_type = page.render(request.headers.get("Accept", ""), folder=events)
    return HttpResponse(content, content_type=content_type)


urlpatterns = [
    path("", health),
    path("healthz", health),
    path("metrics", metrics),
    path("scaling", scaling.groups),
    path("scaling/<str:name>", scaling.group),
]
