-- Who may ask. Secrets are never kept: passwords as argon2id, tokens as SHA-256.

CREATE TABLE account (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL UNIQUE CHECK (name <> ''), -- lower case
    role         TEXT    NOT NULL CHECK (role IN ('admin', 'supervisor', 'agent', 'auditor', 'api')),
    password     TEXT    NOT NULL, -- PHC string; empty: tokens only
    orkuser      INTEGER REFERENCES orkuser (id) ON DELETE SET NULL, -- whose own calls it sees
    disabled     INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    failures     INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0), -- in a row
    first_failed INTEGER NOT NULL DEFAULT 0 CHECK (first_failed >= 0), -- of those
    locks        INTEGER NOT NULL DEFAULT 0 CHECK (locks >= 0), -- in a row; each lasts twice as long
    locked_until INTEGER NOT NULL DEFAULT 0 CHECK (locked_until >= 0),
    created      INTEGER NOT NULL CHECK (created >= 0)
) STRICT;

-- The groups whose people's calls an account sees.
CREATE TABLE account_group (
    account  INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    orkgroup INTEGER NOT NULL REFERENCES orkgroup (id) ON DELETE CASCADE,
    PRIMARY KEY (account, orkgroup)
) STRICT, WITHOUT ROWID;

-- What stands for an account: a session after sign-in, or a token that a program was given.
CREATE TABLE credential (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    kind    TEXT    NOT NULL CHECK (kind IN ('session', 'token')),
    hash    TEXT    NOT NULL UNIQUE CHECK (hash <> ''), -- SHA-256, hex
    name    TEXT    NOT NULL, -- what it is for
    created INTEGER NOT NULL CHECK (created >= 0),
    expires INTEGER NOT NULL CHECK (expires >= created)
) STRICT;

CREATE INDEX credential_account ON credential (account);

-- Facts of which there is one. `setup`: SHA-256 of the one-time set-up token.
CREATE TABLE setting (
    name  TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    value TEXT NOT NULL
) STRICT;

-- Who did what. Rows are only added; each carries the hash of the one before it.
CREATE TABLE audit (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL CHECK (at >= 0),
    who     TEXT    NOT NULL, -- account, or `command port`, or `system`
    address TEXT    NOT NULL, -- from where
    action  TEXT    NOT NULL CHECK (action <> ''),
    target  TEXT    NOT NULL,
    result  TEXT    NOT NULL,
    hash    TEXT    NOT NULL UNIQUE -- SHA-256 over the previous hash and this row's fields, hex
) STRICT;
