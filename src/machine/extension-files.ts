/**
 * The files of loadable extensions: found, named and measured at a node's start, and measured again before each load, so that
 * no process of a node runs another file than its peers were told of. It loads nothing.
 */

import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, extname, resolve } from "node:path";
import { BalsaError } from "../sql/errors.ts";
import type { Extension, ExtensionOptions } from "../sql/extension.ts";

/** In the order of their names, which is the order of loading. @throws BalsaError INVALID_ARGUMENT that names the file */
export function readExtensions(given: readonly ExtensionOptions[]): Extension[] {
  const extensions = given.map(readExtension);
  extensions.sort((a, b) => (a.name < b.name ? -1 : 1));
  extensions.forEach(({ name, path }, at) => {
    const before = extensions[at - 1];
    if (before?.name !== name) return;
    throw wrong(`two extensions are called ${name}: ${before.path} and ${path}; rename one file`);
  });
  return extensions;
}

function readExtension(given: ExtensionOptions): Extension {
  const path = resolve(given.path);
  const name = basename(path, extname(path));
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    const near = [".so", ".dylib", ".dll"].map((end) => path + end).find((one) => existsSync(one));
    const hint = near === undefined ? "" : `; is ${near} meant?`;
    throw wrong(`extension ${name}: there is no file ${path}${hint}`);
  }
  const sha256 = hashOf(name, path);
  const expected = given.sha256?.toLowerCase() ?? sha256;
  if (expected !== sha256) {
    const found = `${path} has the SHA-256 ${sha256}, not ${expected} as it was given`;
    throw wrong(`extension ${name}: ${found}; put the right file there, or give its hash`);
  }
  const { entry = null, deterministic = false } = given;
  return { name, path, sha256, entry, deterministic };
}

function hashOf(name: string, path: string): string {
  try {
    return createHash("sha256").update(readFileSync(path)).digest("hex");
  } catch (error) {
    throw wrong(`extension ${name}: cannot read ${path}: ${(error as Error).message}`, error);
  }
}

/** Before a load, in whatever process. @throws Error if the file is not the one that the node began with */
export function demandUnchanged({ name, path, sha256 }: Extension): void {
  if (hashOf(name, path) === sha256) return;
  throw new Error(
    `extension ${name}: ${path} was changed since the node began; start all nodes with the same file`,
  );
}

function wrong(message: string, cause?: unknown): BalsaError {
  return new BalsaError("INVALID_ARGUMENT", message, { cause });
}
