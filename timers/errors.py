"""The errors of the timers app. All are refusals. A scheduled event is a timer: the API calls it an event.

TimerError
├── UnknownEventType      nothing handles events of this type
├── UnknownEvent          there is no such scheduled event, or it belongs to somebody else
├── ScheduledInThePast    the time asked for has passed
├── PayloadNotJson        the payload has a value that JSON cannot express
├── PayloadTooLarge       the payload is larger than a timer may store
└── EventAlreadySettled   the event has fired or was cancelled before
"""

from __future__ import annotations

from sagas import Problem, Refusal


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
    title = "The scheduled time has passed"
    advice = "Send a scheduled_at in the future."


class PayloadNotJson(TimerError, Refusal):
    code = "timer.payload_not_json"
    status = 400
    title = "The payload is not JSON"
    advice = "Send numbers that JSON can express."


class PayloadTooLarge(TimerError, Refusal):
    code = "timer.payload_too_large"
    status = 400
    title = "The payload is too large for a timer"
    advice = "Store the data elsewhere and put only its id into the payload."


class EventAlreadySettled(TimerError, Refusal):
    code = "timer.already_settled"
    status = 409
    title = "The event fired or was cancelled before"
    advice = "Nothing is left to do; schedule a new event if one is needed."
