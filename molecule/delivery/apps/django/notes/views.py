from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from notes.models import Note


@require_http_methods(["GET", "HEAD", "POST"])
def notes(request):
    if request.method == "POST":
        note = Note.objects.create(text=request.POST["text"][:200])
        return JsonResponse({"id": note.id}, status=201)
    return render(request, "notes.html", {"notes": Note.objects.order_by("-id")[:20]})


@require_GET
def healthz(request):
    """The database answers, and its schema is the one that this code wants."""
    Note.objects.exists()
    return HttpResponse("ok\n", content_type="text/plain")
