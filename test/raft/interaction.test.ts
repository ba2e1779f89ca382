/**
 * Our interaction scripts print what they printed before. After an intended change: run with
 * BALSA_REWRITE_INTERACTIONS=1 and read the difference.
 */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { runScript } from "./interaction-commands.ts";
import { compare } from "./interaction-compare.ts";
import { parseCommand, parseScript } from "./interaction-script.ts";

const FOLDER = new URL("./interactions/", import.meta.url);
const REWRITE = process.env.BALSA_REWRITE_INTERACTIONS === "1";

const README = readFileSync(new URL("README.md", FOLDER), "utf8");

for (const name of readdirSync(FOLDER).filter((file) => file.endsWith(".txt"))) {
  test(`interaction: ${name}`, () => {
    const file = new URL(name, FOLDER);
    const script = readFileSync(file, "utf8");
    const { transcript, errors } = runScript(script);
    expect(errors).toEqual([]);
    expect(script.startsWith("# "), "it says first what it is for").toBe(true);
    expect(README).toContain(`\`${name.replace(".txt", "")}\``);
    if (REWRITE) writeFileSync(file, transcript);
    else expect(transcript).toBe(script);
  });
}

/** What the last directive of these commands prints; each stands for itself. */
function lastOf(...commands: readonly string[]): string {
  const script = commands.map((command) => `${command}\n----\n\n`).join("");
  const { outcomes, errors } = runScript(script);
  expect(errors).toEqual([]);
  return outcomes.at(-1)?.output ?? "";
}

const THREE = ["log-level none", "add-nodes 3 voters=(1,2,3) index=10", "campaign 1", "stabilize"];
const ALOUD = "log-level debug";

describe("the language", () => {
  test("lists may be separated by commas or blanks", () => {
    expect(parseCommand("add-nodes 3 voters=(1, 2,3) learners=() prevote=true")).toEqual({
      name: "add-nodes",
      args: [
        { key: "3", values: [] },
        { key: "voters", values: ["1", "2", "3"] },
        { key: "learners", values: [] },
        { key: "prevote", values: ["true"] },
      ],
    });
  });

  test("long lines go on behind a backslash, and outputs with blank lines stand between two pairs", () => {
    const script = "add-nodes 1 \\\n  voters=(1)\n----\n----\na\n\nb\n----\n----\n\n# end\n";
    const [part, ...rest] = parseScript(script);
    expect(part).toMatchObject({
      directive: { command: parseCommand("add-nodes 1 voters=(1)"), expected: "a\n\nb", line: 1 },
    });
    expect(rest).toEqual([
      { kind: "text", text: "\n" },
      { kind: "text", text: "# end\n" },
    ]);
  });

  test("more commands may stand before the line; an error in the first ends them", () => {
    const setup = THREE.join("\n");
    expect(lastOf(`${setup}\n${ALOUD}\nraft-log 1`)).toBe('1/11 EntryNormal ""');
    expect(lastOf(...THREE, ALOUD, "forget-leader 2", "propose 2 a\nraft-log 1")).toContain(
      "raft proposal dropped",
    );
    expect(lastOf(...THREE, ALOUD, "forget-leader 2", "propose 2 a\nraft-log 1")).not.toContain(
      "1/11",
    );
  });

  test("an unknown command is told in the transcript, and with its line", () => {
    const { transcript, errors } = runScript("# a\n\nfly 1\n----\n\nraft-state\n----\n");
    expect(transcript).toBe("# a\n\nfly 1\n----\nunknown command\n\nraft-state\n----\nok\n");
    expect(errors).toMatchObject([{ line: 3, message: "unknown command: fly" }]);
  });

  test.each([
    ["campaign 1\n", 1, "no ---- after: campaign 1"],
    ["\ncampaign\n----\n", 2, "a number is missing"],
    ["add-nodes one\n----\n", 1, "not a number: one"],
    ["propose 1 a b\n----\n", 1, "propose takes a node and one word"],
    ["deliver-msgs 1 drop=(1)\n----\n", 1, "can't both deliver and drop msgs to 1"],
    ["deliver-msgs 1 type=MsgFoo\n----\n", 1, "no message type MsgFoo"],
    ["add-nodes 1 prevote=yes\n----\n", 1, "neither true nor false: yes"],
    ["campaign 7\n----\n", 1, "no node 7"],
    ["add-nodes 1 voters=(1) color=red index=3\n----\n", 1, "add-nodes has no argument color"],
  ])("what makes no sense is named with its line: %j", (script, line, message) => {
    expect(runScript(script).errors).toMatchObject([{ line, message }]);
  });

  test.each([
    ["log-level loud", "log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]"],
    ["add-nodes 1 voters=(1)", "index must be specified as > 1 due to bootstrap"],
    ["add-nodes 1 read-only=maybe index=2", 'invalid read-only option "maybe"'],
    [
      "propose-conf-change 1 v1=true\nv4 v5",
      "v1 conf change can only have one operation and no transition",
    ],
    ["propose-conf-change 1 transition=sudden\nv4", "unknown transition sudden"],
    ["propose-conf-change 1\nx4", "unknown input: x4"],
    ["compact 1 99", "compact 99 is out of bound lastindex(11)"],
    ["compact 1 9", "requested index is unavailable due to compaction"],
  ])("%j prints its error", (command, error) => {
    expect(lastOf(...THREE, command)).toBe(error);
  });

  test("a comparison tells states from messages, and lets log lines be", () => {
    const script = [
      "add-nodes 1 voters=(1) index=2\n----\nINFO something else\n",
      "campaign 1\n----\n",
      "stabilize\n----\n> 1 handling Ready\n",
      "status 1\n----\n1: StateReplicate match=3 next=4\n",
      'raft-log 1\n----\n1/3 EntryNormal "a"\n',
    ].join("\n");
    const { differences, compared } = compare(runScript(script).outcomes);
    expect(compared).toEqual({ states: 2, messages: 2 });
    expect(differences.map(({ level, line }) => [level, line])).toEqual([
      ["messages", 8],
      ["states", 16],
    ]);
    expect(differences[1]).toMatchObject({
      expected: ['1/3 EntryNormal "a"'],
      printed: ['1/3 EntryNormal ""'],
    });
  });
});

