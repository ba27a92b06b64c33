ALTER TABLE recorder ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE recorder ADD COLUMN last_heard INTEGER NOT NULL DEFAULT 0 CHECK (last_heard >= 0);
ALTER TABLE recorder ADD COLUMN health TEXT NOT NULL DEFAULT 'unknown'
    CHECK (health IN ('unknown', 'up', 'silent', 'lost'));
ALTER TABLE recorder ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE recorder ADD COLUMN disk_free INTEGER CHECK (disk_free >= 0);
ALTER TABLE tape ADD COLUMN interrupted INTEGER CHECK (interrupted >= 0);
ALTER TABLE tape ADD COLUMN keep TEXT NOT NULL DEFAULT 'NEITHER'
    CHECK (keep IN ('KEEP', 'DROP', 'NEITHER'));
ALTER TABLE tape ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
ALTER TABLE tape ADD COLUMN discarded INTEGER CHECK (discarded >= 0);
ALTER TABLE tape ADD COLUMN retention INTEGER REFERENCES retention (id);
ALTER TABLE tape ADD COLUMN expires INTEGER CHECK (expires >= 0);
DROP INDEX tape_remoteparty;
DROP INDEX tape_tag_value;
DROP INDEX tape_stage_same;
CREATE INDEX tape_duration ON tape (duration, id);
CREATE INDEX tape_direction ON tape (direction, started, id);
CREATE INDEX tape_recid ON tape (recid);
CREATE INDEX tape_live ON tape (localparty, started) WHERE state = 'live';
CREATE INDEX tape_expires ON tape (expires) WHERE expires IS NOT NULL;
CREATE INDEX tape_stage_tape ON tape_stage (tape, id);
