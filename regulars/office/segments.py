"""Living segments, as marketers' programs read, write and try them."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from adapters.postgres_admin import PostgresAdmin
from foundation.contracts import MEMBERSHIPS
from foundation.lake import Lake
from foundation.money import MINOR_PER_MAJOR
from foundation.rules import InvalidRule, Vocabulary, read_rule
from regulars.jobs.customers import registry
from regulars.jobs.living_segments import definitions, newest_sizes, save
from regulars.jobs.offers import lake_vocabulary
from regulars.jobs.preview import AS_OF, Preview
from regulars.jobs.rule_names import strangers
from regulars.jobs.simulated import without_simulated
from regulars.office.changes import changed, check_seen
from regulars.office.room import Room
from segmentation.living import Definition, Draft, InvalidSegment, asked_segments
from serving.errors import InvalidField
from serving.office.asking import Asked, Told
from serving.office.segment_messages import (
    NewSegment,
    PreviewAnswer,
    PreviewRequest,
    SegmentDistinction,
    SegmentList,
    SegmentOverlap,
    SegmentTerms,
    ShownSegment,
    WrittenSegment,
)
from serving.problems import Problem


class Segments:
    """The operations of /v1/segments."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._previewing = threading.Lock()
        self._preview: tuple[object, Preview] | None = None

    def page(self, asked: Asked[None]) -> Told:
        """Return some living segments, archived ones among them."""
        lake = self._room.lake()
        sizes = newest_sizes(lake)
        newest = {name: versions[-1] for name, versions in definitions(lake).items()}
        names, after = asked.page.of(newest)
        return Told(SegmentList([_shown(newest[name], sizes) for name in names], after))

    def one(self, asked: Asked[None]) -> Told:
        """Return a living segment's newest version."""
        lake = self._room.lake()
        found = _required(lake, asked.subject)
        return Told(_shown(found, newest_sizes(lake)), str(found.version))

    def add(self, asked: Asked[NewSegment]) -> Told:
        """Save a segment that there is not yet."""

        def change(admin: PostgresAdmin) -> Told:
            lake = self._room.lake()
            draft = _draft(asked, asked.body.id, asked.body)
            before = _newest(lake, asked.body.id)
            # The very same is what an earlier try left that nobody heard of.
            if before is not None and (before.version > 1 or before.draft != draft):
                raise Problem(
                    409,
                    "segment_exists",
                    f"segment {asked.body.id!r} is there already, as version {before.version}; "
                    f"change it with PUT /v1/segments/{asked.body.id}, or choose another id",
                    "id",
                )
            return self._saved(admin, lake, draft, 201)

        return changed(self._room.admin, asked, change)

    def put(self, asked: Asked[SegmentTerms]) -> Told:
        """Save a segment's next version, or its first."""

        def change(admin: PostgresAdmin) -> Told:
            lake = self._room.lake()
            _check_seen(asked, lake)
            return self._saved(admin, lake, _draft(asked, asked.subject, asked.body), 200)

        return changed(self._room.admin, asked, change)

    def archive(self, asked: Asked[None]) -> Told:
        """Save a segment as archived: runs refresh it no more, its versions stay."""
        segment_id = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            lake = self._room.lake()
            before = _required(lake, segment_id).draft
            _check_seen(asked, lake)
            if before.status == "archived":
                return self._saved(admin, lake, before, 200)
            draft = replace(before, author=asked.who, status="archived")
            return self._saved(admin, lake, draft, 200)

        return changed(self._room.admin, asked, change)

    def preview(self, asked: Asked[PreviewRequest]) -> Told:
        """Say whom a rule would hold, as of the newest run."""
        rule = asked.body.rule
        lake, currency = self._room.lake(), self._room.settings.currency
        # One at a time: it holds a connection, which serves one thread.
        with self._previewing:
            # Every run leaves members of its own, also a second one of the same instant.
            run = (lake.note(AS_OF), lake.digest([MEMBERSHIPS.name]))
            if self._preview is None or self._preview[0] != run:
                self._preview = (run, Preview(without_simulated(lake), currency))
            try:
                found = self._preview[1].show(rule)
                warnings = strangers(lake, rule)
            except (InvalidRule, InvalidSegment) as error:
                raise _of_rule(error) from error
        return Told(
            PreviewAnswer(
                sentence=found.sentence,
                as_of=found.as_of,
                customers=found.customers,
                of=found.of,
                value=found.value / MINOR_PER_MAJOR,
                value_share=found.value_share,
                overlaps=[
                    SegmentOverlap(
                        one.segment_id,
                        one.customers,
                        one.both,
                        one.share_of_this,
                        one.share_of_other,
                    )
                    for one in found.overlaps
                ],
                sample=list(found.sample),
                distinctions=[
                    SegmentDistinction(one.sentence(currency), float(one.difference))
                    for one in found.distinctions
                ],
                warnings=warnings,
            )
        )

    def _saved(self, admin: PostgresAdmin, lake: Lake, draft: Draft, status: int) -> Told:
        """Save a draft; one that says what the newest version says is no new version."""
        saved = _newest(lake, draft.segment_id)
        if saved is None or saved.draft != draft:
            if draft.status == "archived":
                self._check_free(admin, lake, draft.segment_id)
            now = self._room.clock.now()
            features = [feature.name for feature in registry(lake)]
            try:
                saved = save(lake, draft, features, now)
            except (InvalidRule, InvalidSegment) as error:
                raise _of_rule(error) from error
            told = {**asdict(draft), "version": saved.version}
            admin.note("save", f"segment {draft.segment_id}", now, **told)
        shown = _shown(saved, newest_sizes(lake))
        fields = {name: getattr(shown, name) for name in ShownSegment.__struct_fields__}
        warnings = strangers(lake, draft.rule) if draft.status == "active" else []
        return Told(WrittenSegment(**fields, warnings=warnings), str(saved.version), status)

    def _check_free(self, admin: PostgresAdmin, lake: Lake, segment_id: str) -> None:
        """Refuse to archive what is asked for: what asks would then hold nobody, and wait."""
        known = lake_vocabulary(lake)
        stored = {n: v[-1].draft for n, v in definitions(lake).items()}
        asking: list[tuple[str, Any]] = [
            *((f"segment {n!r}", one.rule) for n, one in stored.items() if one.status == "active"),
            *((f"offer {name!r}", rule) for name, rule in admin.offers.rules().items()),
            *(
                (f"experiment {one.design.key!r}, which runs", one.design.audience)
                for one in admin.experiments()
                if one.stopped_at is None and one.design.audience is not None
            ),
        ]
        for who, rule in asking:
            if segment_id in _asked_by(rule, known):
                raise Problem(
                    409,
                    "segment_in_use",
                    f"segment {segment_id!r} is asked for by {who}; change that first",
                    "id",
                )


