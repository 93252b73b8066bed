// The types of the module's API. This file has no code: read it first, then docs/page.md, then chat.js.

/**
 * What a page gives to `new Chat(options)`. Only `user` and `token` are needed.
 *
 * @typedef {object} Options
 * @property {string} user  Whose token it is (`uId`).
 * @property {string} token  Kept in memory only.
 * @property {string|URL} [url]  The daemon's `/socket.io/`; by default `socket.io/` beside the page. http(s) or ws(s).
 * @property {() => (string|null|Promise<string|null>)} [renew]  Asked for another token when this one expires or was refused;
 *   null: there is none.
 * @property {Names} [names]  Names to show instead of ids.
 * @property {boolean} [shared]  Whether the user's tabs share one connection (true, where the browser can).
 * @property {boolean} [keep]  Whether outbox and drafts are kept in IndexedDB (true, where there is one).
 * @property {Partial<Limits>} [limits]  Other bounds than those of store.js.
 * @property {Partial<Environment>} [environment]  What the browser has; for Node.js and for tests.
 */

/** @typedef {((id: string) => string|null|undefined) | Map<string, string> | Record<string, string>} Names */

/**
 * Everything is bounded. The values are in store.js.
 *
 * @typedef {object} Limits
 * @property {number} conversations  Conversations in memory; the oldest without unsent messages and not open are forgotten.
 * @property {number} openMessages  Messages in memory of a conversation that is open.
 * @property {number} closedMessages  The same of one that is not.
 * @property {number} fileBytes  Bytes of pictures and files in memory, of all conversations. Older ones: `file.data` is null.
 * @property {number} outboxMessages  Messages that wait to be sent.
 * @property {number} outboxBytes  Their bytes.
 * @property {number} drafts  Conversations whose draft is kept, and how far they were read.
 * @property {number} draftLength  Characters of one.
 * @property {number} watched  Users whose presence is watched (the server's bound is 500).
 * @property {number} names  Names that messages carried.
 */

/**
 * @typedef {object} Environment
 * @property {new (url: string) => WebSocket} WebSocket
 * @property {IDBFactory|null} indexedDB
 * @property {LockManager|null} locks
 * @property {(new (name: string) => BroadcastChannel)|null} BroadcastChannel
 * @property {(run: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now  Milliseconds that only grow.
 * @property {() => number} time  Milliseconds since 1970.
 * @property {() => number} random
 * @property {(run: () => void) => void} frame  Runs it before the next frame; soon, where nothing is drawn.
 * @property {() => boolean} visible
 * @property {() => boolean} online
 * @property {EventTarget|null} events  Where `online`, `offline`, `focus` and `pagehide` are heard (window).
 * @property {EventTarget|null} page  Where `visibilitychange` is heard (document).
 */

/**
 * The connection, in a word and in English. A page with its own texts goes by `state` and `code`.
 *
 * - `connecting`: the first try is under way.
 * - `connected`
 * - `offline`: the device has no network; it connects when there is one.
 * - `waiting`: the connection was lost or not made; the next try is at `retryAt`.
 * - `refused`: the server refuses; `again` says whether `connect()` can help without a new token.
 * - `ended`: logged out, or `stop()`.
 *
 * @typedef {object} Status
 * @property {"connecting"|"connected"|"offline"|"waiting"|"refused"|"ended"} state
 * @property {""|"lost"|"silent"|"drain"|"slow"|"too large"|"rate"|"token"|"revoked"|"replaced"|"logout"|"namespace"|"refused"} code
 *   Why it is not connected.
 * @property {string} words  One English sentence.
 * @property {number|null} retryAt  When it tries again, in milliseconds since 1970, while `waiting`.
 * @property {boolean} again  Whether `connect()` may help.
 */

/**
 * Why a message was not sent, or something was not kept.
 *
 * @typedef {object} Problem
 * @property {"too large"|"invalid"|"not allowed"|"slow down"|"not available"|"connection"|"full"|"quota"|"storage"|"drafts"|"unknown"} code
 *   `quota`, `storage`: what is not sent yet can't be kept; `drafts`: nor can a draft.
 * @property {string} words  One English sentence; the server's own where it gave one.
 * @property {boolean} again  Whether to try again, unchanged, may help.
 */

