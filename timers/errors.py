"""What the alarm clock can answer instead of doing what it was asked.

TimerError
├── UnknownEventType      nobody handles events of this type
├── UnknownEvent          there is no such scheduled event
├── ScheduledInThePast    the moment asked for has gone by
├── PayloadNotJson        the payload holds what JSON has no word for
├── PayloadTooLarge       the payload is bigger than an alarm should carry
└── EventAlreadySettled   the event fired or was cancelled before
"""

from __future__ import annotations

from sagas.errors import Problem, Refusal


class TimerError(Problem):
    """Base of everything the timers app raises."""


class UnknownEventType(TimerError, Refusal):
    code = "timer.unknown_event_type"
    status = 400
    title = "Nothing handles this event type"
    advice = "Use one of the event types named in this answer."


class UnknownEvent(TimerError, Refusal):
    code = "timer.unknown_event"
    status = 404
    title = "No such scheduled event"
    advice = "Check the id; GET /api/events lists the events you may see."


class ScheduledInThePast(TimerError, Refusal):
    code = "timer.in_the_past"
    status = 400
    title = "The scheduled time has gone by"
    advice = "Send a scheduled_at that lies in the future."


class PayloadNotJson(TimerError, Refusal):
    code = "timer.payload_not_json"
    status = 400
    title = "The payload is not JSON"
    advice = "Send numbers that JSON can express."


class PayloadTooLarge(TimerError, Refusal):
    code = "timer.payload_too_large"
    status = 400
    title = "The payload is too large for an alarm"
    advice = "Store the data elsewhere and put only its id into the payload."


class EventAlreadySettled(TimerError, Refusal):
    code = "timer.already_settled"
    status = 409
    title = "The event fired or was cancelled before"
    advice = "Nothing is left to do; schedule a new event if one is needed."
