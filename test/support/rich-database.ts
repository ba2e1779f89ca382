/** A schema with everything that is easily lost when a database is copied, dumped or taken over; and some rows. */

export const RICH_SCHEMA = `
CREATE TABLE plain (a, b TEXT COLLATE NOCASE, c REAL DEFAULT (1.5), d BLOB);
CREATE TABLE   "odd name"( -- kept as it was written
  "a ""column""" INTEGER, 'it''s' TEXT );
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL);
CREATE TABLE keyed (k TEXT, n INTEGER, v, PRIMARY KEY (k, n DESC)) WITHOUT ROWID;
CREATE TABLE strictly (id INTEGER PRIMARY KEY, x ANY, y INT CHECK (y > 0)) STRICT;
CREATE TABLE made (id INTEGER PRIMARY KEY, x INT, twice AS (x * 2) STORED, half AS (x / 2.0));
CREATE TABLE child (id INTEGER PRIMARY KEY, of INTEGER REFERENCES counted(id) ON DELETE CASCADE);
CREATE TABLE journal (at INTEGER PRIMARY KEY, what TEXT);
CREATE INDEX by_b ON plain (b) WHERE b IS NOT NULL;
CREATE INDEX by_expression ON plain (length(b), a);
CREATE UNIQUE INDEX once ON made (x);
CREATE TRIGGER noted AFTER INSERT ON counted BEGIN
  INSERT INTO journal(what) VALUES ('counted ' || new.id);
END;
CREATE VIEW seen AS SELECT id, what FROM counted WHERE what <> '';
CREATE TRIGGER through INSTEAD OF INSERT ON seen BEGIN
  INSERT INTO counted(what) VALUES (new.what);
END;
CREATE VIRTUAL TABLE words USING fts5(title, body, tokenize = 'porter unicode61');
CREATE TABLE texts (id INTEGER PRIMARY KEY, body TEXT);
CREATE VIRTUAL TABLE found USING fts5(body, content = 'texts', content_rowid = 'id');
CREATE VIRTUAL TABLE boxes USING rtree(id, left, right, low, high, +label TEXT);
`;

export const RICH_ROWS = `
INSERT INTO plain(rowid, a, b, c, d) VALUES
  (-5, NULL, 'it''s', 0.1, x'00ff'), (7, 9007199254740993, 'two
lines', 1e300, x''), (1000, 'ü€😀', '', -0.30000000000000004, zeroblob(3)), (1001, 5e-324, NULL, 9e999, 'text');
INSERT INTO "odd name" VALUES (1, 'one'), (NULL, NULL);
INSERT INTO counted(what) VALUES ('a'), ('b'), ('c');
DELETE FROM counted WHERE id = 3;
INSERT INTO seen(what) VALUES ('through the view');
INSERT INTO keyed VALUES ('k', 2, 'two'), ('k', 1, 'one'), ('j', 9, NULL);
INSERT INTO strictly VALUES (1, 'any', 1), (2, 2.0, 2), (3, x'03', 3);
INSERT INTO made(id, x) VALUES (1, 3), (2, 4);
INSERT INTO child VALUES (1, 1), (2, 4);
INSERT INTO words(rowid, title, body) VALUES (3, 'Lisbon', 'a running fox'), (9, 'Porto', 'the foxes ran');
DELETE FROM words WHERE rowid = 3;
INSERT INTO words(rowid, title, body) VALUES (12, 'Braga', 'no fox here');
INSERT INTO texts VALUES (4, 'outer content'), (8, 'more content');
INSERT INTO found(rowid, body) SELECT id, body FROM texts;
INSERT INTO boxes VALUES (1, 0, 1, 0, 1, 'small'), (5, -2.5, 9.25, 3, 4, 'wide');
PRAGMA user_version = 77;
`;
