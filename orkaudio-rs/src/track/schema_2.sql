-- Version 2: `addtag` messages wait in the outbox as well. SQLite cannot change a CHECK, so the table
-- is made anew; columns are as version 1 says.
CREATE TABLE outbox_2 (
    seq         INTEGER PRIMARY KEY,
    tracker     TEXT    NOT NULL,
    recid       TEXT    NOT NULL,
    stage       TEXT    NOT NULL
                CHECK (stage IN ('start', 'stop', 'ready', 'update', 'hold', 'resume', 'addtag')),
    body        TEXT    NOT NULL,
    queued_at   INTEGER NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    next_try_ms INTEGER
) STRICT;

INSERT INTO outbox_2 (seq, tracker, recid, stage, body, queued_at, tries, next_try_ms)
    SELECT seq, tracker, recid, stage, body, queued_at, tries, next_try_ms FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_2 RENAME TO outbox;
CREATE INDEX outbox_due ON outbox (tracker, next_try_ms, seq) WHERE next_try_ms IS NOT NULL;
CREATE INDEX outbox_recid ON outbox (tracker, recid, seq);
