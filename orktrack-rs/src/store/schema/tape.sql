-- Recorders and recordings. All times are Unix seconds, UTC.
-- Words are those of the Oreka API, so that an operator finds the wire's fields again.

-- A recorder that introduced itself with `init`. Its password is not kept.
CREATE TABLE recorder (
    hostname      TEXT    NOT NULL PRIMARY KEY CHECK (hostname <> ''),
    name          TEXT    NOT NULL, -- service name, as in tape.service
    servicetype   TEXT    NOT NULL, -- `A`: audio
    tcpport       TEXT    NOT NULL, -- command port, text as sent
    protocol      TEXT    NOT NULL, -- how files are served; empty from the original recorder
    fileserveport TEXT    NOT NULL, -- web server that serves the files
    contextpath   TEXT    NOT NULL, -- path on that web server
    servepath     TEXT    NOT NULL,
    absolutepath  TEXT    NOT NULL, -- directory that tape.filename is relative to
    streamingport TEXT    NOT NULL, -- live audio port, empty if not said
    username      TEXT    NOT NULL,
    sshport       TEXT    NOT NULL,
    first_seen    INTEGER NOT NULL CHECK (first_seen >= 0), -- first `init`, tracker's clock
    last_seen     INTEGER NOT NULL CHECK (last_seen >= first_seen), -- newest `init`, tracker's clock
    address       TEXT    NOT NULL DEFAULT '', -- where its newest `init` came from
    last_heard    INTEGER NOT NULL DEFAULT 0 CHECK (last_heard >= 0), -- newest answer or message
    health        TEXT    NOT NULL DEFAULT 'unknown'
                  CHECK (health IN ('unknown', 'up', 'silent', 'lost')),
    version       TEXT    NOT NULL DEFAULT '', -- as it answers, empty if not known
    disk_free     INTEGER CHECK (disk_free >= 0) -- bytes where tapes go, null if not known
) STRICT;

-- A recording: the sum of its messages in tape_stage.
CREATE TABLE tape (
    id              INTEGER NOT NULL PRIMARY KEY,
    hostname        TEXT    NOT NULL, -- recorder that has the file
    recid           TEXT    NOT NULL CHECK (recid <> ''), -- orkuid, unique in its recorder
    state           TEXT    NOT NULL CHECK (state IN ('live', 'stopped', 'ready')),
    started         INTEGER NOT NULL CHECK (started >= 0),   -- first packet, recorder's clock
    stopped         INTEGER CHECK (stopped >= started),      -- started + duration; null while live
    ready           INTEGER CHECK (ready >= 0),              -- `ready` received, tracker's clock
    duration        INTEGER NOT NULL CHECK (duration >= 0),  -- whole seconds, 0 while live
    captureport     TEXT    NOT NULL, -- recorder channel, such as AAAB
    filename        TEXT    NOT NULL, -- relative to recorder.absolutepath
    localparty      TEXT    NOT NULL, -- the monitored party
    localentrypoint TEXT    NOT NULL, -- number through which the call came in
    remoteparty     TEXT    NOT NULL,
    direction       TEXT    NOT NULL CHECK (direction IN ('in', 'out', 'unkn')),
    service         TEXT    NOT NULL, -- service name of the recorder
    localip         TEXT    NOT NULL,
    remoteip        TEXT    NOT NULL,
    nativecallid    TEXT    NOT NULL, -- SIP Call-ID
    ondemand        INTEGER NOT NULL CHECK (ondemand IN (0, 1)), -- somebody asked for it
    side            TEXT    NOT NULL CHECK (side IN ('both', 'local', 'remote', 'none', 'invalid')),
    live            INTEGER NOT NULL CHECK (live IN (0, 1)), -- wire field, always 1 from the original
    interrupted     INTEGER CHECK (interrupted >= 0), -- its recorder died under it, tracker's clock
    keep            TEXT    NOT NULL DEFAULT 'NEITHER'
                    CHECK (keep IN ('KEEP', 'DROP', 'NEITHER')), -- what its user asked for
    paused          INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)), -- by a command through here
    discarded       INTEGER CHECK (discarded >= 0), -- recorder told to delete the file, tracker's clock
    retention       INTEGER REFERENCES retention (id), -- null: not decided yet, or no class
    expires         INTEGER CHECK (expires >= 0), -- may be deleted then; null: never
    sha256          TEXT    NOT NULL DEFAULT '', -- of the file, as its recorder told first
    UNIQUE (hostname, recid)
) STRICT;

CREATE INDEX tape_started ON tape (started, id);
CREATE INDEX tape_duration ON tape (duration, id);
CREATE INDEX tape_direction ON tape (direction, started, id);
CREATE INDEX tape_localparty ON tape (localparty, started);
CREATE INDEX tape_recid ON tape (recid);
CREATE INDEX tape_nativecallid ON tape (nativecallid) WHERE nativecallid <> '';
CREATE INDEX tape_live ON tape (localparty, started) WHERE state = 'live';
CREATE INDEX tape_expires ON tape (expires) WHERE expires IS NOT NULL;

-- A message about a recording, as it was told.
CREATE TABLE tape_stage (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- a higher number came later
    tape     INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    stage    TEXT    NOT NULL
             CHECK (stage IN ('start', 'stop', 'ready', 'update', 'hold', 'resume')),
    received INTEGER NOT NULL CHECK (received >= 0), -- tracker's clock
    body     TEXT    NOT NULL -- all fields, URL encoding of the wire
) STRICT;

CREATE UNIQUE INDEX tape_stage_once ON tape_stage (tape, stage)
    WHERE stage IN ('start', 'stop', 'ready');
CREATE INDEX tape_stage_tape ON tape_stage (tape, id);

-- A tag of a recording, for example codec, packets, lost.
CREATE TABLE tape_tag (
    tape  INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    key   TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (tape, key)
) STRICT, WITHOUT ROWID;

-- A tag of a moment of a recording, for example a digit: `addtag` messages. They name no recorder and
-- may come before the recording is known, so they refer to it by name only.
CREATE TABLE moment_tag (
    recid      TEXT    NOT NULL CHECK (recid <> ''), -- orkuid, as in tape.recid
    tagtype    TEXT    NOT NULL CHECK (tagtype <> ''), -- `dtmfdigit`
    tagtext    TEXT    NOT NULL,
    offsetmsec INTEGER NOT NULL CHECK (offsetmsec >= 0), -- from the start of the recording
    localparty TEXT    NOT NULL, -- the monitored party, if said
    received   INTEGER NOT NULL CHECK (received >= 0), -- tracker's clock
    PRIMARY KEY (recid, offsetmsec, tagtype, tagtext)
) STRICT, WITHOUT ROWID;
