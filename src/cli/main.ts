#!/usr/bin/env node
/** The command `balsa`: hands its arguments to the program and ends with the status that gives. Nothing else. */

import { processOutput } from "./output.ts";
import { runProgram } from "./program.ts";

// A reader that has seen enough (`balsa sql … | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

const status = await runProgram(process.argv.slice(2), processOutput);
process.stdout.write("", () => process.exit(status));
