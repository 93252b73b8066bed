-- Bytes of messages after which a page is cut. The last message of a page may exceed it.
local PAGE_BYTES = 1000000
