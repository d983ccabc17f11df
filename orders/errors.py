"""The errors of the orders app. All are refusals: the answer stays the same until something changes.

OrderError
├── UnknownOrder           there is no such order, or it belongs to somebody else
├── UnknownProduct         the menu has no such product
├── PriceChanged           the menu's price differs from the one sent
├── CurrencyMismatch       the product is sold in another currency
├── OutOfStock             less is available than was ordered
├── ReservationExpired     the food was released before the order was confirmed
├── TotalTooLarge          more than one payment can be
├── NothingToPay           the total is zero
├── CannotCancel           a runner has accepted the order, or it has ended
├── OrderChanged           the order changed after the preview
├── CannotAccept           another runner has the order, or its acceptance window is over
├── CannotComplete         the order is not accepted, or not by this runner
├── WrongStatus            a step found the order in a status that it does not expect
├── SeveralRestaurants     the products are of more than one restaurant
├── OrderKeepsItsMoney     a saga moves the order's money, so nobody else may
├── UnknownMenuItem        the menu has no item with that sku
├── SkuTaken               another item has that sku
└── StockPromised          the new stock is less than what orders have reserved
"""

from __future__ import annotations

from sagas import Problem, Refusal


class OrderError(Problem):
    """Base of everything the orders app raises."""


class UnknownOrder(OrderError, Refusal):
    code = "order.not_found"
    status = 404
    title = "No such order"
    advice = "Check the id; GET /api/orders lists your orders."


class UnknownProduct(OrderError, Refusal):
    code = "order.unknown_product"
    status = 422
    title = "The menu has no such product"
    advice = "Take the product id from GET /api/menu, or leave it out for a free line."


class PriceChanged(OrderError, Refusal):
    code = "order.price_changed"
    status = 409
    title = "The price has changed"
    advice = "Show the customer the current prices named in this answer and send the order with those."


class CurrencyMismatch(OrderError, Refusal):
    code = "order.currency_mismatch"
    status = 409
    title = "The product is sold in another currency"
    advice = "Order products of one currency only."


class OutOfStock(OrderError, Refusal):
    code = "order.out_of_stock"
    status = 409
    title = "Not enough in stock"
    advice = "Order at most what is available, or something else."


class ReservationExpired(OrderError, Refusal):
    code = "order.reservation_expired"
    status = 409
    title = "The food is no longer reserved"
    advice = "Order again."


class TotalTooLarge(OrderError, Refusal):
    code = "order.total_too_large"
    status = 422
    title = "The order costs more than one payment can be"
    advice = "Split it into several orders."


class NothingToPay(OrderError, Refusal):
    code = "order.nothing_to_pay"
    status = 422
    title = "The order has nothing to pay"
    advice = "Add a line with a price."


class CannotCancel(OrderError, Refusal):
    code = "order.not_cancellable"
    status = 409
    title = "The order can no longer be cancelled"
    advice = "Its current status is in this answer; an order can be cancelled until a runner has accepted it."


class OrderChanged(OrderError, Refusal):
    code = "order.changed"
    status = 412
    title = "The order has changed since the preview"
    advice = "Read the preview again and send its new ETag."


class CannotAccept(OrderError, Refusal):
    code = "order.not_acceptable"
    status = 409
    title = "The order can't be accepted"
    advice = "Its current status is in this answer; choose another order."


class CannotComplete(OrderError, Refusal):
    code = "order.not_completable"
    status = 409
    title = "The order can't be completed"
    advice = "Its current status is in this answer; only an accepted order can be completed."


class WrongStatus(OrderError, Refusal):
    code = "order.wrong_status"
    status = 409
    title = "The order is in another status"
    advice = "Read the order to see its current status."


class SeveralRestaurants(OrderError, Refusal):
    code = "order.several_restaurants"
    status = 422
    title = "The order names products of several restaurants"
    advice = "Place one order for each restaurant."


class OrderKeepsItsMoney(OrderError, Refusal):
    code = "order.keeps_its_money"
    status = 409
    title = "The order's saga moves its money"
    advice = "Cancel, complete or refund the order; its saga then moves the money."


class UnknownMenuItem(OrderError, Refusal):
    code = "menu.unknown_item"
    status = 404
    title = "No such menu item"
    advice = "Check the sku; GET /api/menu lists the menu."


class SkuTaken(OrderError, Refusal):
    code = "menu.sku_taken"
    status = 409
    title = "Another menu item has this sku"
    advice = "Choose another sku, or change the item that has it."


class StockPromised(OrderError, Refusal):
    code = "menu.stock_promised"
    status = 409
    title = "Orders have reserved more than that"
    advice = "Set at least what is reserved, or wait until those orders have ended."
