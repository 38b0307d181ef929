"""Shapes of money. Amounts of a body are in its ``currency``; answers have pairs of amount and currency."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ifarm.animals.serializers import BreedPartInput, IdentifierInput, RecordInput
from ifarm.animals.words import DepartureReason, Purpose, Sex, Species
from ifarm.core.choices import choices
from ifarm.financial.fields import AmountInput, CurrencyInput, MoneyOutput, MoneyPair
from ifarm.financial.trade import SOLD_FOR
from ifarm.financial.words import ContactKind, ExpenseCategory, ExpenseStatus, PaymentMethod


class ContactInput(serializers.Serializer):
    """Somebody to buy from, to sell to, to ask."""

    kind = serializers.ChoiceField(choices(ContactKind))
    name = serializers.CharField(max_length=120)
    email = serializers.EmailField(allow_blank=True, required=False)
    phone = serializers.CharField(max_length=40, allow_blank=True, required=False)
    address = serializers.CharField(max_length=300, allow_blank=True, required=False)
    tax_number = serializers.CharField(max_length=40, allow_blank=True, required=False)


class ContactChange(serializers.Serializer):
    """What can be changed of a contact."""

    name = serializers.CharField(max_length=120)
    email = serializers.EmailField(allow_blank=True)
    phone = serializers.CharField(max_length=40, allow_blank=True)
    address = serializers.CharField(max_length=300, allow_blank=True)
    tax_number = serializers.CharField(max_length=40, allow_blank=True)
    is_active = serializers.BooleanField()


class ContactOutput(serializers.Serializer):
    """A contact."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()
    email = serializers.CharField()
    phone = serializers.CharField()
    address = serializers.CharField()
    tax_number = serializers.CharField()
    is_active = serializers.BooleanField()


class AllocationInput(serializers.Serializer):
    """How much of a line is for one animal or one group."""

    animal_id = serializers.UUIDField(required=False)
    group_id = serializers.UUIDField(required=False)
    amount = AmountInput()


class ExpenseLineInput(serializers.Serializer):
    """One thing on the receipt. What is allocated to nobody is the farm's."""

    category = serializers.ChoiceField(choices(ExpenseCategory))
    description = serializers.CharField(max_length=200, allow_blank=True, default="")
    amount = AmountInput()
    allocations = AllocationInput(many=True, required=False, max_length=500)


class ExpenseChange(serializers.Serializer):
    """What can be changed of a draft; ``lines`` replaces all lines."""

    supplier_id = serializers.UUIDField(allow_null=True, required=False)
    expense_date = serializers.DateField()
    description = serializers.CharField(max_length=300)
    receipt_number = serializers.CharField(max_length=60, allow_blank=True, required=False)
    currency = CurrencyInput()
    lines = ExpenseLineInput(many=True, min_length=1, max_length=100)


class ExpenseInput(ExpenseChange, RecordInput):
    """A draft; its amount is the sum of its lines."""

    farm_id = serializers.UUIDField()


