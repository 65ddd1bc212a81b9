-- What a deadline's row says of its saga, in words that are still true.

COMMENT ON TABLE deadlines IS 'When a saga is to be looked at if nothing comes: never later than its own state says. A row that is found early is moved to where it belongs.';
