"""What a request does."""

import asyncio

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from tests.integration.django.farm.models import Herd


def herds(request: HttpRequest) -> JsonResponse:
    if request.method == "POST":
        herd = Herd.objects.create(name=request.POST["name"])
        return JsonResponse({"id": herd.pk})
    return JsonResponse({"herds": list(Herd.objects.order_by("id").values_list("name", flat=True))})


async def herds_async(request: HttpRequest) -> JsonResponse:
    first, second = await asyncio.gather(Herd.objects.acount(), sync_to_async(Herd.objects.count)())
    return JsonResponse({"count": first, "again": second})