def _asked_by(rule: Any, known: Vocabulary) -> frozenset[str]:
    try:
        return asked_segments(read_rule(rule, known))
    except InvalidRule:
        # Broken since it was written: its run or its decisions say so.
        return frozenset()


def _shown(definition: Definition, sizes: Mapping[str, int]) -> ShownSegment:
    draft = definition.draft
    return ShownSegment(
        id=draft.segment_id,
        version=definition.version,
        name=draft.name,
        rule=draft.rule,
        author=draft.author,
        note=draft.note,
        status=draft.status,
        at=definition.at,
        customers=sizes.get(draft.segment_id),
    )


def _newest(lake: Lake, segment_id: str) -> Definition | None:
    return definitions(lake).get(segment_id, [None])[-1]


def _required(lake: Lake, segment_id: str) -> Definition:
    found = _newest(lake, segment_id)
    if found is None:
        detail = f"segment {segment_id!r} does not exist; GET /v1/segments lists those that do"
        raise Problem(404, "unknown_segment", detail, "id")
    return found


def _check_seen(asked: Asked[Any], lake: Lake) -> None:
    before = _newest(lake, asked.subject)
    check_seen(asked, None if before is None else str(before.version), f"segment {asked.subject!r}")


def _draft(asked: Asked[Any], segment_id: str, terms: SegmentTerms) -> Draft:
    author = terms.author or asked.who
    return Draft(segment_id, terms.name, terms.rule, author, terms.note, terms.status)


def _of_rule(error: Exception) -> InvalidField:
    """Return a fault of a definition with its field: its line begins with the path of it."""
    path, colon, _ = str(error).partition(": ")
    if isinstance(error, InvalidRule):
        return InvalidField(str(error), path)
    named = colon and path.startswith("segment.")
    return InvalidField(str(error), path.removeprefix("segment.") if named else "rule")
