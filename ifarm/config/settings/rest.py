"""Django REST framework and the OpenAPI document."""

from ifarm.animals.words import IdentifierKind, MovementKind, Species
from ifarm.core.actors import Role
from ifarm.core.choices import choices

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "ifarm.permissions.authentication.TokenAuthentication",
        "ifarm.permissions.authentication.WebSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "ifarm.api.openapi.OperationSchema",
    "EXCEPTION_HANDLER": "ifarm.api.problems.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "iFarm",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {  # where one name of a field means several sets of words, or two names mean one
        "IdentifierKindEnum": choices(IdentifierKind),
        "MovementKindEnum": choices(MovementKind),
        "RoleEnum": choices(Role),
        "SpeciesEnum": choices(Species),
    },
    "PREPROCESSING_HOOKS": ["ifarm.api.openapi.canonical_routes"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "ifarm.api.openapi.problems_of_open_routes",
    ],
}
