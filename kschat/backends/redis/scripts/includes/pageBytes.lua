-- Bytes of messages in a page. A larger message has a page of its own.
local PAGE_BYTES = 256000
