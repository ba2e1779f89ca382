/**
 * Our interaction scripts print what they printed before. After an intended change: run with
 * BALSA_REWRITE_INTERACTIONS=1 and read the difference.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { transcriptOf } from "./interaction-commands.ts";
import { parseCommand, parseScript } from "./interaction-script.ts";

const FOLDER = new URL("./interactions/", import.meta.url);
const REWRITE = process.env.BALSA_REWRITE_INTERACTIONS === "1";

for (const name of readdirSync(FOLDER).filter((file) => file.endsWith(".txt"))) {
  test(`interaction: ${name}`, () => {
    const file = new URL(name, FOLDER);
    const script = readFileSync(file, "utf8");
    const transcript = transcriptOf(script);
    if (REWRITE) writeFileSync(file, transcript);
    else expect(transcript).toBe(script);
  });
}

test("a command's lists may be separated by commas or blanks, and negative cases say so", () => {
  expect(parseCommand("add-nodes 3 voters=(1, 2,3) learners=() prevote=true")).toEqual({
    name: "add-nodes",
    args: [
      { key: "3", values: [] },
      { key: "voters", values: ["1", "2", "3"] },
      { key: "learners", values: [] },
      { key: "prevote", values: ["true"] },
    ],
  });
  expect(() => parseScript("campaign 1\n")).toThrow("no ---- after: campaign 1");
});

test("an unknown command is told in the transcript", () => {
  expect(transcriptOf("fly 1\n----\n\n")).toBe("fly 1\n----\nunknown command\n\n");
});
