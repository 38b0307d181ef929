"""Addresses of members, invitations and tokens."""

from django.urls import path

from ifarm.permissions import apis

routes = [
    path("users/", apis.MembersApi.as_view(), name="users"),
    path("users/<uuid:membership_id>/", apis.MemberApi.as_view(), name="user"),
    path("invitations/", apis.InvitationsApi.as_view(), name="invitations"),
    path("invitations/<uuid:invitation_id>/", apis.InvitationApi.as_view(), name="invitation"),
    path("tokens/", apis.TokensApi.as_view(), name="tokens"),
    path("tokens/<uuid:token_id>/", apis.TokenApi.as_view(), name="token"),
]
