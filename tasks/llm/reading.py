"""What a reply is worth: entries that count, or the reason why there are none.

An answer whose list is empty is an answer (the passage has nothing peculiar). One whose
expressions all stand nowhere in the passage is about another text, and counts as none.
"""

from dictionaries.answers import read_answer
from dictionaries.validation import Validated, validate
from tasks.llm.replies import Reply

REFUSED = "refused"
ANOTHER_TEXT = "about another text"
NO_REPLY = "no reply"
FINAL = (None, REFUSED)  # asking again would not change these


def judge(reply: Reply, passage: str) -> str | None:
    """None for a readable answer about this passage, else the reason: one of the above or of ANSWER_REASONS."""
    if reply.refusal or reply.finish == "content_filter":
        return REFUSED
    if reply.finish == "length":
        return "truncated"
    answer = read_answer(reply.text)
    if answer.reason:
        return answer.reason
    found = validate(answer.proposals, passage)
    strange = found.reasons()["not in the passage"]
    return ANOTHER_TEXT if strange and strange == len(answer.proposals) else None


def entries_of(answer: str, passage: str) -> Validated:
    """The proposals of a readable answer, checked against the passage that they were made for."""
    return validate(read_answer(answer).proposals, passage)
