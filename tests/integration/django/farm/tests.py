"""What a project's own tests look like; run by `manage.py test`, without an agent."""

from typing import ClassVar

from django.db import connection, connections, transaction
from django.test import TestCase, TransactionTestCase
from tests.integration.django.farm.models import Animal, Herd


class InATransaction(TestCase):
    databases: ClassVar = {"default", "backup"}

    @classmethod
    def setUpTestData(cls) -> None:
        cls.herd = Herd.objects.create(name="kept for the class")

    def test_rolled_back_between_tests_a(self) -> None:
        Animal.objects.create(herd=self.herd, name="Elsa")
        self.assertEqual(Animal.objects.count(), 1)

    def test_rolled_back_between_tests_b(self) -> None:
        self.assertEqual(Animal.objects.count(), 0)

    def test_on_commit_is_captured(self) -> None:
        done: list[int] = []
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            transaction.on_commit(lambda: done.append(1))
        self.assertEqual(done, [1])

    def test_it_is_the_test_database(self) -> None:
        self.assertTrue(connection.direct)
        self.assertTrue(connections["backup"].direct)
        for alias in ("default", "backup"):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT current_database()")
                self.assertTrue(cursor.fetchone()[0].startswith("test_bank"))

    def test_client(self) -> None:
        self.assertEqual(self.client.post("/herds", {"name": "new"}).status_code, 200)
        self.assertIn("new", self.client.get("/herds").json()["herds"])


class Committed(TransactionTestCase):
    def test_flushed_afterwards(self) -> None:
        with transaction.atomic():
            Herd.objects.create(name="flushed")
        self.assertEqual(Herd.objects.count(), 1)
