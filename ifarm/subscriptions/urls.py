"""Addresses of subscriptions."""

from django.urls import path

from ifarm.subscriptions import apis

open_routes = [
    path("plans/", apis.PlansApi.as_view(), name="plans"),
    path("payment-messages/", apis.PaymentMessagesApi.as_view(), name="payment-messages"),
]
routes = [
    path("subscription/", apis.SubscriptionApi.as_view(), name="subscription"),
    path("subscription/invoices/", apis.SubscriptionInvoicesApi.as_view(), name="subscription-invoices"),
    path("subscription/usage/", apis.UsageApi.as_view(), name="subscription-usage"),
]
