-- All functions. Each new version of the schema drops them and makes them again.
--
-- Each function that writes takes its locks in this order, so that no two wait for each other: new users by name, new
-- conversations by their users, rows of conversations by id, rows of users by id, all else.

-- Offsets of a generation are greater than this: see `backends/generations.py`.
CREATE FUNCTION base_of(generation bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT (generation - 1) << 22';

CREATE FUNCTION server() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()),
        substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), (SELECT oid FROM pg_database WHERE datname = current_database()),
        'state'::regclass::oid)
$$;

-- A generation that nobody was given offsets of: also an older copy that was put in place goes on beyond.
CREATE FUNCTION next_generation(known bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT greatest(known + 1, CASE WHEN passed < 2146435072 THEN passed ELSE 0 END)
    FROM (SELECT extract(epoch FROM clock_timestamp())::bigint - 1767225600 AS passed) AS seconds
$$;

-- A daemon has connected, and will write. A new generation begins where this may be less than what clients know: it is
-- another server or another timeline of it, other tables, or one that has restarted and did not wait for its disk.
CREATE FUNCTION hello(is_risky boolean) RETURNS TABLE (epoch text, generation bigint, begun boolean, now timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    here text := server();
    known state%ROWTYPE;
    is_new boolean;
BEGIN
    SELECT * INTO STRICT known FROM state FOR UPDATE;
    is_new := known.server <> here OR (known.risky AND known.started <> pg_postmaster_start_time());
    UPDATE state SET server = here, started = pg_postmaster_start_time(),
        risky = is_risky OR (known.risky AND known.started = pg_postmaster_start_time()),
        generation = CASE WHEN is_new THEN next_generation(known.generation) ELSE known.generation END;
    RETURN QUERY SELECT state.epoch, state.generation, is_new, clock_timestamp() FROM state;
END $$;

CREATE FUNCTION check_deadline(deadline timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF clock_timestamp() > deadline THEN
        RAISE EXCEPTION 'it is too late: nothing was done' USING ERRCODE = 'KS001';
    END IF;
END $$;

-- `wanted` is the turn of the last batch before: else that was refused, and what was sent after it must wait until it was
-- sent again. Only the batches of this connection have turns.
CREATE FUNCTION in_turn(wanted bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(nullif(current_setting('kschat.turn', true), ''), '0')::bigint <> wanted THEN
        RAISE EXCEPTION 'what was sent before was refused' USING ERRCODE = 'KS002';
    END IF;
    RETURN true;
END $$;

-- Something was erased since it was looked up: the call does nothing, and may be repeated.
CREATE FUNCTION try_again() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'it was erased meanwhile' USING ERRCODE = '40001';
END $$;

CREATE FUNCTION is_room(name bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT substr(name, 1, 1) = '\x23' $$;

CREATE FUNCTION make_users(names bytea[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO users (name, last, floor)
    SELECT wanted.name, state.erased, state.erased
    FROM state, (SELECT DISTINCT name FROM unnest(names) AS name WHERE NOT is_room(name)) AS wanted
    WHERE NOT EXISTS (SELECT FROM users WHERE users.name = wanted.name)
    ORDER BY wanted.name
    ON CONFLICT (name) DO NOTHING
$$;

-- The id of a conversation of a user with a user or a room.
CREATE FUNCTION conversation_of(owner bytea, peer bytea) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN is_room(peer) THEN (SELECT id FROM conversations WHERE room = peer) ELSE (
        SELECT c.id FROM users a, users b, conversations c
        WHERE a.name = owner AND b.name = peer AND c.one = least(a.id, b.id) AND c.other = greatest(a.id, b.id)
    ) END
$$;

-- Takes what the messages of a batch cost from their senders' buckets, whose rows are locked. One element a message: 0 if
-- there is enough, or it costs nothing (it is a repeat, or its sender no member of the room); else the microseconds to wait.
CREATE FUNCTION take_sends(
    send_cost bigint, send_span bigint, senders bigint[], recipients bigint[], cids bytea[], firsts bigint[], refused boolean[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    now bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    waits bigint[];
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT t.*, t.known IS NULL AND (NOT t.is_refused OR t.recipient IS NOT NULL) AS costs, min(t.n) FILTER (
            WHERE t.known IS NULL AND (NOT t.is_refused OR t.recipient IS NOT NULL)
        ) OVER (PARTITION BY t.sender, t.cid, CASE WHEN t.cid IS NULL THEN t.n END, t.is_refused) AS first
        FROM unnest(senders, recipients, cids, firsts, refused) WITH ORDINALITY
            AS t (sender, recipient, cid, known, is_refused, n)
    ), counted AS (
        SELECT a.n, a.sender, row_number() OVER (PARTITION BY a.sender ORDER BY a.n) AS nth
        FROM asked a WHERE a.costs AND a.n = a.first
    ), buckets AS (
        -- A server whose clock was set back must not keep a sender waiting for longer than a full bucket takes.
        SELECT u.id, greatest(least(coalesce(u.full_at, 0), now + send_span), now) AS full_at
        FROM users u WHERE u.id IN (SELECT c.sender FROM counted c)
    ), judged AS MATERIALIZED (
        SELECT c.n, c.sender, b.full_at, CASE WHEN c.nth <= (now + send_span - b.full_at) / send_cost THEN 0
            ELSE b.full_at + ((now + send_span - b.full_at) / send_cost + 1) * send_cost - now - send_span END AS wait
        FROM counted c JOIN buckets b ON b.id = c.sender
    ), taken AS (
        UPDATE users u SET full_at = j.full_at + j.count * send_cost
        FROM (SELECT sender, full_at, count(*) FROM judged WHERE wait = 0 GROUP BY sender, full_at) AS j
        WHERE u.id = j.sender
    )
    SELECT array_agg(coalesce(j.wait, 0) ORDER BY a.n) INTO waits
    FROM asked a LEFT JOIN judged j ON a.costs AND j.n = a.first;
    RETURN waits;
END $$;

-- Takes what a change costs from its sender's bucket, whose row is locked by `begin_change`.
CREATE FUNCTION take_send(send_cost bigint, send_span bigint, sender_name bytea) RETURNS bigint LANGUAGE sql AS $$
    SELECT (take_sends(send_cost, send_span, array_agg(id), array_agg(id), ARRAY[NULL::bytea], ARRAY[NULL::bigint],
        ARRAY[false]))[1]
    FROM users WHERE name = sender_name
$$;

-- Keeps a batch. Each array has one element a message. Numbers rise in the batch, and are greater than `beyond`, and than
-- all before in their conversations.
--
-- Returns one row a message, in no order: n, its number in the batch; the outcome: 0 it is kept, 1 it is a repeat of a
-- message in the table, 2 of one in this batch, 3 it is refused, 4 its sender has exceeded the rate; its number, the first
-- one's for a repeat; its conversation, or the first one's conversation or n; the offset of a message to a user, or the
-- microseconds after which its sender may send again; the recipients and offsets of one to a room.
--
-- `turn` is this call's, `after` that of the call before (see `in_turn`). `send_cost`: what a message takes of its sender's
-- bucket, which holds `send_span` (see `kschat/rates.py`), in microseconds; 0 for no limit.
CREATE FUNCTION append(
    deadline timestamptz, turn bigint, after bigint, send_cost bigint, send_span bigint, beyond bigint, numbers bigint[], suffixes bytea[], senders bytea[], recipients bytea[], written text[],
    times bigint[], cids bytea[], sizes bigint[], msgs bytea[], attached bytea[], lines bytea[]
) RETURNS TABLE (
    n bigint, outcome integer, number bigint, first bigint, place bigint, members bytea[], places bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    base bigint;
    any_cid boolean := EXISTS (SELECT FROM unnest(cids) AS cid WHERE cid IS NOT NULL);
    any_room boolean := EXISTS (SELECT FROM unnest(recipients) AS name WHERE is_room(name));
    -- One element a message.
    sender_ids bigint[];
    recipient_ids bigint[];
    talks bigint[];
    firsts bigint[];
    first_talks bigint[];
    refused boolean[];
    waits bigint[];
    locked bigint;
    wanted bigint;
    any_new boolean;
BEGIN
    PERFORM in_turn(after);
    PERFORM check_deadline(deadline);
    -- Most batches have no new user and no new conversation. To make them is only tried where a look finds none.
    FOR look IN 1..2 LOOP
        SELECT array_agg(s.id ORDER BY t.n), array_agg(r.id ORDER BY t.n),
            bool_or(s.id IS NULL OR (r.id IS NULL AND NOT is_room(t.recipient)))
        INTO sender_ids, recipient_ids, any_new
        FROM unnest(senders, recipients) WITH ORDINALITY AS t (sender, recipient, n)
        LEFT JOIN users s ON s.name = t.sender LEFT JOIN users r ON r.name = t.recipient;
        EXIT WHEN look = 2 OR NOT any_new;
        PERFORM make_users(senders || recipients);
    END LOOP;

    firsts := array_fill(NULL::bigint, ARRAY[cardinality(numbers)]);
    first_talks := firsts;
    IF any_cid THEN
        SELECT array_agg(m.id ORDER BY t.n), array_agg(m.conversation ORDER BY t.n) INTO firsts, first_talks
        FROM unnest(sender_ids, cids) WITH ORDINALITY AS t (sender, cid, n)
        LEFT JOIN messages m ON m.sender = t.sender AND m.cid = t.cid AND m.cid IS NOT NULL;
    END IF;

    SELECT array_agg(b.peer IS NOT NULL ORDER BY t.n) INTO refused
    FROM unnest(sender_ids, recipient_ids) WITH ORDINALITY AS t (sender, recipient, n)
    LEFT JOIN blocks b ON b.user_id = t.recipient AND b.peer = t.sender;

    FOR look IN 1..2 LOOP
        SELECT array_agg(coalesce(c.id, d.id) ORDER BY t.n),
            bool_or(t.recipient IS NOT NULL AND c.id IS NULL AND t.known IS NULL AND NOT t.is_refused)
        INTO talks, any_new
        FROM unnest(sender_ids, recipient_ids, recipients, firsts, refused)
            WITH ORDINALITY AS t (sender, recipient, name, known, is_refused, n)
        LEFT JOIN conversations c ON c.one = least(t.sender, t.recipient) AND c.other = greatest(t.sender, t.recipient)
            AND t.recipient IS NOT NULL
        LEFT JOIN conversations d ON t.recipient IS NULL AND d.room = t.name;
        EXIT WHEN look = 2 OR NOT any_new;
        WITH pairs AS (
            SELECT DISTINCT least(t.sender, t.recipient) AS one, greatest(t.sender, t.recipient) AS other
            FROM unnest(sender_ids, recipient_ids, firsts, refused) AS t (sender, recipient, known, is_refused)
            WHERE t.recipient IS NOT NULL AND t.known IS NULL AND NOT t.is_refused
        ), made AS (
            INSERT INTO conversations (one, other)
            SELECT one, other FROM pairs
            WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.one = pairs.one AND c.other = pairs.other)
            ORDER BY one, other
            ON CONFLICT (one, other) DO NOTHING
            RETURNING id, one, other
        )
        INSERT INTO participants (user_id, conversation) SELECT one, id FROM made UNION SELECT other, id FROM made;
    END LOOP;

    -- (A message that was refused, or is known, needs no lock of its conversation.)
    SELECT count(*) INTO locked FROM (
        SELECT id FROM conversations WHERE id IN (
            SELECT t.talk FROM unnest(talks, firsts, refused) AS t (talk, known, is_refused)
            WHERE t.known IS NULL AND NOT t.is_refused
        ) ORDER BY id FOR NO KEY UPDATE
    ) AS held;
    SELECT count(DISTINCT t.talk) INTO wanted FROM unnest(talks, firsts, refused) AS t (talk, known, is_refused)
    WHERE t.known IS NULL AND NOT t.is_refused;
    IF locked < wanted THEN
        PERFORM try_again();
    END IF;

    IF any_room THEN
        SELECT array_agg(t.is_refused OR (t.recipient IS NULL AND p.user_id IS NULL) ORDER BY t.n) INTO refused
        FROM unnest(sender_ids, recipient_ids, talks, refused) WITH ORDINALITY AS t (sender, recipient, talk, is_refused, n)
        LEFT JOIN participants p ON p.user_id = t.sender AND p.conversation = t.talk;
    END IF;

    -- Also the senders: one may send the same cid by way of another daemon, or be erased. And a repeat is so answered no
    -- sooner than the first one is safe.
    SELECT count(name), count(*) INTO locked, wanted FROM (
        SELECT name FROM users WHERE id IN (
            SELECT t.recipient FROM unnest(recipient_ids, firsts, refused) AS t (recipient, known, is_refused)
            WHERE t.known IS NULL AND NOT t.is_refused
            UNION ALL
            SELECT t.sender FROM unnest(sender_ids) AS t (sender)
            UNION ALL
            SELECT p.user_id FROM unnest(recipient_ids, talks, firsts, refused) AS t (recipient, talk, known, is_refused)
            JOIN participants p ON p.conversation = t.talk
            WHERE any_room AND t.recipient IS NULL AND t.known IS NULL AND NOT t.is_refused
        ) ORDER BY id FOR NO KEY UPDATE
    ) AS held;
    IF locked < wanted THEN
        PERFORM try_again();
    END IF;

    IF any_cid THEN
        SELECT array_agg(m.id ORDER BY t.n), array_agg(m.conversation ORDER BY t.n) INTO firsts, first_talks
        FROM unnest(sender_ids, cids) WITH ORDINALITY AS t (sender, cid, n)
        LEFT JOIN messages m ON m.sender = t.sender AND m.cid = t.cid AND m.cid IS NOT NULL;
    END IF;
    IF send_cost > 0 THEN
        waits := take_sends(send_cost, send_span, sender_ids, recipient_ids, cids, firsts, refused);
    END IF;
    SELECT base_of(generation) INTO base FROM state;
    -- The daemon does not know yet how the batch before was numbered if its answer is on its way.
    beyond := greatest(beyond, coalesce(nullif(current_setting('kschat.last_number', true), ''), '0')::bigint);

    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT t.*, CASE
            WHEN t.known IS NOT NULL THEN 1 WHEN waits[t.n::integer] > 0 THEN 4 WHEN t.is_refused THEN 3
            WHEN t.cid IS NULL THEN 0
            WHEN t.n = min(t.n) FILTER (WHERE t.known IS NULL AND NOT t.is_refused) OVER (PARTITION BY t.sender, t.cid) THEN 0
            ELSE 2 END AS outcome,
            CASE WHEN t.cid IS NOT NULL THEN
                min(t.n) FILTER (WHERE t.known IS NULL AND NOT t.is_refused) OVER (PARTITION BY t.sender, t.cid) END AS twin
        FROM unnest(sender_ids, recipient_ids, talks, firsts, first_talks, refused, numbers, cids)
            WITH ORDINALITY AS t (sender, recipient, talk, known, known_talk, is_refused, given, cid, n)
    ), counted AS (
        SELECT a.n, a.sender, a.recipient, a.talk, a.given,
            row_number() OVER (ORDER BY a.n) AS place_in_batch,
            row_number() OVER (PARTITION BY a.talk ORDER BY a.n) AS nth,
            row_number() OVER (PARTITION BY a.talk, a.sender ORDER BY a.n) AS nth_own
        FROM asked a WHERE a.outcome = 0
    ), fresh AS MATERIALIZED (
        SELECT o.n, o.sender, o.recipient, o.talk,
            o.place_in_batch + max(greatest(o.given, beyond + 1, c.last + 1) - o.place_in_batch) OVER (ORDER BY o.n) AS number,
            c.total + o.nth AS total, p.own + o.nth_own AS own
        FROM counted o
        JOIN conversations c ON c.id = o.talk
        JOIN participants p ON p.user_id = o.sender AND p.conversation = o.talk
    ), noted AS MATERIALIZED (
        SELECT set_config('kschat.last_number', coalesce(max(number), beyond)::text, false) AS last FROM fresh
    ), placed AS MATERIALIZED (
        SELECT e.n, e.user_id, u.name, e.talk, e.number,
            greatest(u.last, base) + row_number() OVER (PARTITION BY e.user_id ORDER BY e.n) AS place
        FROM (
            SELECT f.n, f.recipient AS user_id, f.talk, f.number FROM fresh f WHERE f.recipient IS NOT NULL
            UNION ALL
            SELECT f.n, p.user_id, f.talk, f.number FROM fresh f JOIN participants p ON p.conversation = f.talk
            WHERE any_room AND f.recipient IS NULL AND p.user_id <> f.sender
        ) AS e JOIN users u ON u.id = e.user_id
    ), gathered AS MATERIALIZED (
        SELECT g.n, max(g.place) AS place, array_agg(g.user_id ORDER BY g.user_id) AS ids,
            array_agg(g.name ORDER BY g.user_id) AS names, array_agg(g.place ORDER BY g.user_id) AS places
        FROM placed g GROUP BY g.n
    ), kept AS (
        INSERT INTO messages (
            conversation, id, suffix, sender, recipient, place, members, places, total, own, ids, time, cid, size, msg,
            attachments, line
        )
        SELECT f.talk, f.number, t.suffix, f.sender, f.recipient,
            CASE WHEN f.recipient IS NOT NULL THEN g.place END,
            CASE WHEN f.recipient IS NULL THEN coalesce(g.ids, '{}') END,
            CASE WHEN f.recipient IS NULL THEN coalesce(g.places, '{}') END,
            f.total, f.own, t.ids, t.time, t.cid, t.size, t.msg, t.attachments, t.line
        FROM unnest(suffixes, written, times, cids, sizes, msgs, attached, lines)
            WITH ORDINALITY AS t (suffix, ids, time, cid, size, msg, attachments, line, n)
        JOIN fresh f ON f.n = t.n LEFT JOIN gathered g ON g.n = f.n
        ORDER BY f.n
    ), delivered AS (
        INSERT INTO inbox (user_id, place, conversation, message)
        SELECT g.user_id, g.place, g.talk, g.number FROM placed g
    ), counted_conversations AS (
        UPDATE conversations c SET last = f.number, newest = f.number, total = f.total, tail = suffixes[f.n::integer]
        FROM (SELECT DISTINCT ON (talk) * FROM fresh ORDER BY talk, n DESC) AS f WHERE c.id = f.talk
    ), counted_own AS (
        UPDATE participants p SET own = f.own
        FROM (SELECT DISTINCT ON (talk, sender) * FROM fresh ORDER BY talk, sender, n DESC) AS f
        WHERE p.user_id = f.sender AND p.conversation = f.talk
    ), counted_inboxes AS (
        UPDATE users u SET last = g.last
        FROM (SELECT user_id, max(place) AS last FROM placed GROUP BY user_id) AS g WHERE u.id = g.user_id
    )
    SELECT a.n, a.outcome, coalesce(f.number, a.known),
        CASE WHEN a.outcome = 0 THEN a.talk ELSE coalesce(a.known_talk, a.twin) END,
        CASE WHEN a.outcome = 4 THEN waits[a.n::integer] WHEN a.recipient IS NOT NULL THEN g.place END,
        CASE WHEN a.recipient IS NULL THEN g.names END,
        CASE WHEN a.recipient IS NULL THEN g.places END
    FROM asked a CROSS JOIN noted LEFT JOIN fresh f ON f.n = a.n LEFT JOIN gathered g ON g.n = a.n
    WHERE noted.last IS NOT NULL;
    PERFORM set_config('kschat.turn', turn::text, false);
    PERFORM check_deadline(deadline);
END $$;

-- Begins to change a message: locks its conversation and the users in it, and reads it. No row: there is no such message. `known`: the cid
-- is; `allowed`: the sender is a member, and is not blocked.
CREATE FUNCTION begin_change(
    deadline timestamptz, from_name bytea, to_name bytea, target bigint, target_suffix bytea, update_cid bytea
) RETURNS TABLE (
    known boolean, found boolean, is_member boolean, is_blocked boolean, talk bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    sender_id bigint;
    talk_id bigint;
BEGIN
    PERFORM check_deadline(deadline);
    SELECT conversation_of(from_name, to_name) INTO talk_id;
    PERFORM FROM conversations WHERE id = talk_id FOR NO KEY UPDATE;
    -- Also those who get the update, whom `finish_change` writes to: later it would be out of the order of locks. And the
    -- sender, so that a repeat is answered no sooner than the first one is safe.
    PERFORM FROM users WHERE id IN (
        SELECT user_id FROM participants WHERE conversation = talk_id AND EXISTS (
            SELECT FROM participants p JOIN users u ON u.id = p.user_id
            WHERE p.conversation = talk_id AND u.name = from_name
        )
        UNION ALL
        SELECT id FROM users WHERE name = from_name
    ) ORDER BY id FOR NO KEY UPDATE;
    SELECT id INTO sender_id FROM users WHERE name = from_name;
    RETURN QUERY SELECT
        update_cid IS NOT NULL AND (
            EXISTS (SELECT FROM updates u WHERE u.sender = sender_id AND u.cid = update_cid)
            OR EXISTS (SELECT FROM messages m WHERE m.sender = sender_id AND m.cid = update_cid)
        ),
        EXISTS (
            SELECT FROM messages m JOIN conversations c ON c.id = m.conversation
            WHERE m.conversation = talk_id AND m.id = target AND m.suffix = target_suffix AND m.total > c.gone
        ),
        EXISTS (SELECT FROM participants p WHERE p.user_id = sender_id AND p.conversation = talk_id),
        EXISTS (SELECT FROM blocks b JOIN users u ON u.id = b.user_id WHERE u.name = to_name AND b.peer = sender_id),
        talk_id;
END $$;

-- Puts a changed message in the place of the one before, and the update into inboxes, after `begin_change` in the same
-- transaction. Returns the update's number, and the recipients with their offsets.
CREATE FUNCTION finish_change(
    deadline timestamptz, talk bigint, target bigint, new_size bigint, new_msg bytea, new_attachments bytea,
    new_extra bytea, new_line bytea, given bigint, update_suffix bytea, from_name bytea, to_name bytea,
    is_edit boolean, written text, at bigint, update_cid bytea, update_extra bytea
) RETURNS TABLE (number bigint, members bytea[], places bigint[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    base bigint;
    given_number bigint;
    ids bigint[];
    names bytea[];
    offsets bigint[];
BEGIN
    UPDATE messages SET size = new_size, msg = new_msg, attachments = new_attachments, extra = new_extra, line = new_line
    WHERE conversation = talk AND id = target;
    UPDATE conversations SET last = greatest(last + 1, given) WHERE id = talk RETURNING last INTO given_number;
    SELECT base_of(generation) INTO base FROM state;
    WITH placed AS (
        UPDATE users SET last = greatest(last, base) + 1
        WHERE id IN (SELECT user_id FROM participants WHERE conversation = talk) RETURNING id, name, last
    ), delivered AS (
        INSERT INTO inbox (user_id, place, conversation, message) SELECT id, last, talk, given_number FROM placed
    )
    SELECT array_agg(id), array_agg(name), array_agg(last) INTO ids, names, offsets FROM placed;
    INSERT INTO updates
    SELECT talk, given_number, update_suffix, s.id, r.id, ids, offsets, target, is_edit, written, at, update_cid, update_extra
    FROM users s LEFT JOIN users r ON r.name = to_name WHERE s.name = from_name;
    PERFORM check_deadline(deadline);
    RETURN QUERY SELECT given_number, names, offsets;
END $$;

CREATE FUNCTION save_progress(names bytea[], cursors bigint[], seen_names bytea[], times bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM make_users(seen_names);
    PERFORM FROM users WHERE name = ANY (names || seen_names) ORDER BY id FOR NO KEY UPDATE;
    UPDATE users SET cursor = greatest(users.cursor, least(t.cursor, users.last))
    FROM unnest(names, cursors) AS t (name, cursor) WHERE users.name = t.name;
    UPDATE users SET seen = greatest(users.seen, t.seen)
    FROM unnest(seen_names, times) AS t (name, seen) WHERE users.name = t.name;
END $$;

-- Marks a conversation as read; whether anything was not.
CREATE FUNCTION mark_read(reader bytea, peer bytea, number bigint) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    talk conversations%ROWTYPE;
    mine participants%ROWTYPE;
    reached record;
    own_then bigint;
    upto bigint;
BEGIN
    SELECT * INTO talk FROM conversations WHERE id = conversation_of(reader, peer);
    SELECT p.* INTO mine FROM participants p JOIN users u ON u.id = p.user_id
    WHERE u.name = reader AND p.conversation = talk.id FOR NO KEY UPDATE OF p;
    upto := least(number, talk.newest);
    IF mine.user_id IS NULL OR upto <= mine.read THEN
        RETURN false;
    END IF;
    SELECT m.total, m.own, m.sender INTO reached FROM messages m
    WHERE m.conversation = talk.id AND m.id <= upto ORDER BY m.id DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF talk.room IS NULL THEN
        own_then := CASE WHEN reached.sender = mine.user_id THEN reached.own ELSE reached.total - reached.own END;
    ELSE
        SELECT m.own INTO own_then FROM messages m
        WHERE m.conversation = talk.id AND m.sender = mine.user_id AND m.recipient IS NULL AND m.id <= upto
            AND m.id > mine.joined ORDER BY m.id DESC LIMIT 1;
        own_then := coalesce(own_then, mine.own_gone);
    END IF;
    UPDATE participants SET read = upto, read_count = reached.total - own_then
    WHERE user_id = mine.user_id AND conversation = talk.id;
    RETURN EXISTS (
        SELECT FROM messages m WHERE m.conversation = talk.id AND m.id > mine.read AND m.id <= upto
            AND m.sender <> mine.user_id AND m.total > talk.gone
    );
END $$;

-- Returns 1 where the user is a member now, 0 where that was so before, 2 where the room is full, 3 where the user is
-- in too many.
CREATE FUNCTION join_room(name_of_room bytea, user_name bytea, most bigint, most_rooms bigint) RETURNS integer
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    talk conversations%ROWTYPE;
    member users%ROWTYPE;
BEGIN
    SELECT u.* INTO member FROM users u WHERE u.name = user_name;
    SELECT * INTO talk FROM conversations WHERE room = name_of_room FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM participants p WHERE p.user_id = member.id AND p.conversation = talk.id) THEN
        RETURN 0;
    ELSIF coalesce(talk.members, 0) >= most THEN
        RETURN 2;
    ELSIF coalesce(member.rooms, 0) >= most_rooms THEN
        RETURN 3;
    END IF;
    IF member.id IS NULL OR talk.id IS NULL THEN
        -- In the order of locks, which is why the daemon calls it again.
        RETURN -1;
    END IF;
    SELECT u.* INTO member FROM users u WHERE u.id = member.id AND u.name = user_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM try_again();
    ELSIF member.rooms >= most_rooms THEN
        RETURN 3;
    END IF;
    -- What was written before counts as read.
    INSERT INTO participants (user_id, conversation, read, read_count, joined)
    VALUES (member.id, talk.id, talk.last, talk.total, talk.last);
    UPDATE conversations SET members = members + 1 WHERE id = talk.id;
    UPDATE users SET rooms = rooms + 1 WHERE id = member.id;
    RETURN 1;
END $$;

CREATE FUNCTION make_room(name_of_room bytea, user_name bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM make_users(ARRAY[user_name]);
    INSERT INTO conversations (room) VALUES (name_of_room) ON CONFLICT (room) DO NOTHING;
END $$;

CREATE FUNCTION leave_room(name_of_room bytea, user_name bytea) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    talk bigint;
    member bigint;
BEGIN
    SELECT id INTO talk FROM conversations WHERE room = name_of_room FOR NO KEY UPDATE;
    SELECT id INTO member FROM users WHERE name = user_name FOR NO KEY UPDATE;
    DELETE FROM participants WHERE user_id = member AND conversation = talk;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE conversations SET members = members - 1 WHERE id = talk;
    UPDATE users SET rooms = rooms - 1 WHERE id = member;
    RETURN true;
END $$;

-- Returns 1 where it is so now, 0 where it was so before, 2 where the list is full.
CREATE FUNCTION block_user(user_name bytea, peer_name bytea, most bigint) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    owner bigint;
    other bigint;
BEGIN
    PERFORM make_users(ARRAY[user_name, peer_name]);
    -- Both: neither is erased meanwhile.
    PERFORM FROM users WHERE name IN (user_name, peer_name) ORDER BY id FOR NO KEY UPDATE;
    SELECT id INTO other FROM users WHERE name = peer_name;
    SELECT id INTO owner FROM users WHERE name = user_name;
    IF owner IS NULL OR other IS NULL THEN
        PERFORM try_again();
    END IF;
    IF EXISTS (SELECT FROM blocks WHERE user_id = owner AND peer = other) THEN
        RETURN 0;
    ELSIF (SELECT count(*) FROM blocks WHERE user_id = owner) >= most THEN
        RETURN 2;
    END IF;
    INSERT INTO blocks VALUES (owner, other);
    RETURN 1;
END $$;

CREATE FUNCTION unblock_user(user_name bytea, peer_name bytea) RETURNS boolean LANGUAGE sql AS $$
    WITH removed AS (
        DELETE FROM blocks WHERE user_id = (SELECT id FROM users WHERE name = user_name)
            AND peer = (SELECT id FROM users WHERE name = peer_name) RETURNING 1
    ) SELECT EXISTS (SELECT FROM removed)
$$;

-- Keeps a subscription, and forgets the oldest of its user beyond `most`.
CREATE FUNCTION subscribe(user_name bytea, url bytea, key bytea, secret bytea, most bigint) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    owner bigint;
BEGIN
    PERFORM make_users(ARRAY[user_name]);
    SELECT id INTO owner FROM users WHERE name = user_name FOR NO KEY UPDATE;
    IF owner IS NULL THEN
        PERFORM try_again();
    END IF;
    -- It may replace the rows of two users.
    LOCK TABLE subscriptions IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM subscriptions WHERE endpoint = url;
    INSERT INTO subscriptions (endpoint, user_id, p256dh, auth) VALUES (url, owner, key, secret);
    DELETE FROM subscriptions WHERE user_id = owner
        AND number IN (SELECT number FROM subscriptions WHERE user_id = owner ORDER BY number DESC OFFSET most);
END $$;

-- Forgets the subscription of a user with this URL, or all, and returns how many.
CREATE FUNCTION unsubscribe(user_name bytea, url bytea) RETURNS bigint LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM subscriptions WHERE user_id = (SELECT id FROM users WHERE name = user_name)
            AND (url IS NULL OR endpoint = url) RETURNING 1
    ) SELECT count(*) FROM gone
$$;

-- What is kept of a revocation; the row is locked, as all others are, since readers go by rising numbers.
CREATE FUNCTION begin_revoking(key_of bytea, now bigint, most bigint, pruned bigint)
RETURNS TABLE (before bigint, until bigint, lifted boolean, is_full boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    LOCK TABLE revocations IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM revocations r WHERE r.key IN (SELECT key FROM revocations WHERE until <= now LIMIT pruned);
    RETURN QUERY SELECT r.before, r.until, r.lifted,
        r.key IS NULL AND (SELECT count(*) FROM revocations) >= most
    FROM (SELECT 1) AS one LEFT JOIN revocations r ON r.key = key_of;
END $$;

CREATE FUNCTION finish_revoking(key_of bytea, before_time bigint, until_time bigint, is_lifted boolean) RETURNS void
LANGUAGE sql AS $$
    WITH counted AS (UPDATE state SET revoked = revoked + 1 RETURNING revoked)
    INSERT INTO revocations (key, number, before, until, lifted)
    SELECT key_of, revoked, before_time, until_time, is_lifted FROM counted
    ON CONFLICT (key) DO UPDATE SET number = excluded.number, before = excluded.before, until = excluded.until,
        lifted = excluded.lifted
$$;

-- The inboxes that some messages and updates are in.
CREATE FUNCTION places_of(talks bigint[], numbers bigint[]) RETURNS TABLE (user_id bigint, place bigint)
LANGUAGE sql STABLE ROWS 1000 AS $$
    SELECT m.recipient, m.place FROM unnest(talks, numbers) AS t (talk, number)
    JOIN messages m ON m.conversation = t.talk AND m.id = t.number WHERE m.recipient IS NOT NULL
    UNION ALL
    SELECT x.user_id, x.place FROM unnest(talks, numbers) AS t (talk, number)
    JOIN messages m ON m.conversation = t.talk AND m.id = t.number, unnest(m.members, m.places) AS x (user_id, place)
    WHERE m.recipient IS NULL
    UNION ALL
    SELECT x.user_id, x.place FROM unnest(talks, numbers) AS t (talk, number)
    JOIN updates u ON u.conversation = t.talk AND u.id = t.number, unnest(u.members, u.places) AS x (user_id, place)
$$;

-- Removes messages and updates, and returns how many there were. `is_old`: they are the oldest of their inboxes and
-- conversations, which begin behind them from now on; else they leave holes.
CREATE FUNCTION remove(talks bigint[], numbers bigint[], is_old boolean) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    removed bigint;
BEGIN
    PERFORM FROM conversations WHERE id = ANY (talks) ORDER BY id FOR NO KEY UPDATE;
    PERFORM FROM users WHERE id IN (SELECT user_id FROM places_of(talks, numbers)) ORDER BY id FOR NO KEY UPDATE;
    WITH doomed AS MATERIALIZED (
        SELECT m.conversation, m.id, m.sender, m.total, m.own FROM unnest(talks, numbers) AS t (talk, number)
        JOIN messages m ON m.conversation = t.talk AND m.id = t.number
    ), places AS MATERIALIZED (
        SELECT * FROM places_of(talks, numbers)
    ), of_inboxes AS (
        DELETE FROM inbox i USING places p WHERE i.user_id = p.user_id AND i.place = p.place
    ), floors AS (
        UPDATE users u SET floor = greatest(u.floor, p.place)
        FROM (SELECT user_id, max(place) AS place FROM places GROUP BY user_id) AS p WHERE is_old AND u.id = p.user_id
    ), gone AS (
        UPDATE conversations c SET gone = greatest(c.gone, d.total)
        FROM (SELECT conversation, max(total) AS total FROM doomed GROUP BY conversation) AS d
        WHERE is_old AND c.id = d.conversation
    ), counts AS (
        SELECT p.user_id, p.conversation, max(d.own) FILTER (WHERE d.sender = p.user_id AND d.id > p.joined) AS own,
            count(*) FILTER (WHERE d.sender <> p.user_id AND d.id > p.read) AS unread
        FROM doomed d JOIN participants p ON p.conversation = d.conversation GROUP BY p.user_id, p.conversation
    ), counted AS (
        UPDATE participants p SET own_gone = CASE WHEN is_old THEN greatest(p.own_gone, n.own) ELSE p.own_gone END,
            read_count = CASE WHEN is_old THEN p.read_count ELSE p.read_count + n.unread END
        FROM counts n WHERE p.user_id = n.user_id AND p.conversation = n.conversation
            AND (n.unread > 0 OR n.own IS NOT NULL)
    ), of_messages AS (
        DELETE FROM messages m USING doomed d WHERE m.conversation = d.conversation AND m.id = d.id RETURNING 1
    ), of_updates AS (
        DELETE FROM updates u USING unnest(talks, numbers) AS t (talk, number)
        WHERE u.conversation = t.talk AND u.id = t.number RETURNING 1
    )
    SELECT (SELECT count(*) FROM of_messages) + (SELECT count(*) FROM of_updates) INTO removed;
    UPDATE conversations c SET
        newest = coalesce((SELECT m.id FROM messages m WHERE m.conversation = c.id ORDER BY m.id DESC LIMIT 1), 0),
        tail = coalesce((SELECT m.suffix FROM messages m WHERE m.conversation = c.id ORDER BY m.id DESC LIMIT 1), '')
    WHERE c.id = ANY (talks) AND c.newest > 0
        AND NOT EXISTS (SELECT FROM messages m WHERE m.conversation = c.id AND m.id = c.newest);
    RETURN removed;
END $$;

-- A conversation shows no more than `most` messages from now on; some are hidden by one call. Whether there may be more.
CREATE FUNCTION hide(talk bigint, most bigint, step bigint) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    known conversations%ROWTYPE;
    edge messages%ROWTYPE;
    passed bigint;
BEGIN
    SELECT * INTO known FROM conversations WHERE id = talk FOR NO KEY UPDATE;
    IF known.id IS NULL OR known.total - known.gone <= most THEN
        RETURN false;
    END IF;
    WITH oldest AS (
        SELECT id FROM messages
        WHERE conversation = talk AND total > known.gone AND total <= known.total - most ORDER BY id LIMIT step
    )
    SELECT max(id), count(*) INTO edge.id, passed FROM oldest;
    IF edge.id IS NULL THEN
        -- They were erased.
        UPDATE conversations SET gone = total - most WHERE id = talk;
        RETURN false;
    END IF;
    SELECT * INTO edge FROM messages WHERE conversation = talk AND id = edge.id;
    UPDATE conversations SET gone = edge.total WHERE id = talk;
    IF known.room IS NULL THEN
        UPDATE participants SET own_gone = CASE WHEN user_id = edge.sender THEN edge.own ELSE edge.total - edge.own END
        WHERE conversation = talk;
    ELSE
        UPDATE participants p SET own_gone = greatest(p.own_gone, coalesce((
            SELECT m.own FROM messages m WHERE m.conversation = talk AND m.sender = p.user_id AND m.recipient IS NULL
                AND m.id <= edge.id AND m.id > p.joined ORDER BY m.id DESC LIMIT 1
        ), 0)) WHERE p.conversation = talk;
    END IF;
    RETURN passed = step;
END $$;

-- Begins to erase a user: takes the user out of all rooms and block lists. It is called again for a user who comes back
-- before `finish_erasing`. Returns the user's id, NULL for nobody, and the rooms.
CREATE FUNCTION begin_erasing(user_name bytea, OUT erased_id bigint, OUT rooms bigint[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT id INTO erased_id FROM users WHERE name = user_name;
    IF erased_id IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM conversations WHERE id IN (SELECT conversation FROM participants WHERE user_id = erased_id)
        AND room IS NOT NULL ORDER BY id FOR NO KEY UPDATE;
    PERFORM FROM users WHERE id = erased_id FOR NO KEY UPDATE;
    WITH left_rooms AS (
        DELETE FROM participants p USING conversations c
        WHERE p.user_id = erased_id AND c.id = p.conversation AND c.room IS NOT NULL RETURNING c.id
    ), counted AS (
        UPDATE conversations SET members = members - 1 WHERE id IN (SELECT id FROM left_rooms) RETURNING id
    )
    SELECT array_agg(id) INTO rooms FROM counted;
    DELETE FROM subscriptions WHERE user_id = erased_id;
    DELETE FROM blocks WHERE user_id = erased_id;
    DELETE FROM blocks WHERE peer = erased_id;
    UPDATE users SET rooms = 0 WHERE id = erased_id;
    UPDATE state SET erased = greatest(state.erased, u.last) FROM users u WHERE u.id = erased_id;
END $$;

-- Deletes conversations of two in which nothing is left; and the user, once nothing else is there. Whether that was done.
CREATE FUNCTION finish_erasing(erased_id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM conversations WHERE id IN (SELECT conversation FROM participants WHERE user_id = erased_id)
        ORDER BY id FOR UPDATE;
    PERFORM FROM users WHERE id = erased_id FOR NO KEY UPDATE;
    WITH emptied AS (
        DELETE FROM conversations c USING participants p
        WHERE p.user_id = erased_id AND c.id = p.conversation AND c.room IS NULL
            AND NOT EXISTS (SELECT FROM messages m WHERE m.conversation = c.id)
            AND NOT EXISTS (SELECT FROM updates u WHERE u.conversation = c.id) RETURNING c.id
    )
    DELETE FROM participants WHERE conversation IN (SELECT id FROM emptied);
    IF EXISTS (SELECT FROM participants WHERE user_id = erased_id) OR EXISTS (SELECT FROM inbox WHERE user_id = erased_id)
        OR EXISTS (SELECT FROM subscriptions WHERE user_id = erased_id)
        OR EXISTS (SELECT FROM blocks WHERE user_id = erased_id) OR EXISTS (SELECT FROM blocks WHERE peer = erased_id)
    THEN
        RETURN false;
    END IF;
    UPDATE state SET erased = greatest(state.erased, u.last) FROM users u WHERE u.id = erased_id;
    UPDATE users SET name = NULL, floor = last, cursor = 0, seen = NULL WHERE id = erased_id;
    RETURN true;
END $$;

INSERT INTO state
SELECT true, 0, substr(md5(random()::text || clock_timestamp()::text), 1, 16), server(), pg_postmaster_start_time(), false, 1, 0, 0
WHERE NOT EXISTS (SELECT FROM state);
