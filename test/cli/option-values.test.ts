/** Addresses and members as users write them, and the messages for those that are wrong. */

import { InvalidArgumentError } from "commander";
import { describe, expect, test } from "vitest";
import {
  addressOption,
  endpointsOption,
  extensionsOption,
  formatExtension,
  peersOption,
  wholeOption,
} from "../../src/cli/option-values.ts";

describe("addresses", () => {
  test("names, IPv4 and IPv6 are read", () => {
    for (const text of ["127.0.0.1:4001", "db-1.example:65535", "[::1]:4001", "[fe80::1]:1"]) {
      expect(addressOption(text)).toBe(text);
    }
  });

  test.each(["", "4001", ":4001", "host", "host:", "host:0", "host:65536", "a b:1", "::1:4001"])(
    "%j is refused with an example",
    (text) => {
      expect(() => addressOption(text)).toThrow(InvalidArgumentError);
      expect(() => addressOption(text)).toThrow(/is not HOST:PORT, such as 127.0.0.1:4001/);
    },
  );

  test("a list names the one that is wrong", () => {
    expect(endpointsOption("a:1, b:2")).toEqual(["a:1", "b:2"]);
    expect(() => endpointsOption("a:1,,b:2")).toThrow(/"" is not HOST:PORT/);
  });
});

describe("members", () => {
  test("ids and addresses are read", () => {
    const expected = [
      [1, "a:1"],
      [3, "[::1]:2"],
    ];
    expect([...peersOption("1=a:1,3=[::1]:2")]).toEqual(expected);
  });

  test.each([
    ["a:1", /"a:1" is not ID=HOST:PORT/],
    ["1=a:1=2", /is not ID=HOST:PORT/],
    ["0=a:1", /"0" is not a whole number from 1/],
    ["1=a:1,1=b:2", /Node 1 is named twice/],
    ["1=a:1,2=a:1", /a:1 is given to two nodes/],
    ["1=a:1,", /"" is not ID=HOST:PORT/],
  ])("%s is refused", (text, message) => {
    expect(() => peersOption(text)).toThrow(message);
  });
});

test.each(["-1", "1.5", "", "ten", "0x10", "1e3", "11"])("%j is no number from 0 to 10", (text) => {
  expect(() => wholeOption(0, 10)(text)).toThrow(/not a whole number from 0 to 10/);
});

test("extensions: a path and what is said of it, several parted by colons", () => {
  const hash = "0a".repeat(32);
  expect(extensionsOption("/a/b.so", undefined)).toEqual([{ path: "/a/b.so" }]);
  const text = `x#y.so#deterministic,entry=begin_1,sha256=${hash}:/c.so#deterministic`;
  const found = [
    { path: "x#y.so", deterministic: true, entry: "begin_1", sha256: hash },
    { path: "/c.so", deterministic: true },
  ];
  expect(extensionsOption(text, undefined)).toEqual(found);
  expect(extensionsOption("d.so", found)).toEqual([...found, { path: "d.so" }]);
  for (const one of found) expect(extensionsOption(formatExtension(one), [])).toEqual([one]);
  for (const wrong of [
    "",
    "#deterministic",
    "a.so#",
    "a.so#sha256=12",
    "a.so#entry=a-b",
    "a:",
    "a#x",
  ]) {
    expect(() => extensionsOption(wrong, undefined), wrong).toThrow(InvalidArgumentError);
  }
});
