/**
 * A loadable extension of SQLite, as a node is told of it and as it finds it. All nodes of a cluster have the same ones, by the
 * bytes of their files. Nothing here reads or loads a file (docs/decisions/0016-extensions.md).
 */

/** What the operator says. */
export interface ExtensionOptions {
  /** The library's file, as SQLite loads it: `.so`, `.dylib`. */
  readonly path: string;
  /** What the file must be: SHA-256, hex. Default: whatever it is. */
  readonly sha256?: string;
  /** The C function that SQLite calls first. Default: the one that SQLite finds by the file's name. */
  readonly entry?: string;
  /**
   * What it brings gives the same for the same arguments on every node and at any time. Default false: then it is for reads
   * alone.
   */
  readonly deterministic?: boolean;
}

export interface Extension {
  /** The file's name without its ending. No two of a node have the same. */
  readonly name: string;
  /** Absolute, on this machine: nodes may keep it in different places. */
  readonly path: string;
  /** Of the file, hex, lower case. */
  readonly sha256: string;
  /** Null: as SQLite finds it. */
  readonly entry: string | null;
  readonly deterministic: boolean;
}

/** Loaded once, to see what it brings. Names in lower case. */
export interface KnownExtension extends Extension {
  readonly functions: readonly string[];
  readonly collations: readonly string[];
  /** Of virtual tables, those that may be read by the module's name alone among them. */
  readonly modules: readonly string[];
}
