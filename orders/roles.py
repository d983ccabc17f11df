"""What a user may do with an order. A role is a group that `campusg.roles` creates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model

from orders.models import Order, OrderQuerySet, OrderStatus, RestaurantStaff

if TYPE_CHECKING:
    from django.contrib.auth.models import User

RUNNER = "runner"
RESTAURANT = "restaurant"
OPERATOR = "operator"
SERVICE = "service"
CUSTOMER = "customer"
#: The actor of what the clock does, and the role it does it in.
SYSTEM = "system"


def roles_of(user: User) -> frozenset[str]:
    """The names of the user's groups, read once for each request."""
    known: dict[str, frozenset[str]] = user.__dict__
    if "order_roles" not in known:
        known["order_roles"] = frozenset(user.groups.values_list("name", flat=True))
    return known["order_roles"]


def may_act_for_customers(user: User) -> bool:
    """Staff and trusted services place orders for the customer that the body names."""
    return user.is_staff or SERVICE in roles_of(user)


def sees_all_orders(user: User) -> bool:
    return user.is_staff or bool(roles_of(user) & {OPERATOR, SERVICE})


def visible_orders(user: User) -> OrderQuerySet:
    """The orders a user may see: all, or their own; runners also those that wait and those they carry, a restaurant's
    staff also those for it."""
    orders: OrderQuerySet = Order.objects.all()
    if sees_all_orders(user):
        return orders
    mine = orders.visible_to(user.get_username())
    if RUNNER in roles_of(user):
        mine |= orders.filter(status=OrderStatus.CREATED) | orders.filter(runner=user.get_username())
    if RESTAURANT in roles_of(user):
        mine |= orders.filter(restaurant__in=restaurants_of(user))
    return mine


def offered_orders(user: User) -> OrderQuerySet:
    """The orders a user may try to accept. A runner's include those that no longer wait, so that a runner who was too
    slow gets the current status and not "no such order"."""
    orders = visible_orders(user)
    if RUNNER in roles_of(user):
        orders |= Order.objects.filter(accept_by__isnull=False)
    return orders


def may_cancel(user: User, order: Order) -> bool:
    """The customer, the staff of its restaurant, and those who see all orders may cancel it."""
    if sees_all_orders(user) or order.owner == user.get_username():
        return True
    return RESTAURANT in roles_of(user) and order.restaurant in restaurants_of(user)


def decides_for_all(user: User) -> bool:
    """Staff and operators cancel orders that a runner has accepted, and complete those whose runner cannot."""
    return user.is_staff or OPERATOR in roles_of(user)


def restaurants_of(user: User) -> frozenset[str]:
    """The restaurants whose menu the user edits. `keeps_all_menus` is not considered."""
    mine = RestaurantStaff.objects.filter(username=user.get_username())
    return frozenset(mine.values_list("restaurant", flat=True))


def keeps_all_menus(user: User) -> bool:
    return user.is_staff or OPERATOR in roles_of(user)


def may_keep_menu_of(user: User, restaurant: str) -> bool:
    return keeps_all_menus(user) or (RESTAURANT in roles_of(user) and restaurant in restaurants_of(user))


def role_of(actor: str, order: Order) -> str:
    """The role in which somebody cancels this order, by user name. The order stores it as `cancelled_by`."""
    if actor == SYSTEM:
        return SYSTEM
    user = get_user_model().objects.filter(username=actor).first()
    if user is None:
        return CUSTOMER if actor == order.owner else OPERATOR
    if decides_for_all(user):
        return OPERATOR
    return next((role for role in (SERVICE, RESTAURANT, RUNNER) if role in roles_of(user)), CUSTOMER)
