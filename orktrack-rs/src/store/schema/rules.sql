-- What the tracker knows of a recording beyond its messages.

-- Whose call it was: one row for each side that is a known person, and one more whenever an agent came to
-- the device, or left it, while the call lasted.
CREATE TABLE segment (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tape        INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    side        TEXT    NOT NULL CHECK (side IN ('local', 'remote', 'cti')), -- cti: told by metadata
    since       INTEGER NOT NULL CHECK (since >= 0), -- from this moment of the call, Unix seconds
    until       INTEGER CHECK (until > since),       -- to this one; null: to its end
    orkuser     INTEGER NOT NULL REFERENCES orkuser (id) ON DELETE CASCADE,
    loginstring TEXT    NOT NULL, -- by which the person was known
    agent_session INTEGER REFERENCES agent_session (id), -- if the person was logged in at the device
    UNIQUE (tape, side, since)
) STRICT;

CREATE INDEX segment_user ON segment (orkuser, tape);

-- What recordings are found by, newest first: `party:1001`, `user:7`, `tag:case=7`, `word:case`.
CREATE TABLE tape_key (
    word    TEXT    NOT NULL,
    started INTEGER NOT NULL, -- tape.started
    tape    INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    PRIMARY KEY (word, started, tape)
) STRICT, WITHOUT ROWID;

CREATE INDEX tape_key_tape ON tape_key (tape);

-- The programs that keep a recording.
CREATE TABLE tape_program (
    tape    INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    program INTEGER NOT NULL REFERENCES program (id) ON DELETE CASCADE,
    PRIMARY KEY (tape, program)
) STRICT, WITHOUT ROWID;

-- While one is in force a recording is not deleted, by nobody.
CREATE TABLE legal_hold (
    id     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tape   INTEGER NOT NULL REFERENCES tape (id), -- no cascade: the database itself refuses
    reason TEXT    NOT NULL CHECK (reason <> ''),
    who    TEXT    NOT NULL, -- account
    since  INTEGER NOT NULL CHECK (since >= 0),
    until  INTEGER CHECK (until >= since) -- null: in force
) STRICT;

CREATE INDEX legal_hold_tape ON legal_hold (tape);

-- Holds that were put on or ended, and their recorder does not know yet.
CREATE TABLE hold_untold (
    tape  INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    since INTEGER NOT NULL CHECK (since >= 0),
    PRIMARY KEY (tape)
) STRICT, WITHOUT ROWID;

-- The kinds of tags there are.
CREATE TABLE tag_type (
    name   TEXT    NOT NULL PRIMARY KEY CHECK (name <> ''),
    source TEXT    NOT NULL CHECK (source IN ('system', 'user')), -- recorder, or people and programs
    first  INTEGER NOT NULL CHECK (first >= 0) -- first seen
) STRICT;

-- `addtag` by another tag: every recording that gets the one until then gets the other.
CREATE TABLE pending_tag (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    findtype TEXT    NOT NULL CHECK (findtype <> ''),
    findtext TEXT    NOT NULL,
    tagtype  TEXT    NOT NULL CHECK (tagtype <> ''),
    tagtext  TEXT    NOT NULL,
    until    INTEGER NOT NULL CHECK (until >= 0),
    UNIQUE (findtype, findtext, tagtype, tagtext)
) STRICT;

-- What a telephone system told about a call on a recorder's port.
CREATE TABLE cti (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    captureport     TEXT    NOT NULL CHECK (captureport <> ''),
    service         TEXT    NOT NULL,
    started         INTEGER NOT NULL CHECK (started >= 0),
    stopped         INTEGER CHECK (stopped >= started), -- null: not over
    localparty      TEXT    NOT NULL,
    localentrypoint TEXT    NOT NULL,
    remoteparty     TEXT    NOT NULL,
    direction       TEXT    NOT NULL CHECK (direction IN ('in', 'out', 'unkn')),
    loginstring     TEXT    NOT NULL,
    UNIQUE (captureport, started)
) STRICT;

-- A recording that was deleted: what is told of it later does not bring it back.
CREATE TABLE tape_gone (
    recid    TEXT    NOT NULL CHECK (recid <> ''),
    hostname TEXT    NOT NULL,
    gone     INTEGER NOT NULL CHECK (gone >= 0), -- tracker's clock
    PRIMARY KEY (recid, hostname)
) STRICT, WITHOUT ROWID;

CREATE INDEX tape_gone_then ON tape_gone (gone);
