"""Lists are arrays; the `Link` header leads on."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from rest_framework import generics, serializers
from rest_framework.test import APIRequestFactory

from sagas.rest.pagination import LinkHeaderPagination

pytestmark = pytest.mark.django_db


class ByName(LinkHeaderPagination):
    ordering = "username"


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ("username",)


class Users(generics.ListAPIView):
    queryset = User.objects.all()
    serializer_class = UserSerializer
    pagination_class = ByName
    permission_classes = []


def page(url: str):
    return Users.as_view()(APIRequestFactory().get(url))


@pytest.fixture(autouse=True)
def _five_users() -> None:
    User.objects.bulk_create(User(username=f"user{number}") for number in range(5))


def test_following_next_sees_everything_once() -> None:
    seen, url = [], "/users?limit=2"
    while url:
        response = page(url)
        assert isinstance(response.data, list)
        seen += [user["username"] for user in response.data]
        match = re.search(r'<([^>]+)>; rel="next"', response.headers.get("Link", ""))
        url = match[1] if match else ""
    assert seen == [f"user{number}" for number in range(5)]


def test_a_list_on_one_page_has_no_link() -> None:
    assert "Link" not in page("/users").headers


def test_a_page_holds_at_most_a_hundred() -> None:
    assert LinkHeaderPagination.max_page_size == 100
