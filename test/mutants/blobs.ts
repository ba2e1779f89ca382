/** Mutants of blobs: of what is seen of one, of what is read of it, and of what is removed. */

import { edit, type Mutant, seeds, test } from "./mutant.ts";

const TABLES = "src/client/blob-tables.ts";
const UPLOAD = "src/client/blob-upload.ts";
const unit = (name: string) => test("client/blobs", name);
const tables = (name: string) => test("machine/blob-tables", name);

export const BLOBS: readonly Mutant[] = [
  {
    name: "removed-blob-published",
    guards: ["P20"],
    removes: "a content is published whatever its state, also when its bytes are gone",
    edits: [
      edit(
        TABLES,
        ["FROM db_blob_content WHERE id = :content AND state = 'writing'", "ON CONFLICT(name)"],
        ["FROM db_blob_content WHERE id = :content", "ON CONFLICT(name)"],
      ),
    ],
    killedBy: [tables("is published once, and not when it was discarded")],
  },
  {
    name: "late-chunk-kept",
    guards: ["P20"],
    removes: "a chunk is stored whatever became of its content, and nobody will remove it",
    edits: [
      edit(
        TABLES,
        [
          "SELECT id, :part, :data FROM db_blob_content WHERE id = :content AND state = 'writing'",
          "ON CONFLICT DO NOTHING",
        ],
        [
          "SELECT id, :part, :data FROM db_blob_content WHERE id = :content",
          "ON CONFLICT DO NOTHING",
        ],
      ),
    ],
    killedBy: [tables("takes chunks while it is written, each once")],
  },
  {
    name: "removed-upload-goes-on",
    guards: ["P20"],
    removes: "an upload goes on though its content was removed",
    edits: [
      edit(UPLOAD, "if (touched?.changes !== 1) throw gone", "if (touched === null) throw gone"),
    ],
    killedBy: [unit("whose content was removed meanwhile ends")],
  },
  {
    name: "lost-publication-called-not-applied",
    guards: ["P20"],
    removes: "a publication whose answer is lost was not applied, whatever its row says",
    edits: [edit(UPLOAD, "if (discarded?.changes !== 1) {", "if (discarded === undefined) {")],
    killedBy: [
      unit("whose last answer is lost was published if its row is there"),
      unit("whose last answer is lost, and its row too, is not known"),
    ],
  },
  {
    name: "failed-upload-left",
    guards: ["P20"],
    removes: "an upload that fails is not taken back",
    edits: [
      edit(
        UPLOAD,
        "      discard(this.#client, this.#content, this.#options).catch(ignore);",
        "      ignore();",
      ),
    ],
    killedBy: [unit("that fails is taken back, and its source closed")],
  },
  {
    name: "upload-without-bound",
    guards: ["P10"],
    removes: "chunks are sent as fast as the source gives them",
    edits: [edit(UPLOAD, "const UNDER_WAY_MAX = 4;", "const UNDER_WAY_MAX = 4000;")],
    killedBy: [unit("has a few chunks under way, and waits for their answers")],
  },
  {
    name: "uploads-without-bound",
    guards: ["P10"],
    removes: "each upload has chunks under way, however many there are",
    edits: [edit("src/client/blob-room.ts", "const CHUNKS = 16;", "const CHUNKS = 16_000;")],
    killedBy: [unit("beside many others waits for room")],
  },
  {
    name: "removed-at-once",
    guards: ["P21"],
    removes: "the bytes of a replaced blob are removed while somebody reads them",
    edits: [edit(TABLES, "export const KEPT_SECONDS = 60;", "export const KEPT_SECONDS = 0;")],
    killedBy: [
      tables("that is replaced, deleted or cascaded away stays for a minute, then goes in steps"),
    ],
  },
  {
    name: "missing-parts-skipped",
    guards: ["P21"],
    removes: "parts that are gone are left out of what is read",
    edits: [
      edit(
        "src/client/blob-reader.ts",
        "if (isWhole(chunks, stored, from, to)) return chunks;",
        "if (chunks.length >= 0) return chunks;",
      ),
    ],
    killedBy: [unit("of a content that is gone, or cut short, is an error")],
  },
  {
    name: "stored-blob-swept",
    guards: ["P20"],
    removes: "whoever sweeps takes the chunks of a blob that is there",
    edits: [
      edit(
        TABLES,
        "WHERE c.id = :content AND c.state = 'removed' AND c.keep_until <= unixepoch() AND k.content",
        "WHERE c.id = :content AND k.content",
      ),
    ],
    killedBy: [
      tables("that is replaced, deleted or cascaded away stays for a minute"),
      seeds(8, 1),
    ],
  },
];
