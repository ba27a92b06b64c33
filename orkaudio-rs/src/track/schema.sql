-- State of the tracker link: what is still to be delivered, and what became of every tape.
-- Version 1. A change is a new step in `MIGRATIONS` (store.rs), never an edit of this file.

-- Messages that a tracker has not taken yet. A row goes when the tracker has answered for it.
CREATE TABLE outbox (
    seq         INTEGER PRIMARY KEY,              -- order in which the messages were made
    tracker     TEXT    NOT NULL,                 -- address of the tracker as TrackerUrl prints it
    recid       TEXT    NOT NULL,                 -- the recording; order is kept within it only
    stage       TEXT    NOT NULL
                CHECK (stage IN ('start', 'stop', 'ready', 'update', 'hold', 'resume')),
    body        TEXT    NOT NULL,                 -- the message in the URL form, trailing & included
    queued_at   INTEGER NOT NULL,                 -- Unix seconds, for the age of the oldest row
    tries       INTEGER NOT NULL DEFAULT 0,       -- attempts the tracker itself has failed
    next_try_ms INTEGER                           -- when to try (again), in milliseconds since this
                                                  -- process began; 0 is at once; NULL is behind an
                                                  -- earlier row of the same tracker and recording
) STRICT;

-- "What may go to this tracker now, oldest first" without looking at what may not.
CREATE INDEX outbox_due ON outbox (tracker, next_try_ms, seq) WHERE next_try_ms IS NOT NULL;
-- "What else waits for this recording."
CREATE INDEX outbox_recid ON outbox (tracker, recid, seq);

-- The journal: one row for every tape, from its first packet until pruning.
CREATE TABLE tape (
    recid       TEXT PRIMARY KEY,                 -- name of the recording (orkuid)
    state       TEXT    NOT NULL
                CHECK (state IN ('open', 'ready', 'discarded')),
    path        TEXT    NOT NULL,                 -- open: below the audio folder, no extension;
                                                  -- ready: the finished file, as it was reported
    body        TEXT    NOT NULL,                 -- its latest message in the URL form
    opened_at   INTEGER NOT NULL,                 -- capture time of its first packet, Unix seconds
    closed_at   INTEGER,                          -- Unix seconds of this machine; NULL while open
    CHECK ((state = 'open') = (closed_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX tape_closed ON tape (closed_at) WHERE closed_at IS NOT NULL;  -- pruning, oldest first
CREATE INDEX tape_open ON tape (recid) WHERE state = 'open';               -- the start-up sweep
