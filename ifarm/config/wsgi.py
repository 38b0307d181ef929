"""What gunicorn serves: `gunicorn ifarm.config.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ifarm.config.django.production")
application = get_wsgi_application()