/**
 * One message. The objects are the module's own: read, do not change them. A message keeps its object for as long as it is in memory.
 *
 * @typedef {object} Message
 * @property {string} key  Stays the same for as long as the message is in memory. Its `cid`, or else its `mid`.
 * @property {string|null} mid  The server's id; null while it is not sent. Sorts by time.
 * @property {string} conversation  A user's id, or a room's with its `#`.
 * @property {string} from  The sender's id.
 * @property {boolean} own  Whether this user sent it.
 * @property {number} time  Milliseconds since 1970: the server's clock, or this device's while it is not sent.
 * @property {"waiting"|"sending"|"failed"|"sent"|"delivered"|"read"|"received"} state  The first six are for own messages.
 *   Messages to rooms stay `sent`.
 * @property {Problem|null} problem  Why it `failed`.
 * @property {string} text  What it says, without its quotation; never markup. Of what another client sent: its JSON.
 * @property {boolean} deleted  Whether its sender, or a moderator, deleted it: it has no text then.
 * @property {boolean} edited  Whether its sender changed its text after it was sent.
 * @property {Record<string, string[]>} reactions  Users by emoji; each user has one at most. Another object after each change.
 * @property {Reply|null} reply  What it answers.
 * @property {FilePart|null} file
 * @property {unknown} msg  As it was sent.
 */

/**
 * @typedef {object} Reply
 * @property {string} text  The quotation: the beginning of the message that was answered.
 * @property {string|null} mid  Of the message it answers, where that is in memory.
 */

/**
 * A picture or a file within `msg`: `{text, file: {name, type, size, data}}`.
 *
 * @typedef {object} FilePart
 * @property {string} name  As the sender wrote it, without folders.
 * @property {string} type  A media type, as the sender says. Do not open it as that: see `safeType` of store.js.
 * @property {number} size  Bytes.
 * @property {ArrayBuffer|null} data  null: no longer in memory, `chat.load(message)` gets it again.
 * @property {number} [width]  Of a picture, in pixels, where the sender said.
 * @property {number} [height]
 */

/**
 * What `chat.send` takes. At least one of text and file.
 *
 * @typedef {object} Draft
 * @property {string} [text]
 * @property {Message} [reply]  The message that it answers.
 * @property {FilePart} [file]  From `prepare` of pictures.js.
 */

/**
 * @typedef {object} Conversation
 * @property {string} id  A user's id, or a room's with its `#`.
 * @property {boolean} room
 * @property {Message|null} last  For a line in a list. Its `text` may be cut, and a file in it has no data.
 * @property {number} time  Of `last`; 0: there is none.
 * @property {number} unread  The server counts up to 1000.
 * @property {string|null} readUpTo  The last `mid` that was read here when it was opened: the unread divider goes after it.
 * @property {Presence|null} presence  null for rooms, and while it is unknown.
 * @property {boolean} typing
 * @property {boolean} open
 * @property {boolean} loaded  Whether its newest messages were loaded.
 * @property {boolean} loading
 * @property {boolean} hasOlder  Whether `older` may find more.
 * @property {boolean} hasNewer  Whether newer messages were dropped from memory: `newer` and `newest` get them.
 * @property {number} missed  Messages that came while `hasNewer`.
 * @property {string} draft
 */

/**
 * @typedef {object} Presence
 * @property {boolean|null} online  null: unknown.
 * @property {number|null} lastSeen  Milliseconds since 1970.
 */

/**
 * What `chat.on("change", …)` is called with, at most once a frame. The lists hold what is different from the time before.
 *
 * @typedef {object} Changes
 * @property {boolean} status  Whether `chat.status` changed.
 * @property {boolean} order  Whether the list of conversations changed: one came or went, or their order did.
 * @property {Set<string>} conversations  Ids of those that have other fields: last, unread, presence, typing, draft, loading, …
 * @property {Map<string, MessageChanges>} messages  By conversation.
 * @property {Message[]} arrived  New messages of others, live ones alone: for notices and sounds.
 * @property {Problem[]} problems  Such as: this browser keeps nothing.
 */

