/**
 * The tables that blobs are kept in, and every statement that writes or reads them (docs/decisions/0017-blobs.md). Ordinary
 * tables: what is said here is all there is, and SQL may say the same. It sends nothing.
 */

/** A content that nothing was added to for so long is abandoned. */
export const UPLOAD_SECONDS = 3_600;
/** A content that is not a blob's any more stays for so long: reads of it end in peace. */
export const KEPT_SECONDS = 60;

/**
 * Triggers tell the state of a content, so that a row may come and go by any statement: `writing` until a row of db_blob has
 * it, `stored` while one has, then `removed`. `keep_until` is log time, NULL while it is stored. A program with an older SQLite
 * must still be able to read the schema: there are ways to write the view that it could not.
 */
export const BLOB_TABLES = `
CREATE TABLE IF NOT EXISTS db_blob_content (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL CHECK (state IN ('writing', 'stored', 'removed')),
  keep_until INTEGER
);
CREATE INDEX IF NOT EXISTS db_blob_content_due ON db_blob_content(keep_until) WHERE state <> 'stored';
CREATE TABLE IF NOT EXISTS db_blob_chunk (
  content INTEGER NOT NULL REFERENCES db_blob_content(id),
  part INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (content, part)
);
CREATE TABLE IF NOT EXISTS db_blob (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  type TEXT,
  size INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  chunk_bytes INTEGER NOT NULL,
  written_at INTEGER NOT NULL,
  content INTEGER NOT NULL UNIQUE REFERENCES db_blob_content(id)
);
CREATE TRIGGER IF NOT EXISTS db_blob_inserted AFTER INSERT ON db_blob BEGIN
  UPDATE db_blob_content SET state = 'stored', keep_until = NULL WHERE id = new.content;
END;
CREATE TRIGGER IF NOT EXISTS db_blob_replaced AFTER UPDATE OF content ON db_blob
WHEN new.content <> old.content BEGIN
  UPDATE db_blob_content SET state = 'removed', keep_until = unixepoch() + ${KEPT_SECONDS} WHERE id = old.content;
  UPDATE db_blob_content SET state = 'stored', keep_until = NULL WHERE id = new.content;
END;
CREATE TRIGGER IF NOT EXISTS db_blob_deleted AFTER DELETE ON db_blob BEGIN
  UPDATE db_blob_content SET state = 'removed', keep_until = unixepoch() + ${KEPT_SECONDS} WHERE id = old.content;
END;
CREATE VIEW IF NOT EXISTS db_blob_value AS
SELECT id, name, type, size,
  CASE WHEN size <= 6291456 THEN CAST(coalesce((
    SELECT group_concat(data, '') OVER (ORDER BY part ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    FROM db_blob_chunk AS k WHERE k.content = b.content LIMIT 1
  ), '') AS BLOB) END AS data
FROM db_blob AS b;
`;

// --- writing ---------------------------------------------------------------------------------------------------------

export const BEGIN_CONTENT = `INSERT INTO db_blob_content(state, keep_until)
VALUES ('writing', unixepoch() + ${UPLOAD_SECONDS}) RETURNING id`;

/** Moves the end of its patience on; changes nothing if the content was removed. Of :content. */
export const TOUCH_CONTENT = `UPDATE db_blob_content SET keep_until = unixepoch() + ${UPLOAD_SECONDS}
WHERE id = :content AND state = 'writing'`;

/** Of :content, :part, :data. Written once, however often it is sent. */
export const PUT_CHUNK = `INSERT INTO db_blob_chunk(content, part, data)
SELECT id, :part, :data FROM db_blob_content WHERE id = :content AND state = 'writing'
ON CONFLICT DO NOTHING`;

/** The moment at which a blob becomes visible. Returns nothing if its content was removed. */
export const PUBLISH = `INSERT INTO db_blob(name, type, size, sha256, chunk_bytes, written_at, content)
SELECT :name, :type, :size, :sha256, :chunkBytes, unixepoch(), id
FROM db_blob_content WHERE id = :content AND state = 'writing'
ON CONFLICT(name) DO UPDATE SET type = excluded.type, size = excluded.size, sha256 = excluded.sha256,
  chunk_bytes = excluded.chunk_bytes, written_at = excluded.written_at, content = excluded.content
RETURNING id`;

/** Takes back a content that no blob has yet: from then on none can. Of :content. */
export const DISCARD = `UPDATE db_blob_content SET state = 'removed', keep_until = 0
WHERE id = :content AND state = 'writing'`;

// --- removing --------------------------------------------------------------------------------------------------------

/** By the node's clock: a hint. What is removed, the statements below decide by log time. */
export const DUE = `SELECT id FROM db_blob_content
WHERE state <> 'stored' AND keep_until <= unixepoch() ORDER BY keep_until, id LIMIT 100`;

export const ABANDON = `UPDATE db_blob_content SET state = 'removed'
WHERE id = :content AND state = 'writing' AND keep_until <= unixepoch()`;

/** Of :content, at most :chunks of it. */
export const REMOVE_CHUNKS = `DELETE FROM db_blob_chunk WHERE rowid IN (
  SELECT k.rowid FROM db_blob_content AS c, db_blob_chunk AS k
  WHERE c.id = :content AND c.state = 'removed' AND c.keep_until <= unixepoch() AND k.content = c.id
  ORDER BY k.part LIMIT :chunks)`;

export const REMOVE_CONTENT = `DELETE FROM db_blob_content
WHERE id = :content AND state = 'removed' AND keep_until <= unixepoch()
  AND NOT EXISTS (SELECT 1 FROM db_blob_chunk WHERE content = :content)`;

// --- reading ---------------------------------------------------------------------------------------------------------

export const BLOB_COLUMNS =
  "id, name, type, size, sha256, chunk_bytes AS chunkBytes, written_at AS writtenAt, content";

/** Of content, first part, last part. */
export const CHUNKS = `SELECT part, data FROM db_blob_chunk
WHERE content = ? AND part BETWEEN ? AND ? ORDER BY part`;

/** SQLite's words for a database in which no blob was ever written. */
export function isWithoutTables(error: unknown): boolean {
  return error instanceof Error && /^no such table: db_blob/.test(error.message);
}
