"""Only changes are published, and a full picture now and then."""

from __future__ import annotations

from agent.classify.changes import REPEAT_BAD, REPEAT_OK, Changes, Streak


def test_only_changes_are_news() -> None:
    """The same words about the same thing are no news; other words, or another state, are."""
    changes = Changes()

    assert changes.is_news("nfs-server/a", "answers", 0, bad=False)
    assert not changes.is_news("nfs-server/a", "answers", 1, bad=False)
    assert changes.is_news("nfs-server/a", "refused", 2, bad=True)
    assert changes.is_news("nfs-server/b", "answers", 3, bad=False)
    assert changes.was_bad("nfs-server/a")
    assert not changes.was_bad("nfs-server/b")


def test_what_was_said_is_repeated() -> None:
    """What is broken is said again each minute, what works each five minutes."""
    changes = Changes()
    changes.is_news("a", "refused", 0, bad=True)
    changes.is_news("b", "answers", 0, bad=False)

    assert [changes.is_news("a", "refused", at, bad=True) for at in (REPEAT_BAD - 1, REPEAT_BAD)] == [False, True]
    assert [changes.is_news("b", "answers", at, bad=False) for at in (REPEAT_OK - 1, REPEAT_OK)] == [False, True]


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    """After the clock was set back everything is said again rather than nothing for hours."""
    changes = Changes()
    changes.is_news("a", "refused", 1_000_000_000, bad=True)

    assert changes.is_news("a", "refused", 0, bad=True)


def test_what_is_not_there_any_more_is_forgotten() -> None:
    """Things that are gone are named once and are news when they come back."""
    changes = Changes()
    changes.is_news("a", "answers", 0, bad=False)
    changes.is_news("b", "answers", 0, bad=False)

    assert changes.keep({"b"}) == ["a"]
    assert changes.keep({"b"}) == []
    assert changes.is_news("a", "answers", 1, bad=False)


def test_a_streak_counts_only_what_is_the_same() -> None:
    """A streak begins anew with each other answer."""
    streak = Streak()

    assert [streak.count("a", words) for words in ("no", "no", "yes", "no")] == [1, 2, 1, 1]
    streak.keep(())
    assert streak.count("a", "no") == 1


def test_of_what_is_well_other_words_are_news_and_the_same_never() -> None:
    """What is well is said once, however long ago, and again when the words are others: facts are told when they change."""
    changes = Changes()
    asked = [changes.is_change("host", words, at * 400_000_000, bad=False) for at, words in enumerate(("rack1", "rack1", "rack2", "rack2"))]

    assert asked == [True, False, True, False]
