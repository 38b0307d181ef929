"""Addresses of money."""

from django.urls import path

from ifarm.financial import apis, apis_trade

routes = [
    path("contacts/", apis.ContactsApi.as_view(), name="contacts"),
    path("contacts/<uuid:contact_id>/", apis.ContactApi.as_view(), name="contact"),
    path("expenses/", apis.ExpensesApi.as_view(), name="expenses"),
    path("expenses/<uuid:expense_id>/", apis.ExpenseApi.as_view(), name="expense"),
    path("expenses/<uuid:expense_id>/steps/", apis.ExpenseStepsApi.as_view(), name="expense-steps"),
    path("sales/", apis_trade.SalesApi.as_view(), name="sales"),
    path("sales/<uuid:sale_id>/", apis_trade.SaleApi.as_view(), name="sale"),
    path("sales/<uuid:sale_id>/invoice/", apis_trade.SaleInvoiceApi.as_view(), name="sale-invoice"),
    path("purchases/", apis_trade.PurchasesApi.as_view(), name="purchases"),
    path("purchases/<uuid:purchase_id>/", apis_trade.PurchaseApi.as_view(), name="purchase"),
    path("invoices/", apis_trade.InvoicesApi.as_view(), name="invoices"),
    path("invoices/<uuid:invoice_id>/", apis_trade.InvoiceApi.as_view(), name="invoice"),
    path("invoices/<uuid:invoice_id>/credit/", apis_trade.CreditApi.as_view(), name="invoice-credit"),
    path("invoices/<uuid:invoice_id>/payments/", apis_trade.PaymentsApi.as_view(), name="payments"),
    path("farms/<uuid:farm_id>/livestock-schedule/", apis.ScheduleApi.as_view(), name="livestock-schedule"),
    path("farms/<uuid:farm_id>/financial-results/", apis.ResultsApi.as_view(), name="financial-results"),
    path("animals/<uuid:animal_id>/costs/", apis.CostsApi.as_view(), name="animal-costs"),
]
