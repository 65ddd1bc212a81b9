-- Whose a record that waits for a person is, once that customer's orders do not tell it any more.

ALTER TABLE dead_letters ADD COLUMN erased_for text;
COMMENT ON COLUMN dead_letters.erased_for IS 'SHA-256 of a customer who asked to be erased: it goes with the next erasure after it was seen to.';
CREATE INDEX dead_letters_erased ON dead_letters (erased_for) WHERE erased_for IS NOT NULL;
COMMENT ON INDEX dead_letters_erased IS 'Erasure on request.';

ALTER TABLE orphans ADD COLUMN erased_for text;
COMMENT ON COLUMN orphans.erased_for IS 'As of dead_letters.';
CREATE INDEX orphans_erased ON orphans (erased_for) WHERE erased_for IS NOT NULL;
COMMENT ON INDEX orphans_erased IS 'Erasure on request.';
