"""One alias that always leads to the present primary.

As whom a process connects is decided by the configuration it is given (`UNDERSTUDY_CONFIG`): the web's names the role
`ifarm_app`, which is under row-level security; that of migrations and jobs names the owner. See `core/provision.py`.
"""

DATABASES: dict[str, dict[str, object]] = {
    "default": {
        "ENGINE": "understudy.integrations.django.postgresql",
        "CONN_MAX_AGE": None,
        "OPTIONS": {},
    }
}
