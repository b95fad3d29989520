"""Pages of the web process."""

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


def health(request: HttpRequest) -> HttpResponse:
    """200 while the database answers: what a load balancer asks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok", "database": connection.vendor})


urlpatterns = [path("", health), path("healthz", health)]
