-- From version 3 to version 4: revoked tokens, and block lists.

-- Each change of a revocation is another row, with a greater number than all before.
CREATE TABLE revocations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    -- Times in milliseconds since 1970: see `chat/revocation.py`.
    before INTEGER NOT NULL,
    until INTEGER NOT NULL,
    lifted INTEGER NOT NULL
);

CREATE INDEX revocations_until ON revocations (until);

-- Whose messages a user does not want.
CREATE TABLE blocks (
    user INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    PRIMARY KEY (user, peer)
) WITHOUT ROWID;
