-- People and what is kept of their calls. All times are Unix seconds, UTC, on the tracker's clock.

-- A person whose calls are recorded. The number is the API's `userid` and is never used again.
CREATE TABLE orkuser (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    firstname  TEXT    NOT NULL,
    lastname   TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    recordable INTEGER NOT NULL DEFAULT 1 CHECK (recordable IN (0, 1)), -- 0: calls are not kept
    external   INTEGER NOT NULL DEFAULT 0 CHECK (external IN (0, 1)),   -- kept up to date by imports
    created    INTEGER NOT NULL CHECK (created >= 0)
) STRICT;

-- What a person is known by on the wire: extension, number, URI, agent id. Whose it was and when.
CREATE TABLE login_string (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    loginstring TEXT    NOT NULL CHECK (loginstring <> ''),
    orkuser     INTEGER NOT NULL REFERENCES orkuser (id) ON DELETE CASCADE,
    since       INTEGER NOT NULL CHECK (since >= 0), -- 0: for as long as there are calls
    until       INTEGER CHECK (until >= since)       -- null: still
) STRICT;

CREATE UNIQUE INDEX login_string_now ON login_string (loginstring) WHERE until IS NULL;
CREATE INDEX login_string_then ON login_string (loginstring, since);
CREATE INDEX login_string_user ON login_string (orkuser);

-- A regular group orders people; a security group says whose calls an account sees.
CREATE TABLE orkgroup (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name    TEXT    NOT NULL CHECK (name <> ''),
    kind    TEXT    NOT NULL CHECK (kind IN ('regular', 'security')),
    created INTEGER NOT NULL CHECK (created >= 0),
    UNIQUE (name, kind)
) STRICT;

-- Who is in which group. A person is in one security group at most (the program sees to it).
CREATE TABLE group_member (
    orkgroup INTEGER NOT NULL REFERENCES orkgroup (id) ON DELETE CASCADE,
    orkuser  INTEGER NOT NULL REFERENCES orkuser (id) ON DELETE CASCADE,
    PRIMARY KEY (orkgroup, orkuser)
) STRICT, WITHOUT ROWID;

CREATE INDEX group_member_user ON group_member (orkuser);

-- A computer that agents log in to, by the name or address that requests use.
CREATE TABLE workstation (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    hostname TEXT    NOT NULL UNIQUE CHECK (hostname <> ''),
    device   TEXT    NOT NULL -- the phone that stands beside it, empty if none
) STRICT;

-- A phone that an agent logged in to.
CREATE TABLE device (
    name  TEXT    NOT NULL PRIMARY KEY CHECK (name <> ''),
    first INTEGER NOT NULL CHECK (first >= 0) -- first login
) STRICT;

-- An agent at a device or at a workstation, from login to logout. All of them are kept.
CREATE TABLE agent_session (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    agent       TEXT    NOT NULL CHECK (agent <> ''), -- login string as sent
    orkuser     INTEGER NOT NULL REFERENCES orkuser (id) ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('device', 'workstation')),
    place       TEXT    NOT NULL CHECK (place <> ''), -- device.name or workstation.hostname
    rfbport     TEXT    NOT NULL, -- several agents on one workstation differ in this
    agentgroup  TEXT    NOT NULL,
    since       INTEGER NOT NULL CHECK (since >= 0),
    until       INTEGER CHECK (until >= since) -- null: logged in
) STRICT;

CREATE UNIQUE INDEX agent_session_place ON agent_session (kind, place, rfbport) WHERE until IS NULL;
CREATE UNIQUE INDEX agent_session_one ON agent_session (orkuser, kind) WHERE until IS NULL;
CREATE INDEX agent_session_then ON agent_session (place, since);

-- How long recordings are kept.
CREATE TABLE retention (
    id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name      TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    keep_days INTEGER CHECK (keep_days > 0), -- null: for ever
    standard  INTEGER NOT NULL DEFAULT 0 CHECK (standard IN (0, 1)) -- 1: unless a program says otherwise
) STRICT;

CREATE UNIQUE INDEX retention_standard ON retention (standard) WHERE standard = 1;

-- Which calls are kept. With no active program all are; else those that one of them matches.
-- Every criterion that is empty or null matches all calls.
CREATE TABLE program (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    active      INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    direction   TEXT    NOT NULL DEFAULT '' CHECK (direction IN ('', 'in', 'out', 'unkn')),
    min_seconds INTEGER CHECK (min_seconds >= 0),
    max_seconds INTEGER CHECK (max_seconds >= 0),
    percent     INTEGER NOT NULL DEFAULT 100 CHECK (percent BETWEEN 0 AND 100), -- by hash of the recid
    localparty  TEXT    NOT NULL DEFAULT '', -- comma separated; a final * stands for any ending
    remoteparty TEXT    NOT NULL DEFAULT '',
    orkgroup    INTEGER REFERENCES orkgroup (id) ON DELETE CASCADE,
    orkuser     INTEGER REFERENCES orkuser (id) ON DELETE CASCADE,
    weekdays    TEXT    NOT NULL DEFAULT '', -- digits 1 (Monday) to 7; begin of the call, tracker's zone
    from_minute INTEGER NOT NULL DEFAULT 0 CHECK (from_minute BETWEEN 0 AND 1439),   -- of the day
    to_minute   INTEGER NOT NULL DEFAULT 1440 CHECK (to_minute BETWEEN 0 AND 1440),  -- not included
    retention   INTEGER REFERENCES retention (id) -- null: the standard class
) STRICT;
