/** `npm run interaction -- FILE`: runs an interaction script and prints it with the outputs of this implementation. */

import { readFileSync } from "node:fs";
import { transcriptOf } from "./interaction-commands.ts";

const [file] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write("usage: npm run interaction -- FILE\n");
  process.exitCode = 2;
} else {
  process.stdout.write(transcriptOf(readFileSync(file, "utf8")));
}
