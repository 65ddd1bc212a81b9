-- Searching by reason, page after page.

CREATE INDEX sagas_reason ON sagas (reason, id) WHERE reason IS NOT NULL;
COMMENT ON INDEX sagas_reason IS 'Lists by reason. A reason is set once, when the saga turns back.';
