"""What a reply is worth: entries that count, or the reason why there are none.

An answer whose list is empty is an answer (the passage has nothing peculiar). One whose
expressions all stand nowhere in the passage is about another text, and counts as none.
"""

from dictionaries.answers import PARTIAL, read_answer
from dictionaries.validation import validate
from tasks.llm.replies import Reply

REFUSED = "refused"
ANOTHER_TEXT = "about another text"
NO_REPLY = "no reply"
FINAL = (None, REFUSED)  # asking again would not change these
USABLE = (None, PARTIAL)
"""Reasons of answers whose entries count."""
_FILTERS = ("content_filter", "safety", "prohibited_content", "blocklist", "recitation")
_LIMITS = ("length", "max_tokens")


def judge(reply: Reply, passage: str) -> str | None:
    """None for a readable answer about this passage, else the reason: one of the above or of ANSWER_REASONS."""
    if reply.refusal or reply.finish in _FILTERS:
        return REFUSED
    answer = read_answer(reply.text)
    kept, refused = validate(answer.proposals, passage)
    strange = {"not in the passage", "no letter"}  # the latter: the form of an answer, sent back as it was
    if refused and not kept and strange.issuperset(reason for _, reason in refused):
        return ANOTHER_TEXT
    if reply.finish in _LIMITS:
        return PARTIAL if answer.proposals else "truncated"
    return answer.reason