/**
 * @typedef {object} MessageChanges
 * @property {Message[]} added  They are in `chat.messages(id)` already, at their places.
 * @property {Message[]} changed
 * @property {Message[]} removed
 * @property {boolean} reset  Whether the list is another one, so that it is drawn as a whole.
 */

/**
 * The module's API, as chat.js implements it. What asks the server is rejected with an `Error` whose message is one English sentence.
 *
 * @typedef {object} ChatApi
 * @property {string} user
 * @property {Status} status
 * @property {number} limit  Bytes of one packet, as the server announced; Infinity before it did.
 * @property {boolean} leader  Whether this tab has the connection; true where tabs do not share one.
 * @property {readonly Conversation[]} conversations  Newest first.
 * @property {(event: "change", listener: (changes: Changes) => void) => () => void} on  Gives what removes the listener.
 * @property {() => Promise<void>} start  Connects; done when that has begun. What this browser keeps of the user is there once the server
 *   has accepted the token, or can't be reached.
 * @property {() => void} stop  Ends it: another tab takes the connection over.
 * @property {() => void} connect  Tries at once.
 * @property {(token: string) => void} setToken  Another token for the same user; renews on the live socket.
 * @property {(all?: boolean) => Promise<void>} logout
 * @property {(id: string) => string} name  By `names`, else what the user's messages carried, else the id.
 * @property {(id: string) => Conversation|undefined} conversation
 * @property {(id: string) => readonly Message[]} messages  Oldest first; those not sent last. The same array for as long as it is not reset.
 * @property {(id: string) => Promise<Conversation>} open  Makes it where there is none, and loads its newest messages where they are not.
 *   It stays `open`, with more messages in memory, until `close(id)`. Offline it resolves with what there is.
 * @property {(id: string) => void} close
 * @property {(id: string) => Promise<number>} older  Loads a page of older messages; how many came.
 * @property {(id: string) => Promise<number>} newer
 * @property {(id: string) => Promise<void>} newest  Back to the newest messages, where they were dropped.
 * @property {(id: string, mid: string) => Promise<void>} around  The messages before and after one, in place of those in memory: `hasNewer` then
 *   says whether more follow.
 * @property {(id: string, draft: Draft) => Message} send  At once in `messages(id)`, as waiting. Throws a `Refused` (its `problem` says why)
 *   when it can't be kept: the outbox is full, or it is larger than the server accepts.
 * @property {(message: Message) => void} retry
 * @property {(message: Message, text: string) => Promise<void>} edit  Another text. What was not sent is tried again with it; what was sent
 *   is changed for everybody, which the server allows for a time. Rejected with `Refused`, or with an `Error` without a connection.
 * @property {(message: Message) => Promise<void>} delete  Deletes a message that was sent, for everybody; otherwise like `edit`.
 * @property {(message: Message, emoji: string) => Promise<void>} react  The user's reaction in place of the one before; "" for none.
 * @property {(message: Message) => void} discard  Of what waits or failed.
 * @property {(message: Message) => Promise<FilePart|null>} load  A file's data that is no longer in memory.
 * @property {(id: string) => void} read  All of it was read, on all tabs and devices.
 * @property {(id: string) => void} typing  This user types; call it at each key.
 * @property {(id: string, text: string) => void} setDraft
 * @property {(ids: string[]) => void} watch  Presence of more users than the conversations'.
 * @property {(id: string) => Presence|null} presence
 * @property {(room: string) => Promise<Conversation>} join
 * @property {(room: string) => Promise<void>} leave
 * @property {(id: string) => Promise<void>} block
 * @property {(id: string) => Promise<void>} unblock
 * @property {() => Promise<string[]>} blocked
 * @property {() => Promise<string>} pushKey  The key for `PushManager.subscribe`. Fails with a `Refused` if the server sends no pushes.
 * @property {(subscription: PushSubscription) => Promise<void>} pushSubscribe  Push to this browser when messages wait for the user.
 * @property {(endpoint: string) => Promise<void>} pushUnsubscribe
 * @property {(words: string, id?: string) => Message[]} search  In what is in memory, newest first.
 * @property {(offset?: number) => AsyncGenerator<Message[]>} inbox  The user's inbox after an offset, in pages, without changing what is read:
 *   for programs.
 */

export {};
