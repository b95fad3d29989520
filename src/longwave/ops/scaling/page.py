"""`/scaling` and `/scaling/<group>`: the numbers as JSON, for KEDA or any other scaler."""

from dataclasses import asdict

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, JsonResponse

from longwave.core.errors import NotFound
from longwave.ops.scaling import published


def groups(request: HttpRequest) -> JsonResponse:
    """Every group, by name."""
    try:
        return JsonResponse({"groups": [asdict(one) for one in published.groups()]})
    except (DatabaseError, InterfaceError):
        return _away()


def group(request: HttpRequest, name: str) -> JsonResponse:
    """One group. With `?fresh=1` a stale number is no answer but 503, which a scaler can have a fallback for."""
    try:
        found = published.find(name)
    except NotFound as error:
        return _refusal(str(error), 404)
    except (DatabaseError, InterfaceError):
        return _away()
    is_refused = found.is_stale and request.GET.get("fresh") == "1"
    return JsonResponse(asdict(found), status=503 if is_refused else 200)


def _away() -> JsonResponse:
    return _refusal("The database does not answer.", 503)


def _refusal(sentence: str, status: int) -> JsonResponse:
    return JsonResponse({"error": sentence}, status=status)
