"""The application of a WSGI server. It asks the database while it is loaded, as projects do in `ready` or a setting."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from tests.integration.django.farm.models import Herd  # noqa: E402 - models need the applications

Herd.objects.exists()