class ExpenseOutput(serializers.Serializer):
    """An expense."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField()
    supplier_id = serializers.UUIDField(allow_null=True)
    supplier_name = serializers.CharField(source="supplier.name", default=None, allow_null=True)
    expense_date = serializers.DateField()
    description = serializers.CharField()
    receipt_number = serializers.CharField()
    amount = MoneyOutput("amount")
    status = serializers.CharField()
    submitted_by = serializers.UUIDField(allow_null=True)
    submitted_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.UUIDField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    paid_on = serializers.DateField(allow_null=True)


class AllocationOutput(serializers.Serializer):
    """How much of a line is for one animal or one group."""

    animal_id = serializers.UUIDField(allow_null=True)
    group_id = serializers.UUIDField(allow_null=True)
    amount = MoneyOutput("amount", "line.expense.currency")


class ExpenseLineOutput(serializers.Serializer):
    """One thing on the receipt."""

    category = serializers.CharField()
    description = serializers.CharField()
    amount = MoneyOutput("amount", "expense.currency")
    allocations = AllocationOutput(many=True, source="allocations.all")


class ExpenseDetail(ExpenseOutput):
    """An expense with its lines."""

    lines = serializers.SerializerMethodField()

    def get_lines(self, expense: Any) -> list[dict[str, Any]]:
        """In the order of the receipt."""
        rows = expense.lines.order_by("position").prefetch_related("allocations")
        return list(ExpenseLineOutput(rows, many=True).data)


class StepInput(serializers.Serializer):
    """Where an expense goes next. A rejection needs a reason, a payment its day."""

    to = serializers.ChoiceField(choices(ExpenseStatus))
    reason = serializers.CharField(max_length=500, allow_blank=True, default="")
    paid_on = serializers.DateField(required=False)


class StepOutput(serializers.Serializer):
    """A step that an expense has made."""

    id = serializers.UUIDField()
    from_status = serializers.CharField()
    to_status = serializers.CharField()
    actor_id = serializers.UUIDField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class LotInput(serializers.Serializer):
    """Animals sold at one price together; the weight is that of one animal."""

    animal_ids = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=500)
    price = AmountInput()
    weight_kg = serializers.DecimalField(
        max_digits=7, decimal_places=2, min_value=0, allow_null=True, required=False
    )


class SaleInput(RecordInput):
    """A sale: the animals leave the farm with it. ``override_reason``: why they do in spite of a withdrawal."""

    farm_id = serializers.UUIDField()
    buyer_id = serializers.UUIDField()
    sold_at = serializers.DateTimeField(required=False)
    reason = serializers.ChoiceField(
        sorted(SOLD_FOR & set(DepartureReason)), default=DepartureReason.SALE.value
    )
    override_reason = serializers.CharField(max_length=500, allow_blank=True, required=False)
    currency = CurrencyInput()
    lots = LotInput(many=True, min_length=1, max_length=500)
    note = serializers.CharField(max_length=300, allow_blank=True, required=False)


class SaleOutput(serializers.Serializer):
    """A sale."""

    id = serializers.UUIDField()
    farm_id = serializers.UUIDField()
    buyer_id = serializers.UUIDField()
    buyer_name = serializers.CharField(source="buyer.name")
    sale_date = serializers.DateField()
    amount = MoneyOutput("amount")
    note = serializers.CharField()


class SaleLineOutput(serializers.Serializer):
    """One animal of a sale."""

    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="animal.tag_number")
    movement_id = serializers.UUIDField()
    price = MoneyOutput("amount", "sale.currency")
    weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2, allow_null=True)


class SaleDetail(SaleOutput):
    """A sale with its animals."""

    lines = serializers.SerializerMethodField()

    def get_lines(self, sale: Any) -> list[dict[str, Any]]:
        """In the order they were recorded."""
        return list(SaleLineOutput(sale.lines.select_related("animal").order_by("id"), many=True).data)


class NewAnimalInput(serializers.Serializer):
    """An animal that comes for the first time."""

    tag_number = serializers.CharField(max_length=40)
    animal_type = serializers.ChoiceField(choices(Species))
    sex = serializers.ChoiceField(choices(Sex))
    name = serializers.CharField(max_length=80, allow_blank=True, required=False)
    birth_date = serializers.DateField(allow_null=True, required=False)
    purpose = serializers.ChoiceField(choices(Purpose), allow_blank=True, required=False)
    breeds = BreedPartInput(many=True, required=False, max_length=16)
    identifiers = IdentifierInput(many=True, required=False, max_length=10)


class BoughtInput(serializers.Serializer):
    """One animal bought: ``animal_id`` of one that was here before, or ``animal`` for a new one."""

    animal_id = serializers.UUIDField(required=False)
    animal = NewAnimalInput(required=False)
    price = AmountInput()


class PurchaseInput(RecordInput):
    """A purchase: the animals come to the farm with it."""

    farm_id = serializers.UUIDField()
    supplier_id = serializers.UUIDField()
    bought_at = serializers.DateTimeField(required=False)
    currency = CurrencyInput()
    animals = BoughtInput(many=True, min_length=1, max_length=500)
    note = serializers.CharField(max_length=300, allow_blank=True, required=False)


class PurchaseOutput(serializers.Serializer):
    """A purchase."""

    id = serializers.UUIDField()
    farm_id = serializers.UUIDField()
    supplier_id = serializers.UUIDField()
    supplier_name = serializers.CharField(source="supplier.name")
    purchase_date = serializers.DateField()
    amount = MoneyOutput("amount")
    note = serializers.CharField()


class PurchaseLineOutput(serializers.Serializer):
    """One animal of a purchase."""

    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="animal.tag_number")
    movement_id = serializers.UUIDField()
    price = MoneyOutput("amount", "purchase.currency")


class PurchaseDetail(PurchaseOutput):
    """A purchase with its animals."""

    lines = serializers.SerializerMethodField()

    def get_lines(self, purchase: Any) -> list[dict[str, Any]]:
        """In the order they were recorded."""
        rows = purchase.lines.select_related("animal").order_by("id")
        return list(PurchaseLineOutput(rows, many=True).data)


class RateField(serializers.DecimalField):
    """A rate of value added tax, in percent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=5, decimal_places=2, min_value=0, max_value=100, **options)


class InvoiceLineInput(serializers.Serializer):
    """One line of a bill."""

    description = serializers.CharField(max_length=200)
    net_amount = AmountInput()
    vat_rate_percent = RateField()


