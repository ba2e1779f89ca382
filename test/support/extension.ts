/** Extensions of SQLite for tests, compiled from extension.c when a test needs them: no binary is kept. */

import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("extension.c", import.meta.url));
const HEADERS = join(
  dirname(createRequire(import.meta.url).resolve("better-sqlite3/package.json")),
  "deps/sqlite3",
);

/** Makes `dir/name.so`. A definition is `NAME` or `NAME=VALUE`; text is given with its quotes. */
export function compileExtension(
  dir: string,
  name: string,
  ...definitions: readonly string[]
): string {
  const path = join(dir, `${name}.so`);
  const flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-I", HEADERS];
  const defined = definitions.map((one) => `-D${one}`);
  execFileSync("cc", [...flags, ...defined, "-o", path, SOURCE], { stdio: "pipe" });
  return path;
}

/** Why no extension can be compiled here; null if one can. */
export function compilerTrouble(): string | null {
  try {
    execFileSync("cc", ["-shared", "-fPIC", "-xc", "-", "-o", "/dev/null"], {
      input: "int nothing;\n",
      stdio: "pipe",
    });
    return null;
  } catch (error) {
    return `there is no working C compiler (cc): ${(error as Error).message.split("\n")[0]}`;
  }
}