describe("the command", { timeout: 60_000 }, () => {
  const COMMAND = fileURLToPath(new URL("./interaction.ts", import.meta.url));
  const run = (args: readonly string[], input = "") => {
    const node = ["--import", "tsx", COMMAND, ...args];
    const { status, stdout, stderr } = spawnSync(process.execPath, node, {
      input,
      encoding: "utf8",
    });
    return { status, stdout, stderr };
  };

  test("prints the transcript of what it reads", () => {
    expect(run(["-"], "raft-state\n----\n")).toEqual({
      status: 0,
      stdout: "raft-state\n----\nok\n",
      stderr: "",
    });
  });

  test("goes on behind an unknown command, and says so", () => {
    expect(run(["-"], "# a\nfly\n----\n\nraft-state\n----\n")).toEqual({
      status: 1,
      stdout: "# a\nfly\n----\nunknown command\n\nraft-state\n----\nok\n",
      stderr: "-:2: unknown command: fly\n",
    });
  });

  test("compares", () => {
    const script = 'add-nodes 1 voters=(1) index=2\n----\n\nraft-log 1\n----\n1/3 EntryNormal ""\n';
    expect(run(["--compare", "-"], script)).toEqual({
      status: 1,
      stdout:
        '-:4: raft-log 1 (states)\n  - 1/3 EntryNormal ""\n' +
        "  + log is empty: first index=3, last index=2\n" +
        "-: outputs that agree: states 0 of 1, messages 0 of 0\n",
      stderr: "",
    });
  });

  test("needs a file that is there", () => {
    expect(run([])).toMatchObject({
      status: 2,
      stderr: "error: missing required argument 'file'\n",
    });
    const missing = run(["no-such-script.txt"]);
    expect(missing).toMatchObject({ status: 2, stdout: "" });
    expect(missing.stderr).toContain("cannot read no-such-script.txt: ENOENT");
  });
});