class InvoiceInput(serializers.Serializer):
    """A bill for what is no sale of animals."""

    farm_id = serializers.UUIDField()
    buyer_id = serializers.UUIDField()
    currency = CurrencyInput()
    issued_on = serializers.DateField(required=False)
    due_on = serializers.DateField()
    lines = InvoiceLineInput(many=True, min_length=1, max_length=100)


class SaleInvoiceInput(serializers.Serializer):
    """A bill for a sale of animals."""

    vat_rate_percent = RateField()
    issued_on = serializers.DateField(required=False)
    due_on = serializers.DateField()


class CreditInput(serializers.Serializer):
    """Why an invoice is taken back."""

    reason = serializers.CharField(max_length=500)


class InvoiceOutput(serializers.Serializer):
    """An invoice or a credit note, whose amounts are what it takes back."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    kind = serializers.CharField()
    number = serializers.CharField(source="label")
    farm_id = serializers.UUIDField()
    buyer_id = serializers.UUIDField()
    buyer_name = serializers.CharField()
    buyer_address = serializers.CharField()
    buyer_tax_number = serializers.CharField()
    sale_id = serializers.UUIDField(allow_null=True)
    credits_id = serializers.UUIDField(allow_null=True)
    issued_on = serializers.DateField()
    due_on = serializers.DateField()
    net = MoneyOutput("net_amount")
    vat = MoneyOutput("vat_amount")
    gross = MoneyOutput("gross_amount")
    paid = MoneyOutput("paid_amount")
    status = serializers.CharField()


class InvoiceLineOutput(serializers.Serializer):
    """One line of a bill."""

    description = serializers.CharField()
    net = MoneyOutput("net_amount", "invoice.currency")
    vat_rate_percent = serializers.DecimalField(max_digits=5, decimal_places=2)
    vat = MoneyOutput("vat_amount", "invoice.currency")


class InvoiceDetail(InvoiceOutput):
    """An invoice with its lines."""

    lines = serializers.SerializerMethodField()

    def get_lines(self, invoice: Any) -> list[dict[str, Any]]:
        """In their order."""
        return list(InvoiceLineOutput(invoice.lines.order_by("position"), many=True).data)


class PaymentInput(RecordInput):
    """Money that came for an invoice."""

    paid_on = serializers.DateField()
    amount = AmountInput()
    currency = CurrencyInput()
    method = serializers.ChoiceField(choices(PaymentMethod), required=False)
    reference = serializers.CharField(max_length=120, allow_blank=True, required=False)


class PaymentOutput(serializers.Serializer):
    """Money that came for an invoice."""

    id = serializers.UUIDField()
    invoice_id = serializers.UUIDField()
    paid_on = serializers.DateField()
    amount = MoneyOutput("amount")
    method = serializers.CharField()
    reference = serializers.CharField()


class FinancialResultOutput(serializers.Serializer):
    """What came and went in one currency."""

    sales = MoneyOutput("sales")
    purchases = MoneyOutput("purchases")
    expenses = MoneyOutput("expenses")
    result = MoneyOutput("result")
    milk_litres = serializers.DecimalField(max_digits=14, decimal_places=2)
    expenses_per_litre = serializers.DecimalField(max_digits=14, decimal_places=4, allow_null=True)


class ResultsOutput(serializers.Serializer):
    """What came and went, in each currency."""

    first = serializers.DateField()
    last = serializers.DateField()
    results = FinancialResultOutput(many=True)


class CostsOutput(serializers.Serializer):
    """What was spent for an animal, in each currency."""

    first = serializers.DateField()
    last = serializers.DateField()
    costs = MoneyPair(many=True)

    def to_representation(self, found: Any) -> dict[str, Any]:
        """The sums as pairs."""
        costs = [MoneyOutput("amount").to_representation(money) for money in found["costs"]]
        return {"first": str(found["first"]), "last": str(found["last"]), "costs": costs}


class StockClassOutput(serializers.Serializer):
    """A class of animals; ``age`` in years."""

    animal_type = serializers.CharField()
    sex = serializers.CharField()
    age = serializers.CharField()


class ScheduleRowOutput(serializers.Serializer):
    """One class in one period; heads."""

    stock = StockClassOutput()
    opening = serializers.IntegerField()
    births = serializers.IntegerField()
    purchases = serializers.IntegerField()
    other_arrivals = serializers.IntegerField()
    transfers_in = serializers.IntegerField()
    grown_in = serializers.IntegerField()
    deaths = serializers.IntegerField()
    sales = serializers.IntegerField()
    slaughtered = serializers.IntegerField()
    other_departures = serializers.IntegerField()
    transfers_out = serializers.IntegerField()
    grown_out = serializers.IntegerField()
    closing = serializers.IntegerField()


class ScheduleOutput(serializers.Serializer):
    """The livestock schedule of a farm."""

    farm_id = serializers.UUIDField(source="farm.id")
    first = serializers.DateField()
    last = serializers.DateField()
    rows = ScheduleRowOutput(many=True)
