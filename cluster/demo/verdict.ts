/** Looks into the three files, with the nodes stopped: is every acknowledged row there once, and is all else the same? */

import { join } from "node:path";
import type { TestCluster } from "balsa/testing";
import Database from "better-sqlite3";
import { readContent } from "../../src/machine/content-digest.ts";
import type { Writers } from "./ledger.ts";

export interface Verdict {
  /** Acknowledged rows that are missing from some node. */
  readonly lost: number;
  /** Rows that are there more than once on some node. */
  readonly duplicated: number;
  /** Rows that are there although their writer was not told so, and did not fail: their fate was unknown. */
  readonly unknownApplied: number;
  /** Rows that must not be there: nobody wrote them, or their writer was told that they were not written. */
  readonly invented: number;
  readonly identical: boolean;
  /** Rows of each node's ledger and the digest of all its content. */
  readonly nodes: readonly {
    readonly id: number;
    readonly rows: number;
    readonly digest: string;
  }[];
}

export function judge(cluster: TestCluster, writers: Writers): Verdict {
  const worst = { lost: 0, duplicated: 0, unknownApplied: 0, invented: 0 };
  const nodes = cluster.nodes.map(({ id, dir }) => {
    const file = new Database(join(dir, "main.db"), { readonly: true, fileMustExist: true });
    try {
      const found = judgeLedger(file, writers);
      worst.lost = Math.max(worst.lost, found.lost);
      worst.duplicated = Math.max(worst.duplicated, found.duplicated);
      worst.unknownApplied = Math.max(worst.unknownApplied, found.unknownApplied);
      worst.invented = Math.max(worst.invented, found.invented);
      return { id, rows: found.rows, digest: readContent(file).digest.slice(0, 16) };
    } finally {
      file.close();
    }
  });
  return { ...worst, identical: new Set(nodes.map(({ digest }) => digest)).size === 1, nodes };
}

function judgeLedger(file: Database.Database, writers: Writers) {
  const acknowledged = writers.acknowledged.map((numbers) => new Set(numbers));
  const found = { rows: 0, lost: 0, duplicated: 0, unknownApplied: 0, invented: 0 };
  let present = 0;
  const groups = file.prepare("SELECT writer, seq, count(*) AS n FROM ledger GROUP BY writer, seq");
  for (const group of groups.iterate()) {
    const { writer, seq, n } = group as { writer: number; seq: number; n: number };
    found.rows += n;
    if (n > 1) found.duplicated++;
    if (acknowledged[writer]?.has(seq)) present++;
    else if (writers.unknown[writer]?.has(seq)) found.unknownApplied++;
    else found.invented++;
  }
  found.lost = writers.count - present;
  return found;
}
