"""Django's admin over the cluster, as a person clicks through it while the primary changes."""

from __future__ import annotations

from tests.integration.django.conftest import change

from understudy.demo.lab import Lab


def test_login_add_change_and_delete_across_planned_changes(clean: Lab) -> None:
    from django.contrib.admin.models import LogEntry
    from django.contrib.auth.models import User
    from django.test import Client
    from tests.integration.django.farm.models import Animal, Herd

    User.objects.create_superuser("farmer", password="only-for-tests")
    browser = Client()
    pages = "/admin/farm/animal/"

    def send(address: str, **values: object) -> None:
        answer = browser.post(address, values)
        assert answer.status_code == 302, answer.content.decode()

    try:
        assert browser.get(pages).headers["Location"].startswith("/admin/login/")
        send("/admin/login/", username="farmer", password="only-for-tests", next=pages)
        send("/admin/farm/herd/add/", name="north")
        change(clean)  # the session, the user and the messages are on the other node
        herd = Herd.objects.get(name="north")
        born = {"born_0": "2024-02-29", "born_1": "06:00:00"}
        send(f"{pages}add/", herd=herd.pk, name="Elsa", notes='{"legs": 3}', **born)
        animal = Animal.objects.get(name="Elsa")
        page = f"{pages}{animal.pk}/"
        assert 'value="Elsa"' in browser.get(f"{page}change/").content.decode()
        change(clean)
        send(f"{page}change/", herd=herd.pk, name="Elsa II", notes='{"legs": 4}', **born)
        assert "Changed Name" in browser.get(f"{page}history/").content.decode()
        animal.refresh_from_db()
        assert (animal.name, animal.born.day, animal.notes) == ("Elsa II", 29, {"legs": 4})
        send(f"/admin/farm/herd/{herd.pk}/delete/", post="yes")  # and with it the animal
        assert not Animal.objects.exists()
        assert LogEntry.objects.count() == 4
        browser.post("/admin/logout/")
        assert browser.get(pages).status_code == 302
    finally:
        User.objects.all().delete()
    assert clean.verify().equal
