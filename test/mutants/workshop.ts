/** A copy of the source tree in which one mutant after the other is made and undone. The original is never touched. */

import {
  cpSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Edit, Mutant } from "./mutant.ts";

/** What the tests need; the dependencies are only linked. */
const COPIED = [
  "src",
  "test",
  "proto",
  "cluster",
  "package.json",
  "tsconfig.json",
  "vitest.config.ts",
];

export class Workshop {
  readonly directory: string;

  constructor(root: string) {
    this.directory = mkdtempSync(join(tmpdir(), "balsa-mutants-"));
    for (const name of COPIED) {
      cpSync(join(root, name), join(this.directory, name), { recursive: true });
    }
    symlinkSync(realpathSync(join(root, "node_modules")), join(this.directory, "node_modules"));
  }

  /** Returns what undoes it. @throws Error when a text to replace is not there exactly once; nothing is changed then. */
  apply(mutant: Mutant): () => void {
    const before = new Map<string, string>();
    const after = new Map<string, string>();
    for (const edit of mutant.edits) {
      const text = after.get(edit.file) ?? readFileSync(join(this.directory, edit.file), "utf8");
      if (!before.has(edit.file)) before.set(edit.file, text);
      after.set(edit.file, applyEdit(edit, text));
    }
    const write = (files: ReadonlyMap<string, string>): void => {
      for (const [file, text] of files) writeFileSync(join(this.directory, file), text);
    };
    write(after);
    return () => write(before);
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** @throws Error when the text to replace is not there exactly once. */
export function applyEdit({ file, find, replace }: Edit, text: string): string {
  const parts = text.split(find);
  if (parts.length !== 2) {
    const found = parts.length - 1;
    throw new Error(`the mutant no longer fits: in ${file}, found ${found} times: ${find}`);
  }
  return parts.join(replace);
}
