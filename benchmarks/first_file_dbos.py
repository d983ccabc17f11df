"""The same trip with DBOS: a workflow of two steps that undoes the first one itself when the second one fails."""

from dbos import DBOS, DBOSConfig


class SoldOut(Exception):
    pass


@DBOS.step()
def reserve_seat(seat: str) -> None:
    print(f"seat {seat} is reserved")


@DBOS.step()
def free_seat(seat: str, reason: str) -> None:
    print(f"seat {seat} is free again: {reason}")


@DBOS.step()
def issue_ticket(seat: str) -> None:
    raise SoldOut("The airline is sold out.")


@DBOS.workflow()
def book_trip(seat: str) -> str:
    reserve_seat(seat)
    try:
        issue_ticket(seat)
    except SoldOut as refusal:
        free_seat(seat, str(refusal))
        return "COMPENSATED"
    return "COMPLETED"


if __name__ == "__main__":
    config: DBOSConfig = {"name": "first-saga", "system_database_url": "sqlite:///first_dbos.sqlite3"}
    DBOS(config=config)
    DBOS.launch()
    trip = DBOS.start_workflow(book_trip, "12A")
    print(trip.workflow_id, trip.get_result())
    for step in DBOS.list_workflow_steps(trip.workflow_id):
        print(step["function_id"], step["function_name"], step["error"] or "done")
    DBOS.destroy()
