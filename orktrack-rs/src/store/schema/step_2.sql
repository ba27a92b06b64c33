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
