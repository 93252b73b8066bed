-- From version 8 to version 9: Web Push.

-- The subscriptions of users, the oldest first; see `kschat/chat/push.py`. An endpoint has one user: a browser may change hands.
CREATE TABLE subscriptions (
    number INTEGER PRIMARY KEY,
    user INTEGER NOT NULL,
    endpoint TEXT NOT NULL UNIQUE,
    p256dh TEXT NOT NULL,
    auth TEXT NOT NULL
);

CREATE INDEX subscriptions_user ON subscriptions (user);
