/** `npm run interaction -- FILE`: runs an interaction script and prints it with the outputs of this implementation. */

import { readFileSync } from "node:fs";
import { Command } from "commander";
import { runScript, type ScriptRun } from "./interaction-commands.ts";
import { compare, type Difference, type Level } from "./interaction-compare.ts";

const STATUS_FAILED = 1;
const STATUS_USAGE = 2;
/** Of one output, on each side. */
const LINES_SHOWN = 12;

const EXIT_STATUS = `
Exit status:
  0  the script was carried out; with --compare: states and messages agree
  1  it could not be: a line that makes no sense, an unknown command, a halted node; with --compare: they differ
  2  wrong usage, or the file cannot be read`;

function readScript(file: string): string | null {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    process.stderr.write(`cannot read ${file}: ${(error as Error).message}\n`);
    return null;
  }
}

function describeDifference(file: string, difference: Difference): string {
  const { level, line, command, expected, printed } = difference;
  const side = (mark: string, lines: readonly string[]) => {
    const shown = lines.slice(0, LINES_SHOWN).map((each) => `  ${mark} ${each}\n`);
    const more = lines.length - shown.length;
    return shown.join("") + (more > 0 ? `  ${mark} … ${more} more\n` : "");
  };
  return `${file}:${line}: ${command} (${level})\n${side("-", expected)}${side("+", printed)}`;
}

/** True if both levels agree. */
function printComparison(file: string, { outcomes }: ScriptRun): boolean {
  const { differences, compared } = compare(outcomes);
  for (const level of ["states", "messages"] as const) {
    // What follows the first difference follows from it.
    const first = differences.find((difference) => difference.level === level);
    if (first !== undefined) process.stdout.write(describeDifference(file, first));
  }
  const tally = (level: Level) => {
    const differing = differences.filter((difference) => difference.level === level).length;
    return `${level} ${compared[level] - differing} of ${compared[level]}`;
  };
  process.stdout.write(`${file}: outputs that agree: ${tally("states")}, ${tally("messages")}\n`);
  return differences.length === 0;
}

function run(file: string, { compare: isComparing }: { readonly compare?: boolean }): number {
  const script = readScript(file);
  if (script === null) return STATUS_USAGE;
  const result = runScript(script);
  let isGood = result.errors.length === 0;
  if (isComparing === true) isGood = printComparison(file, result) && isGood;
  else process.stdout.write(result.transcript);
  for (const { line, message } of result.errors) {
    process.stderr.write(`${file}:${line}: ${message}\n`);
  }
  return isGood ? 0 : STATUS_FAILED;
}

const program = new Command("npm run interaction --")
  .description(
    "Runs an interaction script (test/raft/interactions/README.md) and prints its transcript.",
  )
  .argument("<file>", "the script; - for standard input")
  .option("--compare", "print where the outputs differ from those in the file, log lines aside")
  .addHelpText("after", EXIT_STATUS)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : STATUS_USAGE))
  .action((file: string, options: { readonly compare?: boolean }) => {
    process.exitCode = run(file, options);
  });

// A reader that has seen enough (`… | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : STATUS_FAILED);
});
program.parse();
