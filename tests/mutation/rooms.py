"""The rooms that are mutated, and for each the tests that must notice: quick ones, chosen once for the whole room.

Of these tests mutmut runs, for each mutant, those that call the mutated function, the fastest first.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGINE_TESTS = (
    "tests/proofs/model",
    "tests/proofs/simulation/test_resumed_sagas.py",
    "tests/mutation/test_seeds.py",
    "tests/sagas/test_engine.py",
    "tests/sagas/test_cancelling.py",
    "tests/sagas/test_recovery.py",
    "tests/sagas/test_settling.py",
    "tests/sagas/test_holds.py",
    "tests/sagas/test_auto_retry.py",
    "tests/sagas/test_stored_state.py",
    "tests/sagas/test_definition.py",
    "tests/sagas/test_sweeping.py",
    "tests/sagas/test_history.py",
    "tests/sagas/test_replay.py",
    "tests/sagas/test_queries.py",
    "tests/sagas/test_dispatch.py",
)
#: Too slow for a run per mutant, or shown by a quicker test of the selection. pytest takes them as beginnings of names.
SLOW = (
    "tests/proofs/model/test_model.py::test_nothing_is_ever_wrong_and_everything_can_end[two",
    "tests/proofs/model/test_model.py::test_the_search_meets_everything",
    "tests/sagas/test_stored_state.py::test_what_is_inferred_is_what_is_stored_wherever_a_saga_may_stand",
    "tests/sagas/test_damages.py::test_each_damage_is_found_and_nothing_else_is_blamed",
    "tests/sagas/test_verify.py::test_orders_of_every_status_are_in_order",
    "tests/sagas/test_verify.py::test_without_tables_it_says_that_it_could_not_look",
    *(
        f"tests/sagas/test_verify.py::test_nothing_is_found_at_any_commit_on_the_way[{way}"
        for way in ("placed", "completed", "accepted", "cancelled", "expired", "refunded-a", "failed-a")
    ),
)


@dataclass(frozen=True)
class Room:
    """`files` are the patterns of the files to mutate, `tests` the paths given to pytest."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = {
    "machine": Room(("sagas/machine/*.py",), (*ENGINE_TESTS, "tests/sagas/test_verify.py")),
    "engine": Room(
        ("sagas/engine/*.py",),
        (
            *ENGINE_TESTS,
            "tests/sagas/test_deploys.py",
            "tests/sagas/test_api.py",
            "tests/sagas/test_holding.py",
            "tests/orders/test_cancellation_preview.py",
        ),
    ),
    "payments": Room(
        ("payments/flows/*.py",),
        (
            "tests/payments/test_authorize.py",
            "tests/payments/test_crash_points.py",
            "tests/payments/test_captures_and_refunds.py",
            "tests/payments/test_payouts_and_ledger.py",
            "tests/payments/test_moving_money_api.py",
            "tests/payments/test_reconcile.py",
        ),
    ),
    "orders": Room(
        ("orders/services.py", "orders/inventory.py"),
        (
            "tests/orders/test_inventory.py",
            "tests/orders/test_placing_orders.py",
            "tests/orders/test_cancelling_orders.py",
            "tests/orders/test_create_order_failures.py",
            "tests/orders/test_delivery.py",
            "tests/orders/test_holding.py",
        ),
    ),
}
