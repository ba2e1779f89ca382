/** Mutants of how a cluster begins with a file: what founders must agree on, and what their logs must not reach back to. */

import { edit, type Mutant, test } from "./mutant.ts";

const FORMATION = "src/node/formation.ts";

export const FIRST_STATE: readonly Mutant[] = [
  {
    name: "first-files-not-compared",
    guards: ["N13"],
    removes: "founders that begin with different files form a cluster",
    edits: [
      edit(
        FORMATION,
        "const agrees = membersAgree && peer.seed === this.#parts.identity().seed;",
        "const agrees = membersAgree;",
      ),
    ],
    killedBy: [test("node/formation", "does not form when one has")],
  },
  {
    name: "proposal-of-another-file-taken",
    guards: ["N13"],
    removes: "a founder stores the cluster of a proposer that begins with another file",
    edits: [
      edit(
        FORMATION,
        'phase === "forming" && from === this.#parts.members[0] && agrees;',
        'phase === "forming" && from === this.#parts.members[0] && (agrees || true);',
      ),
    ],
    killedBy: [test("node/formation", "does not form when one has")],
  },
  {
    name: "prepared-node-joins",
    guards: ["N13"],
    removes: "a node that was prepared with a file is admitted to a cluster that never had it",
    edits: [edit(FORMATION, 'if (identity.phase === "blank" && identity.seed !== "") return;', "")],
    killedBy: [test("node/formation", "is not joined by a node that has a file, too")],
  },
  {
    name: "log-begins-before-the-file",
    guards: ["N14"],
    removes: "the log of a founder claims to reach back to before the file",
    edits: [
      edit("src/log/seed-log.ts", "await durably(log, (done) => log.restart(at, done));", ""),
    ],
    killedBy: [test("log/seed-log", "begins behind the file")],
  },
  {
    name: "open-file-imported",
    guards: ["N14"],
    removes: "a file is taken whose newest content is in a WAL beside it",
    edits: [edit("src/machine/seed-file.ts", "?? 0) === 0) continue;", "?? 0) >= 0) continue;")],
    killedBy: [test("machine/seed-file", "a WAL or a journal beside it")],
  },
];
