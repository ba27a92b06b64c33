-- What recordings from before are found by.
INSERT INTO tape_key (word, started, tape)
    SELECT 'party:' || localparty, started, id FROM tape WHERE localparty <> '';
INSERT INTO tape_key (word, started, tape)
    SELECT 'party:' || remoteparty, started, id FROM tape WHERE remoteparty <> ''
    ON CONFLICT DO NOTHING;
INSERT INTO tape_key (word, started, tape)
    SELECT 'tag:' || key || '=' || value, started, tape.id
    FROM tape_tag JOIN tape ON tape.id = tape_tag.tape;
