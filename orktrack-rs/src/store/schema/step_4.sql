CREATE TABLE segment_4 (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tape        INTEGER NOT NULL REFERENCES tape (id) ON DELETE CASCADE,
    side        TEXT    NOT NULL CHECK (side IN ('local', 'remote', 'cti')),
    since       INTEGER NOT NULL CHECK (since >= 0),
    until       INTEGER CHECK (until > since),
    orkuser     INTEGER NOT NULL REFERENCES orkuser (id) ON DELETE CASCADE,
    loginstring TEXT    NOT NULL,
    agent_session INTEGER REFERENCES agent_session (id),
    UNIQUE (tape, side, since)
) STRICT;
INSERT INTO segment_4 (tape, side, since, orkuser, loginstring, agent_session)
    SELECT s.tape, s.side, t.started, s.orkuser, s.loginstring, s.agent_session
    FROM segment s JOIN tape t ON t.id = s.tape ORDER BY s.id;
DROP TABLE segment;
ALTER TABLE segment_4 RENAME TO segment;
CREATE INDEX segment_user ON segment (orkuser, tape);
CREATE TABLE tape_gone (
    recid    TEXT    NOT NULL CHECK (recid <> ''),
    hostname TEXT    NOT NULL,
    gone     INTEGER NOT NULL CHECK (gone >= 0),
    PRIMARY KEY (recid, hostname)
) STRICT, WITHOUT ROWID;
CREATE INDEX tape_gone_then ON tape_gone (gone);
