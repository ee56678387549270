"""What a client has counted so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from cuestream_client.session import Session, State


@dataclass(frozen=True, slots=True)
class Stats:
    """Samples are those of the session that stands, all else of every one.

    resumed: how often a break was. skipped_samples: gaps that the server left. repeated_samples: sent twice, heard once.
    concealed_samples: looped, for the music was late. skipped_pictures: replaced by a newer one while the line was full. ignored:
    messages that were left alone, by why.
    """

    state: State
    sessions: int
    resumed: int
    rtt_ms: float | None
    received_through: int
    skipped_samples: int
    repeated_samples: int
    concealed_samples: int
    sent_pictures: int
    skipped_pictures: int
    ignored: dict[str, int]

    @classmethod
    def of(cls, session: Session) -> Self:
        counts, music, best = session.counts, session.music, session.sync.best
        heard = music.counts if music else Counter[str]()
        ignored = {name: count for name, count in counts.items() if name.startswith(("ignored", "refused_"))}
        return cls(
            state=session.state,
            sessions=session.sessions,
            resumed=counts["resumed"],
            rtt_ms=best.rtt_us / 1000 if best else None,
            received_through=music.received_through if music else 0,
            skipped_samples=heard["skipped_samples"],
            repeated_samples=heard["repeated_samples"],
            concealed_samples=heard["concealed_samples"],
            sent_pictures=counts["sent_pictures"],
            skipped_pictures=counts["replaced_pictures"],
            ignored=ignored,
        )
