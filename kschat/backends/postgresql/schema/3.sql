-- From version 2 to version 3: stores that are moved here.

-- At most one row, while `kschat migrate-store` fills the tables: no daemon uses them until it is gone. `source`: the epoch
-- of the store that is moved here; the section whose page at `position` is written next, NULL if all is written.
CREATE TABLE moving (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    source text NOT NULL,
    section text,
    position bytea NOT NULL
);
