"""Sagas in the Django admin: everything to look at, nothing to edit, and two actions that ask for a reason.

Works with plain `django.contrib.admin` and with unfold.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sagas import conf
from sagas.engine import commands, representation
from sagas.errors import Problem
from sagas.holds import holds
from sagas.machine.state import Row
from sagas.models import SagaHold, SagaInstance
from sagas.statuses import Action, Status
from sagas.storage import storage

if apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin
else:
    from django.contrib.admin import ModelAdmin

#: The colour family of each status, named in `sagas/admin.css`.
TONES = {
    Status.COMPLETED: "good",
    Status.STARTED: "busy",
    Status.COMPENSATING: "back",
    Status.CANCELLING: "back",
    Status.NEEDS_ATTENTION: "bad",
}
SHOWN_OF_AN_ID = 12
#: Events whose message only repeats the step and the word beside it.
SELF_EXPLAINING = (
    Action.STARTED, Action.STEP_CLAIMED, Action.STEP_COMPLETED, Action.UNDO_CLAIMED, Action.UNDO_COMPLETED,
    Action.FINISHED,
)  # fmt: skip
SHOWN_FIRST = ("status_label", "step", "what_to_do", "subject", "owner", "why", "error_text", "next_look")
RETRYABLE = (Status.NEEDS_ATTENTION,)
CANCELLABLE = (Status.STARTED, Status.COMPLETED, Status.COMPENSATING, Status.NEEDS_ATTENTION)


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3, "class": "saga-reason", "autofocus": True}),
        help_text="Kept in the saga's history with your name.",
    )


class ReleaseForm(ReasonForm):
    per_second = forms.FloatField(min_value=0.01, max_value=1000, help_text="How many sagas go on each second.")


class HoldForm(ReasonForm, forms.ModelForm):  # type: ignore[type-arg]
    dependency = forms.ChoiceField(choices=lambda: [(name, name) for name in holds.known()])

    class Meta:
        model = SagaHold
        fields = ("dependency", "reason")

    def clean_dependency(self) -> str:
        dependency: str = self.cleaned_data["dependency"]
        current = storage().active_hold(dependency)
        if current is not None and not current.is_automatic:
            raise forms.ValidationError(f"{dependency} is on hold already: {current.reason}")
        return dependency


@dataclass(frozen=True)
class Verb:
    """Something an operator may do to sagas."""

    name: str
    title: str
    explanation: str
    permission: str
    fits: tuple[Status, ...]
    act: Callable[[uuid.UUID, str, str], Row]


def _cancel(saga_id: uuid.UUID, reason: str, actor: str) -> Row:
    return commands.cancel(saga_id, reason_code="other", reason=reason, actor=actor)


def _retry(saga_id: uuid.UUID, reason: str, actor: str) -> Row:
    return commands.retry(saga_id, reason=reason, actor=actor)


def _skip(saga_id: uuid.UUID, reason: str, actor: str) -> Row:
    return commands.skip(saga_id, reason=reason, actor=actor)


def _close(saga_id: uuid.UUID, reason: str, actor: str) -> Row:
    return commands.close(saga_id, reason=reason, actor=actor)


CANCEL = Verb(
    "cancel", "Cancel", "Everything these sagas have done will be undone, in reverse order.",
    "sagas.cancel_sagainstance", CANCELLABLE, _cancel,
)  # fmt: skip
RETRY = Verb(
    "retry", "Retry", "These sagas will go on from the step they stopped at, with fresh retries.",
    "sagas.retry_sagainstance", RETRYABLE, _retry,
)  # fmt: skip

SKIP = Verb(
    "skip", "Skip step", "The step each of these sagas stopped at is taken as done by hand; they go on behind it.",
    "sagas.retry_sagainstance", RETRYABLE, _skip,
)  # fmt: skip
CLOSE = Verb(
    "close", "Close", "These sagas end where they stand; what is left was settled by hand.",
    "sagas.retry_sagainstance", RETRYABLE, _close,
)  # fmt: skip
VERBS = (RETRY, SKIP, CLOSE, CANCEL)


@admin.register(SagaInstance)
class SagaInstanceAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("short_id", "name", "status_label", "step", "short_subject", "why", "started", "took")
    list_display_links = ("short_id",)
    list_filter = ("status", "name", "held_by", "reason_code", "created_at")
    search_fields = ("id", "subject", "owner", "key")
    search_help_text = "Search by saga id, subject, owner or key."
    ordering = ("-created_at",)
    list_per_page = 50
    show_full_result_count = False
    actions = ("cancel_selected", "retry_selected")
    fieldsets = (
        (None, {"fields": SHOWN_FIRST}),
        ("History", {"fields": ("timeline",)}),
        ("Data", {"fields": ("given", "returned"), "classes": ("collapse",)}),
        ("Engine", {"fields": ("name", "version", "id", "key", "position", "epoch", "attempt", "dispatches",
                               "direction", "phase", "may_have_run", "lease_until",
                               "wake_at", "deadline_at", "created_at", "updated_at", "finished_at"),
                    "classes": ("collapse",)}),
    )  # fmt: skip

    class Media:
        css = {"all": ("sagas/admin.css",)}

    # -- nobody edits a saga ------------------------------------------------------------------------------------
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SagaInstance | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SagaInstance | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: SagaInstance | None = None) -> list[str]:
        return [name for _, options in self.fieldsets for name in options["fields"]]

    # -- what is shown ------------------------------------------------------------------------------------------
    @admin.display(description="saga", ordering="id")
    def short_id(self, saga: SagaInstance) -> str:
        return _tail(str(saga.id))

    @admin.display(description="subject", ordering="subject")
    def short_subject(self, saga: SagaInstance) -> SafeString:
        return format_html('<span title="{}">{}</span>', saga.subject, _tail(saga.subject))

    @admin.display(description="started (UTC)", ordering="created_at")
    def started(self, saga: SagaInstance) -> SafeString:
        return _moment(saga.created_at)

    @admin.display(description="took")
    def took(self, saga: SagaInstance) -> str:
        return "…" if saga.finished_at is None else f"{(saga.finished_at - saga.created_at).total_seconds():.1f} s"

    @admin.display(description="status", ordering="status")
    def status_label(self, saga: SagaInstance) -> SafeString:
        tone = TONES.get(Status(saga.status), "done")
        label = format_html('<span class="saga-status saga-{}">{}</span>', tone, saga.get_status_display())
        waits = representation.waiting_reason(saga)
        return format_html('{} <span class="saga-status saga-back">{}</span>', label, waits) if waits else label

    @admin.display(description="current step")
    def step(self, saga: SagaInstance) -> str:
        return representation.current_step(saga) or "–"

    @admin.display(description="reason")
    def why(self, saga: SagaInstance) -> str:
        return saga.reason or saga.error or "–"

    @admin.display(description="last error")
    def error_text(self, saga: SagaInstance) -> str:
        return saga.error or "–"

    @admin.display(description="looked at again")
    def next_look(self, saga: SagaInstance) -> str:
        if saga.held_since is not None:
            return f"when {saga.held_by} is released; held since {saga.held_since:%d %b %H:%M:%S} UTC"
        if due_at := representation.next_auto_retry_at(saga):
            return f"retried by itself at {due_at:%d %b %H:%M:%S} UTC"
        return f"{saga.wake_at:%d %b %H:%M:%S} UTC" if saga.wake_at else "–"

    @admin.display(description="actions")
    def what_to_do(self, saga: SagaInstance) -> SafeString:
        verbs = [verb for verb in VERBS if saga.status in verb.fits]
        links = [(reverse(f"admin:sagas_{verb.name}", args=[saga.pk]), verb.title) for verb in verbs]
        return SafeString(render_to_string("sagas/admin/actions.html", {"links": links}))

    @admin.display(description="history")
    def timeline(self, saga: SagaInstance) -> SafeString:
        events = representation.events_of(saga.pk, include_internal=True)
        return SafeString(render_to_string("sagas/admin/timeline.html", {"lines": _lines(saga, events)}))

    @admin.display(description="input")
    def given(self, saga: SagaInstance) -> SafeString:
        return _facts(saga.data.get("input", {}))

    @admin.display(description="results")
    def returned(self, saga: SagaInstance) -> SafeString:
        return _facts(saga.data.get("results", {}))

    # -- actions ------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        own: list[URLPattern] = [
            path(f"<uuid:saga_id>/{verb.name}/", self.admin_site.admin_view(partial(self._act_on_one, verb=verb)),
                 name=f"sagas_{verb.name}")
            for verb in VERBS
        ]  # fmt: skip
        return [*own, *super().get_urls()]

    @admin.action(description="Cancel the selected sagas…", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[SagaInstance]) -> HttpResponse:
        return self._act(request, CANCEL, list(queryset), back=request.get_full_path())

    @admin.action(description="Retry the selected sagas…", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[SagaInstance]) -> HttpResponse:
        return self._act(request, RETRY, list(queryset), back=request.get_full_path())

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(CANCEL.permission))

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(RETRY.permission))

    def _act_on_one(self, request: HttpRequest, saga_id: uuid.UUID, *, verb: Verb) -> HttpResponse:
        if not request.user.has_perm(verb.permission):
            raise PermissionDenied
        back = reverse("admin:sagas_sagainstance_change", args=[saga_id])
        return self._act(request, verb, list(SagaInstance.objects.filter(pk=saga_id)), back=back)

    def _act(self, request: HttpRequest, verb: Verb, sagas: list[SagaInstance], *, back: str) -> HttpResponse:
        """Ask for a reason; with one, act on each saga and say what became of it."""
        form = ReasonForm(request.POST if "reason" in request.POST else None)
        if form.is_valid():
            for saga in sagas:
                self._act_and_tell(request, verb, saga, form.cleaned_data["reason"])
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.title} {len(sagas)} {'saga' if len(sagas) == 1 else 'sagas'}",
            "verb": verb,
            "sagas": sagas,
            "form": form,
            "back": back,
            "opts": self.opts,
            "media": self.media + form.media,
            "action_name": f"{verb.name}_selected",
        }
        return TemplateResponse(request, "sagas/admin/reason.html", context)

    def _act_and_tell(self, request: HttpRequest, verb: Verb, saga: SagaInstance, reason: str) -> None:
        try:
            row = verb.act(saga.pk, reason, request.user.get_username())
        except Problem as problem:
            self.message_user(request, f"{self.short_id(saga)}: {problem.detail}", messages.ERROR)
        else:
            self.log_change(request, saga, f"{verb.title}: {reason}")
            self.message_user(request, f"{self.short_id(saga)} is {row.status.label.lower()}.", messages.SUCCESS)


@admin.register(SagaHold)
class SagaHoldAdmin(ModelAdmin):  # type: ignore[misc]
    """What is and was on hold. Adding one puts it on hold; releasing asks for a reason and a pace."""

    list_display = ("dependency", "state", "sagas_waiting", "reason", "actor", "since", "released_by", "until")
    readonly_fields = ("state", "sagas_waiting", "since", "next_probe", "until")
    list_filter = ("dependency", "is_automatic")
    ordering = ("-held_at",)
    actions = ("release_selected",)
    form = HoldForm

    class Media:
        css = {"all": ("sagas/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("sagas.hold_dependency"))

    def get_fields(self, request: HttpRequest, obj: SagaHold | None = None) -> list[str]:
        if obj is None:
            return ["dependency", "reason"]
        held = ["dependency", "state", "sagas_waiting", "reason", "actor", "since", "next_probe", "probes"]
        return [*held, "until", "released_by", "release_reason", "per_second"]

    def has_release_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: SagaHold | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SagaHold | None = None) -> bool:
        return False

    @admin.display(description="state")
    def state(self, hold: SagaHold) -> SafeString:
        tone, word = ("bad", "On hold") if hold.released_at is None else ("done", "Released")
        return format_html('<span class="saga-status saga-{}">{}</span>', tone, word)

    @admin.display(description="sagas waiting")
    def sagas_waiting(self, hold: SagaHold) -> int | str:
        return holds.waiting().get(hold.dependency, 0) if hold.released_at is None else "–"

    @admin.display(description="since (UTC)", ordering="held_at")
    def since(self, hold: SagaHold) -> SafeString:
        return _moment(hold.held_at)

    @admin.display(description="next try (UTC)")
    def next_probe(self, hold: SagaHold) -> SafeString:
        return _moment(hold.probe_at if hold.released_at is None else None)

    @admin.display(description="until (UTC)", ordering="released_at")
    def until(self, hold: SagaHold) -> SafeString:
        return _moment(hold.released_at)

    def save_model(self, request: HttpRequest, obj: SagaHold, form: Any, change: bool) -> None:
        made = holds.hold_dependency(
            obj.dependency, reason=form.cleaned_data["reason"], actor=request.user.get_username()
        )
        obj.pk = made.id
        obj.refresh_from_db()

    @admin.action(description="Release what is selected…", permissions=["release"])
    def release_selected(self, request: HttpRequest, queryset: QuerySet[SagaHold]) -> HttpResponse | None:
        """Ask for a reason and a pace; with them, let the sagas that wait go on."""
        pace = {"per_second": conf.options().release_per_second}
        form = ReleaseForm(request.POST if "reason" in request.POST else None, initial=pace)
        if not form.is_valid():
            return self._ask(request, form, list(queryset))
        for hold in queryset:
            self._release(request, hold, form.cleaned_data)
        return None

    def _ask(self, request: HttpRequest, form: ReleaseForm, chosen: list[SagaHold]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request), "title": "Release", "chosen": chosen, "form": form,
            "opts": self.opts, "back": request.get_full_path(),
        }  # fmt: skip
        return TemplateResponse(request, "sagas/admin/release.html", context)

    def _release(self, request: HttpRequest, hold: SagaHold, payload: dict[str, Any]) -> None:
        try:
            holds.release_dependency(hold.dependency, **payload, actor=request.user.get_username())
        except Problem as problem:
            self.message_user(request, problem.detail, messages.ERROR)
        else:
            self.log_change(request, hold, f"Release: {payload['reason']}")
            self.message_user(request, f"{hold.dependency} is released.", messages.SUCCESS)


def _lines(saga: SagaInstance, events: list[Any]) -> list[dict[str, Any]]:
    """The history with the time since the saga began, in milliseconds."""
    return [
        {
            "event": event,
            "after_ms": round((event.created_at - saga.created_at).total_seconds() * 1000),
            "message": "" if event.action in SELF_EXPLAINING else event.message,
        }
        for event in events
    ]


def _moment(at: datetime | None) -> SafeString:
    """A moment in UTC, or a dash."""
    return format_html('<span class="saga-time">{}</span>', f"{at:%d %b %H:%M:%S}" if at else "–")


def _tail(identifier: str) -> str:
    """Enough of an id to tell rows apart; ids of one minute share their beginning."""
    return identifier[-SHOWN_OF_AN_ID:]


def _facts(values: dict[str, Any]) -> SafeString:
    return SafeString(render_to_string("sagas/admin/facts.html", {"values": values}))
