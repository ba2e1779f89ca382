import { expect, test } from "vitest";
import {
  checkEmbeddedOptions,
  type EmbeddedNodeOptions,
} from "../../src/service/embedded-options.ts";

const GOOD = { id: 1, dir: "data", listen: "127.0.0.1:1", peers: { 1: "127.0.0.1:1" } };

function optionOf(options: unknown): string {
  try {
    checkEmbeddedOptions(options as EmbeddedNodeOptions);
    return "taken";
  } catch (error) {
    expect(error).toMatchObject({ name: "BalsaError", code: "INVALID_ARGUMENT" });
    const { facts, message } = error as { facts: { option?: string }; message: string };
    if (facts.option !== undefined) expect(message).toContain(`"${facts.option}"`);
    return facts.option ?? "none named";
  }
}

test("what is right is taken, whichever way peers are given", () => {
  expect(optionOf(GOOD)).toBe("taken");
  expect(optionOf({ ...GOOD, peers: new Map([[1, "127.0.0.1:1"]]) })).toBe("taken");
  expect(optionOf({ ...GOOD, peers: undefined, join: true, logLevel: "silent" })).toBe("taken");
});

test.each([
  ["null", null, "none named"],
  ["a list", [], "none named"],
  ["a text", "127.0.0.1:1", "none named"],
  ["nothing", {}, "id"],
  ["an id of the wrong kind", { ...GOOD, id: "1" }, "id"],
  ["no directory", { id: 1, listen: "127.0.0.1:1" }, "dir"],
  ["no address", { id: 1, dir: "data" }, "listen"],
  ["a slip in a name", { ...GOOD, heartBeatMs: 100 }, "heartBeatMs"],
  ["another name", { ...GOOD, tls: true }, "tls"],
  ["a fault to build in", { ...GOOD, plant: "no-dedup" }, "plant"],
  ["a number as text", { ...GOOD, heartbeatMs: "100" }, "heartbeatMs"],
  ["a switch as text", { ...GOOD, insecure: "no" }, "insecure"],
  ["a list of peers", { ...GOOD, peers: ["127.0.0.1:1"] }, "peers"],
  ["a peer that is no address", { ...GOOD, peers: { 1: 4001 } }, "peers"],
  ["a level that is none", { ...GOOD, logLevel: "loud" }, "logLevel"],
  ["an extension by its path alone", { ...GOOD, extensions: ["vec0.so"] }, "extensions"],
  ["limits of another kind", { ...GOOD, limits: 5 }, "limits"],
])("openNode with %s names the option", (_, options, option) => {
  expect(optionOf(options)).toBe(option);
});
