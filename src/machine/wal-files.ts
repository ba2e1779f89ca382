/**
 * The WAL of an open connection and its index, by their names: whoever opens the database finds them by these, or makes new
 * ones and reads what is old. It opens nothing, and never looks at what they hold.
 */

import { statSync } from "node:fs";
import { FileChanged } from "./machine-fault.ts";

const SUFFIXES = ["-wal", "-shm"];

export class WalFiles {
  readonly #path: string;
  /** As the connection has them open; in the order of `SUFFIXES`. */
  readonly #opened: readonly (bigint | undefined)[];

  /** `path`: of a database that a connection has open, and has read through a WAL. */
  constructor(path: string) {
    this.#path = path;
    this.#opened = SUFFIXES.map((suffix) => this.#inode(suffix));
  }

  /** @throws FileChanged when another program has removed one, or put another file in its place */
  demandSame(): void {
    for (const [at, suffix] of SUFFIXES.entries()) {
      if (this.#inode(suffix) === this.#opened[at]) continue;
      throw new FileChanged(`${this.#path}${suffix} was removed while the node had it open`);
    }
  }

  #inode(suffix: string): bigint | undefined {
    return statSync(this.#path + suffix, { bigint: true, throwIfNoEntry: false })?.ino;
  }
}
